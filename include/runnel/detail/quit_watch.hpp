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
//   s_write_end   -1, or where the handler writes to; changed by the watch that has the signal
class quit_watch {
 public:
  explicit quit_watch(std::string (*report)()) : x_report(report) {
    int nobody = -1;
    if (::pipe2(x_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return;
    if (!s_write_end.compare_exchange_strong(nobody, x_pipe[1])) {
      close_pipe();
      return;
    }
    try {
      x_thread = std::thread([this] { watch(); });
    } catch (...) {
      s_write_end.store(-1);
      close_pipe();
      throw;
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
    s_write_end.store(-1);
    write_byte(x_pipe[1], end);
    x_thread.join();
    close_pipe();
  }

 private:
  static constexpr char quit = 1, end = 0;
  RUNNEL_SHARED static inline std::atomic<int> s_write_end{-1};

  static void on_quit(int) {
    int before = errno;
    if (int fd = s_write_end.load(); fd != -1) (void)!::write(fd, &quit, 1);  // full: a report is on its way
    errno = before;
  }
  static void write_byte(int fd, char byte) noexcept {
    while (::write(fd, &byte, 1) < 0 && (errno == EINTR || errno == EAGAIN)) std::this_thread::yield();
  }
  void close_pipe() noexcept {
    ::close(x_pipe[0]);
    ::close(x_pipe[1]);
  }
  void watch() noexcept {
    for (;;) {
      pollfd readable{x_pipe[0], POLLIN, 0};
      if (::poll(&readable, 1, -1) < 0 && errno != EINTR) return;
      char byte = end;
      if (::read(x_pipe[0], &byte, 1) != 1) continue;
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
  int x_pipe[2] = {-1, -1};
  struct sigaction x_before {};
  std::thread x_thread;
};

}  // namespace runnel::detail
