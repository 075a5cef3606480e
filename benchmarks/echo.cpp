// SPDX-License-Identifier: BSL-1.0
// What does a connection cost: a goroutine that reads and writes with use_task, or by read_some and write_some, beside
// hand-written callbacks of Asio and asio::awaitable? A hundred connections send 64 bytes there and back; the clients are
// callbacks in each case. As the machine's moods are larger than the differences, the two that matter are also measured
// in turn in one process, in forty pairs of pieces: how much of the callbacks' time do goroutines take?
#include "echo_sessions.hpp"
#include "support.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using bench::message;
using boost::system::error_code;

constexpr int connections = 100;

// A message is read and written as a whole: on a loopback 64 bytes never come in parts.
class client : public std::enable_shared_from_this<client> {
 public:
  client(tcp::socket s, long rounds, std::atomic<int>& open) : x_socket(std::move(s)), x_left(rounds), x_open(open) {}
  void write() {
    if (x_left-- == 0) {
      x_socket.close();
      --x_open;
      return;
    }
    x_socket.async_write_some(asio::buffer(x_bytes), [self = shared_from_this()](error_code e, std::size_t) {
      bench::check(!e, "a client's write");
      self->read();
    });
  }

 private:
  void read() {
    x_socket.async_read_some(asio::buffer(x_bytes), [self = shared_from_this()](error_code e, std::size_t n) {
      bench::check(!e && n == sizeof(message), "a client's read");
      self->write();
    });
  }
  tcp::socket x_socket;
  long x_left;
  std::atomic<int>& x_open;
  message x_bytes{};
};

template <class Serve>
double seconds_for(unsigned threads, long rounds, Serve serve, rn::runtime_options options = {}) {
  asio::io_context io(static_cast<int>(threads));
  rn::scheduler sched(io, rn::threads(threads), std::move(options));
  tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
  std::atomic<int> open{connections};
  std::vector<std::shared_ptr<client>> clients;
  for (int i = 0; i < connections; ++i) {
    tcp::socket near(io);
    near.connect(acceptor.local_endpoint());
    tcp::socket far = acceptor.accept();
    near.set_option(tcp::no_delay(true));
    far.set_option(tcp::no_delay(true));
    serve(sched, io, std::move(far));
    clients.push_back(std::make_shared<client>(std::move(near), rounds, open));
  }
  for (auto& c : std::exchange(clients, {})) c->write();
  const auto start = bench::clock::now();
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back([&] { io.run(); });
  io.run();
  for (auto& t : others) t.join();
  bench::check(open == 0, "all clients are done");
  return bench::seconds_since(start);
}

template <class Serve> void measure(benchmark::State& state, Serve serve) {
  const long rounds = bench::scaled(200'000) / connections;
  const auto threads = static_cast<unsigned>(state.range(0));
  seconds_for(threads, 10, serve);
  double seconds = 0;
  for (auto _ : state) {
    double took = seconds_for(threads, rounds, serve);
    seconds += took;
    state.SetIterationTime(took);
  }
  state.counters["us"] = seconds / static_cast<double>(state.iterations() * rounds * connections) * 1e6;
}

void echo_by_callbacks(benchmark::State& state) { measure(state, bench::by_callbacks); }
void echo_by_awaitable(benchmark::State& state) { measure(state, bench::by_awaitable); }
void echo_by_goroutines(benchmark::State& state) { measure(state, bench::by_goroutines); }
void echo_by_goroutines_that_try(benchmark::State& state) { measure(state, bench::by_goroutines_that_try); }

void beside_callbacks(benchmark::State& state, const rn::runtime_options& options) {
  const long rounds = bench::scaled(20'000) / connections;
  const auto threads = static_cast<unsigned>(state.range(0));
  auto by_callbacks = [&] { return seconds_for(threads, rounds, bench::by_callbacks); };
  auto by_goroutines = [&] { return seconds_for(threads, rounds, bench::by_goroutines_that_try, options); };
  bench::in_turn(state, by_goroutines, by_callbacks);
}
void echo_of_callbacks(benchmark::State& state) { beside_callbacks(state, {}); }
void deferred_echo_of_callbacks(benchmark::State& state) {
  beside_callbacks(state, rn::runtime_options().deferred_reads());
}

BENCHMARK(echo_by_callbacks)->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(echo_by_awaitable)->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(echo_by_goroutines)->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(echo_by_goroutines_that_try)->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond);
void forty_pairs(benchmark::internal::Benchmark* b) {
  b->ArgName("threads")->Arg(1)->Arg(2)->Iterations(40)->UseManualTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK(echo_of_callbacks)->Apply(forty_pairs);
BENCHMARK(deferred_echo_of_callbacks)->Apply(forty_pairs);

}  // namespace

BENCHMARK_MAIN();
