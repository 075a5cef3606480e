// SPDX-License-Identifier: BSL-1.0
// runnel/detail/signals.hpp: SIGINT and SIGTERM cancel a runtime; a second one ends the program.
// Layer: L2
#pragma once

#include <runnel/runtime.hpp>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <thread>
#include <unistd.h>

namespace runnel::detail {

// The handler only writes to a pipe; a thread that sleeps on it does the rest. One watch at a time has the signals; a
// second one, of a run() inside another program's run(), leaves them alone.
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
    char end = 0;
    while (::write(x_pipe[1], &end, 1) < 0 && errno == EINTR) {}
    x_thread.join();
    ::close(x_pipe[0]);
    ::close(x_pipe[1]);
  }

  int received() const noexcept { return x_received.load(std::memory_order_acquire); }

 private:
  static constexpr int signals[2] = {SIGINT, SIGTERM};
  static inline std::atomic<int> s_write_end{-1};

  static void on_signal(int number) {
    int before = errno;
    auto byte = static_cast<char>(number);
    if (int fd = s_write_end.load(); fd != -1) (void)!::write(fd, &byte, 1);
    errno = before;
  }
  void watch() noexcept {
    for (;;) {
      pollfd readable{x_pipe[0], POLLIN, 0};
      if (::poll(&readable, 1, -1) < 0 && errno != EINTR) return;
      char number = 0;
      if (::read(x_pipe[0], &number, 1) != 1) continue;
      if (number == 0) return;
      if (received() != 0) {  // the second: at once, as if we had never handled it
        ::signal(number, SIG_DFL);
        ::raise(number);
        return;
      }
      x_received.store(number, std::memory_order_release);
      x_runtime.cancel();
    }
  }

  runtime& x_runtime;
  int x_pipe[2] = {-1, -1};
  struct sigaction x_before[2] {};
  std::atomic<int> x_received{0};
  std::thread x_thread;
};

}  // namespace runnel::detail
