// SPDX-License-Identifier: BSL-1.0
// Rows 1c, 2, 3 and 5 with Boost.Asio alone: co_spawn on a thread_pool, experimental::concurrent_channel.
#include "../peer.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <cstddef>
#include <future>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using boost::system::error_code;
using channel = asio::experimental::concurrent_channel<void(error_code, int)>;

asio::awaitable<void> nothing() { co_return; }

asio::awaitable<void> spawn_one(long n) {
  auto executor = co_await asio::this_coro::executor;
  for (long i = 0; i < n; ++i) co_await asio::co_spawn(executor, nothing(), asio::use_awaitable);
}

asio::awaitable<void> send(channel& out, long n) {
  for (long i = 0; i < n; ++i) co_await out.async_send(error_code(), static_cast<int>(i), asio::use_awaitable);
}

asio::awaitable<void> receive(channel& in, long n) {
  for (long i = 0; i < n; ++i) co_await in.async_receive(asio::use_awaitable);
}

asio::awaitable<void> serve(channel& in, channel& out, long n) {
  for (long i = 0; i < n; ++i)
    co_await out.async_send(error_code(), co_await in.async_receive(asio::use_awaitable), asio::use_awaitable);
}

asio::awaitable<void> ask(channel& out, channel& in, long n) {
  for (long i = 0; i < n; ++i) {
    co_await out.async_send(error_code(), static_cast<int>(i), asio::use_awaitable);
    co_await in.async_receive(asio::use_awaitable);
  }
}

// Runs them all to their ends on the pool.
void join(asio::thread_pool& pool, std::vector<asio::awaitable<void>> all) {
  std::vector<std::future<void>> ends;
  for (auto& one : all) ends.push_back(asio::co_spawn(pool, std::move(one), asio::use_future));
  for (auto& end : ends) end.get();
}

long ping_pong(asio::thread_pool& pool, long n) {
  channel ping(pool, 0), pong(pool, 0);
  std::vector<asio::awaitable<void>> all;
  all.push_back(serve(ping, pong, n));
  all.push_back(ask(ping, pong, n));
  join(pool, std::move(all));
  return n;
}

long pipes(asio::thread_pool& pool, long n, int pairs, std::size_t capacity) {
  channel pipe(pool, capacity);
  std::vector<asio::awaitable<void>> all;
  for (int i = 0; i < pairs; ++i) {
    all.push_back(send(pipe, n / pairs));
    all.push_back(receive(pipe, n / pairs));
  }
  join(pool, std::move(all));
  return n / pairs * pairs;
}

long run(const peer::command& c, asio::thread_pool& pool) {
  if (c.row == "1c") {
    const long n = c.of(300'000);
    asio::co_spawn(pool, spawn_one(n), asio::use_future).get();
    return n;
  }
  if (c.row == "2") return ping_pong(pool, c.of(200'000));
  if (c.row == "3") return pipes(pool, c.of(500'000), 1, 128);
  if (c.row == "5") return pipes(pool, c.of(400'000), 4, 0);
  peer::unknown_row(c);
}

int main(int argc, char** argv) {
  const auto c = peer::parse(argc, argv);
  for (int i = 0; i < c.repetitions; ++i) {
    asio::thread_pool pool(static_cast<std::size_t>(c.threads));
    const auto start = std::chrono::steady_clock::now();
    const long operations = run(c, pool);
    peer::print("asio", c, peer::milliseconds_since(start) * 1e6 / static_cast<double>(operations), "ns");
    pool.join();
  }
}
