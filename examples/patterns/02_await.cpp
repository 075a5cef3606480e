// SPDX-License-Identifier: BSL-1.0
// Start a task, go on, and wait for its result later, but not for ever.
#include <runnel.hpp>

#include <chrono>
#include <cstdio>
#include <optional>
#include <stdexcept>

namespace rn = runnel;
using namespace std::chrono_literals;

rn::task<int> price(int item) {
  if (item == 13) throw std::out_of_range("there is no item 13");
  if (item == 99) co_await rn::sleep(1h);  // nobody answers
  co_return 10 * item;
}

// Go: a goroutine, a channel, and a select with a timer. The channel has room for the answer, so that one which comes
// too late finds a place. Under a context of its own the goroutine ends with the function that has started it.
rn::task<> answer(int item, rn::chan<int> out) {
  int p = co_await price(item);
  co_await out.send(p);
}

rn::task<> by_channel(int item, std::chrono::milliseconds limit) {
  auto [ctx, cancel] = rn::this_context().with_cancel();  // cancels when it dies
  rn::chan<int> out(1);
  rn::go(ctx, answer, item, out);
  co_await rn::select(rn::on(out.recv(), [&](std::optional<int> p) { std::printf("  item %d costs %d\n", item, *p); }),
                      rn::on(rn::after(limit), [&] { std::printf("  item %d: no answer in time\n", item); }));
}

// Elixir: Task.async and Task.await. An error of the task is the awaiting one's; the handle that dies cancels.
rn::task<> by_task() {
  rn::join_handle<int> one = rn::async(price, 1), two = rn::async(price, 2);  // both run
  int sum = co_await one.await();
  sum += co_await two.await(5s);
  std::printf("  items 1 and 2 cost %d\n", sum);

  auto wrong = rn::async(price, 13);
  try {
    co_await wrong.await();
  } catch (const std::out_of_range& error) {
    std::printf("  caught: %s\n", error.what());
  }

  // Task.yield(task, 5) || Task.shutdown(task): look, and look again, then ask it to end.
  auto slow = rn::async(price, 99);
  auto outcome = co_await slow.await_for(5ms);
  if (!outcome) outcome = co_await slow.shutdown(1s);
  std::printf("  item 99: %s\n", outcome->canceled() ? "it was stopped" : "it has ended by itself");

  // The same in one line, where the work needs no handle: at the deadline it is unwound.
  auto r = co_await rn::as_result(rn::with_timeout(5ms, price(99)));
  std::printf("  item 99: %s\n", r.ok() ? "there" : "out of time");
}

rn::task<> app() {
  std::puts("goroutine, channel, select:");
  co_await by_channel(7, 5s);
  co_await by_channel(99, 5ms);
  std::puts("async, await:");
  co_await by_task();
}

int main() { return rn::run(app); }
