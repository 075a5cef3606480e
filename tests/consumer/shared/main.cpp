// SPDX-License-Identifier: BSL-1.0
// tests/consumer/shared/main.cpp: a program and two shared objects, all built with hidden visibility, whose goroutines,
// channels, contexts and exceptions go to and fro.
#include "library.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <tuple>

using namespace std::chrono_literals;

static int wrong = 0;
static void must(bool condition, const char* what) {
  if (condition) return;
  std::printf("wrong: %s\n", what);
  ++wrong;
}

static std::vector<std::pair<const char*, const void*>> own_addresses() {
  namespace d = rn::detail;
  return {
      {"the frame pool", &d::the_frame_depot},
      {"the lock table", &d::hashed_lock(nullptr)},
      {"the nil channel", &d::nil_channel::lock},
      {"the background context", &d::background_node()},
      {"the error category", &rn::context_category()},
      {"the cause of cancellation", &d::canceled_cause()},
      {"the cause of a deadline", &d::deadline_cause()},
      {"a key", &d::key_identity<request_key>},
      {"the service's id", &d::host_service::id},
  };
}

static rn::task<> identities() {
  auto own = own_addresses(), a = first::addresses(), b = second::addresses();
  for (std::size_t i = 0; i < own.size(); ++i)
    if (own[i].second != a[i].second || own[i].second != b[i].second) must(false, own[i].first);
  const void* here = rn::detail::this_processor();
  must(here && here == first::here() && here == second::here(), "the thread's processor");
  co_return;
}

static rn::task<> channels() {
  rn::chan<int> numbers(2);
  first::start_counting(numbers, 100);
  int total = co_await second::sum(numbers);
  must(total == 5050, "a channel between two shared objects");
  rn::chan<int> rendezvous(0);
  second::start_counting(rendezvous, 2);
  int both = co_await first::through_a_child(rendezvous);
  must(both == 3, "children of an all that park");
  auto sums = co_await rn::all(first::sum(numbers), second::sum(numbers));
  must(std::get<0>(sums) + std::get<1>(sums) == 0, "an all over two shared objects");
}

static rn::task<> cancellation() {
  auto [ctx, cancel] = rn::context::background().with_cancel();
  rn::errgroup g;
  std::atomic<int> unwound = 0;  // on two threads
  auto waits = [&unwound](rn::task<> work, rn::context c) -> rn::task<> {
    auto r = co_await rn::as_result(rn::with_context(std::move(c), std::move(work)));
    unwound += r.canceled();
  };
  g.go(waits, first::wait_for_ever(), ctx);
  g.go(waits, second::wait_for_ever(), ctx);
  co_await rn::yield();
  cancel();
  co_await g.wait();
  must(unwound == 2, "a context that is cancelled elsewhere");
  bool passed = false;
  try {
    co_await rn::with_timeout(1ms, second::wait_for_ever());
  } catch (const rn::deadline_exceeded&) {
    passed = true;
  }
  must(passed, "a deadline around another object's task");
}

static rn::task<> values() {
  auto of_first = co_await rn::with_context(first::with_request("one"), second::request());
  must(of_first == "one", "a value from one shared object in another");
  auto own = co_await rn::with_value<request_key>("two", first::request());
  must(own == "two", "a value from the program in a shared object");
}

static rn::task<> exceptions() {
  for (int how = 1; how <= 4; ++how) {
    auto a = co_await rn::as_result(first::fails(how));
    must(second::recognises(a.error()) == how, "an exception from one shared object in another");
    auto b = co_await rn::as_result(second::fails(how));
    must(first::recognises(b.error()) == how, "an exception, the other way");
  }
}

static rn::task<int> app() {
  co_await identities();
  co_await channels();
  co_await cancellation();
  co_await values();
  co_await exceptions();
  co_return 0;
}

int main() {
  (void)rn::context::background();
  auto before = rn::detail::frame_pool_stats().live_blocks;
  int code = rn::run(rn::threads(2), app);
  must(code == 0, "the app");
  must(rn::detail::frame_pool_stats().live_blocks == before, "frames that one object makes and another ends");
  if (!wrong) std::puts("one program, three objects");
  return wrong ? 1 : 0;
}
