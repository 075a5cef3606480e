// SPDX-License-Identifier: BSL-1.0
// runnel/detail/crash_note.hpp: what a program that aborts in a test run says last: how to have the same run again.
// Layer: L13
#pragma once

#include <runnel/config.hpp>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <unistd.h>

namespace runnel::detail {

// While one lives, an abort of its thread (a failed assert, std::terminate, a fatal misuse) prints the text. The
// handler is set once, with the first note, and calls the one that was there before; it does nothing without a note.
class crash_note {
 public:
  explicit crash_note(std::string_view text) noexcept {
    static const bool is_set = set_handler();
    (void)is_set;
    slot& here = slot_here();
    x_outer = here;
    here.length = std::min(text.size(), sizeof here.text);
    std::memcpy(here.text, text.data(), here.length);
  }
  crash_note(const crash_note&) = delete;
  crash_note& operator=(const crash_note&) = delete;
  ~crash_note() { slot_here() = x_outer; }

 private:
  struct slot {
    char text[200];
    std::size_t length;
  };
  RUNNEL_SHARED RUNNEL_NOINLINE static slot& slot_here() noexcept {
    static constinit thread_local slot here{};
    return here;
  }
  static bool set_handler() noexcept {
    struct sigaction ours {};
    ours.sa_handler = &on_abort;
    sigemptyset(&ours.sa_mask);
    return ::sigaction(SIGABRT, &ours, &s_before) == 0;
  }
  static void on_abort(int signal) {
    const slot& here = slot_here();
    if (here.length != 0) (void)!::write(STDERR_FILENO, here.text, here.length);
    if (!(s_before.sa_flags & SA_SIGINFO) && s_before.sa_handler != SIG_DFL && s_before.sa_handler != SIG_IGN)
      s_before.sa_handler(signal);
  }

  RUNNEL_SHARED static inline struct sigaction s_before {};
  slot x_outer;
};

}  // namespace runnel::detail
