// SPDX-License-Identifier: BSL-1.0
// The cheat sheet: Go's word, Elixir's word, and what it is here, each of them run.
#include <runnel.hpp>

#include <chrono>
#include <cstdio>
#include <functional>
#include <optional>
#include <stdexcept>
#include <vector>

namespace rn = runnel;
using namespace std::chrono_literals;

void row(const char* go, const char* elixir, const char* here, bool works) {
  std::printf("%-28s %-28s %s%s\n", go, elixir, here, works ? "" : " DOES NOT WORK");
}

rn::task<int> twice(int n) {
  co_await rn::yield();
  co_return 2 * n;
}
rn::task<int> for_ever() {
  co_await rn::sleep(1h);
  co_return 0;
}
rn::task<> put(rn::chan<int> ch, int n) { co_await ch.send(n); }
rn::task<int> fail() {
  co_await rn::yield();
  throw std::runtime_error("failed");
}

rn::task<> starting_and_waiting() {
  rn::chan<int> ch(0);
  rn::go(put, ch, 1);
  auto one = co_await ch.recv();
  row("go f(x); <-ch", "spawn, send, receive", "go, chan", one == 1);

  auto task = rn::async(twice, 2);
  int four = co_await task.await(5s);
  row("result over a channel", "Task.async, Task.await", "async, await", four == 4);

  rn::wait_group group;
  group.go([] {});
  co_await group.wait();
  std::vector<rn::join_handle<int>> tasks;
  for (int i : {1, 2}) tasks.push_back(rn::async(twice, i));
  auto outcomes = co_await rn::await_done_within(5s, tasks);
  row("sync.WaitGroup", "Task.yield_many", "wait_group, await_done_within",
      outcomes[0]->value() == 2 && outcomes[1]->value() == 4);

  std::vector<int> inputs{1, 2, 3};
  auto doubled = co_await rn::map(inputs, rn::max_concurrency(2), twice);
  row("errgroup.SetLimit(2)", "Task.async_stream", "errgroup, map, async_stream", doubled.back() == 6);
}

rn::task<> channels() {
  rn::chan<int> ch(1), nobody;  // nobody: Go's nil channel
  std::optional<int> got;
  auto take = [&](std::optional<int> n) { got = n; };
  ch.try_send(1);
  co_await rn::select(rn::on(ch.recv(), take), rn::on(nobody.recv(), take));
  row("select", "receive with patterns", "select", got == 1);

  bool late = false;
  co_await rn::select(rn::on(ch.recv(), take), rn::on(rn::after(1ms), [&] { late = true; }));
  row("case <-time.After(d)", "receive ... after d", "select with after", late);

  bool full = false;
  ch.try_send(1);
  co_await rn::select(rn::on(ch.send(2), [] {}), rn::on(rn::otherwise, [&] { full = true; }));
  row("select with default", "after 0", "select with otherwise, try_recv", full);

  ch.close();
  auto last = co_await ch.recv(), end = co_await ch.recv();
  row("close(ch), for range ch", "the end of a stream", "close, an empty optional", last && !end);
}

rn::task<> cancelling() {
  auto r = co_await rn::as_result(rn::with_timeout(1ms, for_ever()));
  row("context.WithTimeout", "Task.await(t, ms)", "with_timeout", !r.ok());

  auto [ctx, cancel] = rn::this_context().with_cancel();
  cancel();
  auto stopped = co_await rn::as_result(rn::with_context(ctx, for_ever()));
  row("context.WithCancel", "Process.exit(pid, :shutdown)", "context, cancel", stopped.canceled());

  auto task = rn::async(for_ever);
  auto end = co_await task.shutdown(5s);
  row("cancel(); wg.Wait()", "Task.shutdown(t, 5000)", "shutdown", end.canceled());

  bool cleaned = false;
  auto clean_up = [&]() -> rn::task<> {
    cleaned = true;
    co_return;
  };
  (void)co_await rn::as_result(rn::with_timeout(1ms, rn::finally(for_ever(), clean_up)));
  row("defer", "try ... after", "a destructor, finally", cleaned);
}

rn::task<> failing() {
  auto r = co_await rn::as_result(fail());
  row("v, err := f()", "{:ok, v} or {:error, e}", "as_result", r.error() != nullptr);

  bool heard = false;
  try {
    co_await rn::all(fail(), for_ever());
  } catch (const std::runtime_error&) {
    heard = true;
  }
  row("errgroup.Wait", "linked tasks", "all, errgroup", heard);

  auto first = co_await rn::race(for_ever(), twice(4));
  row("first of two goroutines", "Task.yield_many, shutdown", "race", first == 8);
}

rn::task<> sharing() {
  rn::mutex lock;
  int shared = 0;
  {
    auto hold = co_await lock.lock();
    ++shared;
  }
  row("sync.Mutex", "Agent", "mutex", shared == 1);

  rn::broadcast<int> topic(8);
  auto one = topic.subscribe(), two = topic.subscribe();
  topic.send(7);
  auto first = co_await one.recv(), second = co_await two.recv();
  row("a channel for each listener", "Phoenix.PubSub", "broadcast", *first == 7 && *second == 7);

  int sum = co_await rn::blocking([](int a, int b) { return a + b; }, 1, 2);
  row("a system call", "a port, a dirty NIF", "blocking", sum == 3);
}

rn::task<> app() {
  row("Go", "Elixir", "here", true);
  co_await starting_and_waiting();
  co_await channels();
  co_await cancelling();
  co_await failing();
  co_await sharing();
}

int main() { return rn::run(app); }
