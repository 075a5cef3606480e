// SPDX-License-Identifier: BSL-1.0
// Ten thousand connections, a hundred of which have something to say at a time: what does each of them take, and how
// long does who speaks wait for the echo? A goroutine each, beside callbacks of Asio and asio::awaitable.
#include "echo_sessions.hpp"
#include "support.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using bench::message;
using boost::system::error_code;

constexpr std::size_t speaking = 100;

// As many as the system allows: a descriptor each, in each of the two processes.
std::size_t how_many() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const auto allowed = static_cast<long>(std::min<rlim_t>(limit.rlim_cur, 1'000'000)) - 100;
  return static_cast<std::size_t>(std::clamp(bench::scaled(10'000), 1L, std::max(1L, allowed)));
}

// The server is a process of its own, and a new one each time, so that its memory is its own.
class server_process {
 public:
  template <class Serve>
  server_process(unsigned threads, std::size_t connections, Serve serve, const rn::runtime_options& options) {
    bench::check(::pipe(x_up) == 0 && ::pipe(x_down) == 0, "pipes");
    x_pid = ::fork();
    bench::check(x_pid >= 0, "fork");
    ::close(x_pid == 0 ? x_up[0] : x_up[1]);
    ::close(x_pid == 0 ? x_down[1] : x_down[0]);
    if (x_pid != 0) return;
    int status = 0;
    try {
      run(threads, connections, serve, options);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "the server: %s\n", e.what());
      status = 1;
    }
    ::_exit(status);
  }
  ~server_process() {
    ::close(x_up[0]);
    ::close(x_down[1]);
    if (std::uncaught_exceptions()) ::kill(x_pid, SIGKILL);  // it may wait for clients that do not come
    ::waitpid(x_pid, nullptr, 0);
  }
  unsigned short port() { return said<unsigned short>(); }
  // What the sessions have added, in bytes.
  double memory() {
    tell('m');
    return said<double>();
  }

 private:
  template <class Serve>
  void run(unsigned threads, std::size_t connections, Serve serve, const rn::runtime_options& options) {
    ::malloc_trim(0);
    asio::io_context io(static_cast<int>(threads));
    auto stay = asio::make_work_guard(io);
    rn::scheduler sched(io, rn::threads(threads), options);
    tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
    say(acceptor.local_endpoint().port());
    std::vector<tcp::socket> sockets;
    sockets.reserve(connections);
    while (sockets.size() < connections) {
      sockets.push_back(acceptor.accept());
      sockets.back().set_option(tcp::no_delay(true));
    }
    const double before = bench::resident_bytes();
    for (auto& s : sockets) serve(sched, io, std::move(s));
    std::vector<std::thread> pool;
    for (unsigned i = 0; i < threads; ++i) pool.emplace_back([&] { io.run(); });
    char question = 0;
    bench::check(::read(x_down[0], &question, 1) == 1, "the question for the memory");
    say(bench::resident_bytes() - before);
    stay.reset();
    for (auto& t : pool) t.join();
  }
  template <class T> void say(T value) {
    bench::check(::write(x_up[1], &value, sizeof value) == sizeof value, "a word to the clients");
  }
  template <class T> T said() {
    T value{};
    bench::check(::read(x_up[0], &value, sizeof value) == sizeof value, "a word of the server");
    return value;
  }
  void tell(char c) { bench::check(::write(x_down[1], &c, 1) == 1, "a word to the server"); }

  int x_up[2] = {}, x_down[2] = {};
  pid_t x_pid = 0;
};

// Messages to and fro, `speaking` at a time, on each connection in turn.
class clients {
 public:
  clients(std::size_t n, unsigned short port) {
    x_sockets.reserve(n);
    while (x_sockets.size() < n) {
      x_sockets.emplace_back(x_io).connect({asio::ip::address_v4::loopback(), port});
      x_sockets.back().set_option(tcp::no_delay(true));
    }
  }
  // Returns: how long each took, in seconds.
  std::vector<double> talk(std::size_t messages) {
    x_took.clear();
    x_took.reserve(messages);
    x_left = messages;
    std::vector<speaker> speakers(std::min(speaking, x_sockets.size()));
    for (auto& s : speakers) next(s);
    x_io.restart();
    x_io.run();
    bench::check(x_took.size() == messages, "all messages have come back");
    return std::move(x_took);
  }

 private:
  struct speaker {
    tcp::socket* socket = nullptr;
    bench::clock::time_point sent;
    message bytes{};
  };
  // A connection comes to its turn again when the others have had theirs: nobody else speaks on it.
  void next(speaker& s) {
    if (x_left == 0) return;
    --x_left;
    s.socket = &x_sockets[x_turn++ % x_sockets.size()];
    s.sent = bench::clock::now();
    s.socket->async_write_some(asio::buffer(s.bytes), [this, &s](error_code e, std::size_t) {
      bench::check(!e, "a client's write");
      s.socket->async_read_some(asio::buffer(s.bytes), [this, &s](error_code error, std::size_t n) {
        bench::check(!error && n == sizeof(message), "a client's read");
        x_took.push_back(bench::seconds_since(s.sent));
        next(s);
      });
    });
  }

  asio::io_context x_io{1};
  std::vector<tcp::socket> x_sockets;
  std::vector<double> x_took;
  std::size_t x_left = 0, x_turn = 0;
};

double quantile(std::vector<double>& sorted, double q) {
  return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))];
}

template <class Serve>
void measure(benchmark::State& state, Serve serve, const rn::runtime_options& options = {}) {
  const std::size_t n = how_many();
  const auto messages = static_cast<std::size_t>(bench::scaled(100'000));
  for (auto _ : state) {
    server_process server(static_cast<unsigned>(state.range(0)), n, serve, options);
    clients all(n, server.port());
    all.talk(n);  // each has been served once
    state.counters["bytes"] = server.memory() / static_cast<double>(n);
    const auto start = bench::clock::now();
    auto took = all.talk(messages);
    const double seconds = bench::seconds_since(start);
    state.SetIterationTime(seconds);
    std::sort(took.begin(), took.end());
    state.counters["connections"] = static_cast<double>(n);
    state.counters["us"] = 1e6 * seconds / static_cast<double>(messages);
    state.counters["p50_us"] = 1e6 * quantile(took, 0.5);
    state.counters["p99_us"] = 1e6 * quantile(took, 0.99);
  }
}

void connections_by_callbacks(benchmark::State& state) { measure(state, bench::by_callbacks); }
void connections_by_awaitable(benchmark::State& state) { measure(state, bench::by_awaitable); }
void connections_by_goroutines(benchmark::State& state) { measure(state, bench::by_goroutines); }
void connections_by_goroutines_that_try(benchmark::State& state) { measure(state, bench::by_goroutines_that_try); }
void connections_by_deferred_reads(benchmark::State& state) {
  measure(state, bench::by_goroutines_that_try, rn::runtime_options().deferred_reads());
}
BENCHMARK(connections_by_callbacks)
    ->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(1);
BENCHMARK(connections_by_awaitable)
    ->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(1);
BENCHMARK(connections_by_goroutines)
    ->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(1);
BENCHMARK(connections_by_goroutines_that_try)
    ->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(1);
BENCHMARK(connections_by_deferred_reads)
    ->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace

BENCHMARK_MAIN();
