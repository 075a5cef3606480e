// SPDX-License-Identifier: BSL-1.0
// runnel/detail/signals.hpp: SIGINT and SIGTERM cancel a runtime; one that comes later ends the program.
// Layer: L2
#pragma once

#include <runnel/runtime.hpp>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace runnel::detail {

// The handler only writes to a pipe; a thread that sleeps on it does the rest. One watch at a time has the signals; a
// second one, of a run() inside another program's run(), leaves them alone.
//
// What comes within `echo` of the first signal is that signal again: timeout(1) signals its child and then the child's
// group, a terminal signals the group and a wrapper in it hands that on to its child. A person who presses twice, and
// a service manager that has waited in vain, are slower. The handler takes the time: the thread may be late.
//
//   x_received  the first signal; written by the watching thread; read when the app has ended
class signal_watch {
 public:
  signal_watch(bool wanted, runtime& rt) : x_runtime(rt) {
    if (!wanted || s_write_end.load() != -1 || ::pipe2(x_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return;
    s_write_end.store(x_pipe[1]);
    struct sigaction action {};
    action.sa_handler = &on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < 2; ++i) ::sigaction(signals[i], &action, &x_before[i]);
    x_thread = std::thread([this] { watch(); });
  }
  signal_watch(const signal_watch&) = delete;
  signal_watch& operator=(const signal_watch&) = delete;
  ~signal_watch() {
    if (!x_thread.joinable()) return;
    for (int i = 0; i < 2; ++i) ::sigaction(signals[i], &x_before[i], nullptr);
    s_write_end.store(-1);
    arrival end{0, 0};
    while (::write(x_pipe[1], &end, sizeof end) < 0 && (errno == EINTR || errno == EAGAIN)) std::this_thread::yield();
    x_thread.join();
    ::close(x_pipe[0]);
    ::close(x_pipe[1]);
  }

  int received() const noexcept { return x_received.load(std::memory_order_acquire); }

 private:
  static constexpr int signals[2] = {SIGINT, SIGTERM};
  static constexpr std::int64_t echo = 200'000'000;  // ns
  RUNNEL_SHARED static inline std::atomic<int> s_write_end{-1};

  // What goes through the pipe, whole or not at all. Number 0: the watch ends.
  struct arrival {
    int number;
    std::int64_t at_ns;
  };

  static void on_signal(int number) {  // nothing here but what a handler may call
    int before = errno;
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    arrival a{number, std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec};
    if (int fd = s_write_end.load(); fd != -1) (void)!::write(fd, &a, sizeof a);
    errno = before;
  }
  void watch() noexcept {
    std::int64_t first_at = 0;
    for (;;) {
      pollfd readable{x_pipe[0], POLLIN, 0};
      if (::poll(&readable, 1, -1) < 0 && errno != EINTR) return;
      arrival next{};
      if (::read(x_pipe[0], &next, sizeof next) != sizeof next) continue;
      if (next.number == 0) return;
      if (received() == 0) {
        first_at = next.at_ns;
        x_received.store(next.number, std::memory_order_release);
        x_runtime.cancel();
      } else if (next.at_ns - first_at >= echo) {  // at once, as if we had never handled it
        ::signal(next.number, SIG_DFL);
        ::raise(next.number);
        return;
      }
    }
  }

  runtime& x_runtime;
  int x_pipe[2] = {-1, -1};
  struct sigaction x_before[2] {};
  std::atomic<int> x_received{0};
  std::thread x_thread;
};

}  // namespace runnel::detail
