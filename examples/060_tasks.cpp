// SPDX-License-Identifier: BSL-1.0
// Elixir's tasks: start one and await it with a time limit; many at once, in order, each with its own time; the results
// as they come.
#include <runnel.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

namespace rn = runnel;
using namespace std::chrono_literals;

rn::task<std::size_t> fetch(std::string url) {
  if (url == "down") throw std::runtime_error("connection refused");
  if (url == "slow") co_await rn::sleep(1h);
  co_await rn::sleep(1ms);
  co_return url.size();
}

// Task.async, and Task.await with a time limit. What is not awaited is cancelled when its handle dies.
rn::task<> one_task() {
  auto page = rn::async(fetch, std::string("index"));
  auto slow = rn::async(fetch, std::string("slow"));
  std::printf("index: %zu bytes\n", co_await page.await(5s));
  try {
    co_await slow.await(5ms);
  } catch (const rn::timeout_error&) {
    std::puts("slow: no answer in time");
  }
}

// All of them or the first error; at most two at once.
rn::task<> all_pages(const std::vector<std::string>& urls) {
  auto sizes = co_await rn::map(urls, rn::max_concurrency(2), fetch);
  for (std::size_t i = 0; i < urls.size(); ++i) std::printf("%s: %zu bytes\n", urls[i].c_str(), sizes[i]);
}

// Task.async_stream: one that fails, or takes too long, is told by name, and the others go on.
rn::task<> whatever_there_is(const std::vector<std::string>& urls) {
  auto pages = rn::async_stream(urls, rn::max_concurrency(2), rn::timeout(1s), rn::kill_on_timeout, fetch);
  while (auto page = co_await pages.next())
    std::printf("%s: %s\n", page->input().c_str(), page->ok() ? "there" : "not there");
}

rn::task<> app() {
  co_await one_task();
  const std::vector<std::string> good{"a", "bb", "ccc"}, mixed{"a", "down", "slow", "bb"};
  co_await all_pages(good);
  co_await whatever_there_is(mixed);
}

int main() { return rn::run(app); }
