// SPDX-License-Identifier: BSL-1.0
// runnel/detail/quit_watch.hpp: a thread that prints a report when SIGQUIT comes.
// Layer: L12
#pragma once

#include <runnel/config.hpp>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <thread>
#include <unistd.h>

namespace runnel::detail {

// The handler only writes to a pipe; a thread that sleeps on it makes the report. One watch at a time has the signal.
//
// Invariant: the pipe is never closed. A handler on some thread may be late, and then writes to nobody, but to no file
// that has been opened since.
//
//   s_taken       whether a watch has the signal, and the pipe
//   s_write_end   -1, or where the handler writes to; made by the first watch
class quit_watch {
 public:
  explicit quit_watch(std::string (*report)()) : x_report(report) {
    if (s_taken.exchange(true)) return;
    try {
      if (have_pipe()) x_thread = std::thread([this] { watch(); });
    } catch (...) {
      s_taken.store(false);
      throw;
    }
    if (!x_thread.joinable()) {
      s_taken.store(false);
      return;
    }
    struct sigaction action {};
    action.sa_handler = &on_quit;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGQUIT, &action, &x_before);
  }
  quit_watch(const quit_watch&) = delete;
  quit_watch& operator=(const quit_watch&) = delete;
  ~quit_watch() {
    if (!x_thread.joinable()) return;
    ::sigaction(SIGQUIT, &x_before, nullptr);
    write_byte(s_write_end.load(), end);
    x_thread.join();
    s_taken.store(false);
  }

 private:
  static constexpr char quit = 1, end = 0;
  RUNNEL_SHARED static inline std::atomic<bool> s_taken{false};
  RUNNEL_SHARED static inline std::atomic<int> s_write_end{-1};
  RUNNEL_SHARED static inline int s_read_end = -1;

  static void on_quit(int) {
    int before = errno;
    if (int fd = s_write_end.load(); fd != -1) (void)!::write(fd, &quit, 1);  // full: a report is on its way
    errno = before;
  }
  static void write_byte(int fd, char byte) noexcept {
    while (::write(fd, &byte, 1) < 0 && (errno == EINTR || errno == EAGAIN)) std::this_thread::yield();
  }
  // An empty one: the first watch makes it. False: the system has none.
  static bool have_pipe() noexcept {
    if (s_write_end.load() != -1) {
      for (char late; ::read(s_read_end, &late, 1) == 1;) {
      }
      return true;
    }
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
    s_read_end = ends[0];
    s_write_end.store(ends[1]);
    return true;
  }
  void watch() noexcept {
    for (;;) {
      pollfd readable{s_read_end, POLLIN, 0};
      if (::poll(&readable, 1, -1) < 0 && errno != EINTR) return;
      char byte = end;
      if (::read(s_read_end, &byte, 1) != 1) continue;
      if (byte == end) return;
      try {
        print(x_report());
      } catch (...) {
        print("runnel: no memory for a report\n");
      }
    }
  }
  static void print(const std::string& text) noexcept {
    for (std::size_t at = 0; at < text.size();) {
      auto n = ::write(STDERR_FILENO, text.data() + at, text.size() - at);
      if (n > 0) at += static_cast<std::size_t>(n);
      if (n < 0 && errno != EINTR && errno != EAGAIN) return;
    }
  }

  std::string (*x_report)();
  struct sigaction x_before {};
  std::thread x_thread;
};

}  // namespace runnel::detail
