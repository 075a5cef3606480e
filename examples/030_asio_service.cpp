// SPDX-License-Identifier: BSL-1.0
// Goroutines in a service that already runs Asio: on its own io_context and threads, beside its own handlers.
#include <runnel.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdio>

namespace asio = boost::asio;
namespace rn = runnel;
using namespace std::chrono_literals;

// The part that was there before: a timer and its callback. Handlers use the try forms, which never wait.
class pulse {
 public:
  pulse(asio::io_context& io, rn::chan<int> out) : timer_(io), out_(out) { wait(); }
  int beats = 0, shed = 0;

 private:
  void wait() {
    timer_.expires_after(5ms);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) beat();
    });
  }
  void beat() {
    if (!out_.try_send(++beats)) ++shed;
    if (beats < 3) return wait();
    out_.close();
  }

  asio::steady_timer timer_;
  rn::chan<int> out_;
};

// The new part: straight-line code. While one session sleeps, the thread serves timers and other goroutines.
rn::task<> session(int beat, rn::chan<int> finished) {
  co_await rn::sleep(1ms);
  co_await finished.send(beat * beat);
}

rn::task<> service(rn::chan<int> beats) {
  rn::chan<int> finished(1);
  while (auto beat = co_await beats.recv()) {
    rn::go(session, *beat, finished);
    auto answer = co_await finished.recv();
    std::printf("session %d answers %d\n", *beat, *answer);
  }
  std::puts("service: no more beats");
}

int main() {
  asio::io_context io(1);
  rn::scheduler sched(io);  // goroutines run on the threads that run io
  rn::chan<int> beats(16);
  sched.go(service, beats);  // from any handler, any thread
  pulse timer(io, beats);
  io.run();  // returns when there are neither handlers nor goroutines left
  std::printf("main: %d beats, %d shed\n", timer.beats, timer.shed);
}
