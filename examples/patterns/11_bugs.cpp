// SPDX-License-Identifier: BSL-1.0
// The classic bugs of Go and of Elixir: each shown, and what becomes of it here.
#include <runnel.hpp>
#include <runnel/test.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>

namespace rn = runnel;
using namespace std::chrono_literals;

// Go: a leaked goroutine. The second answer finds nobody. In a program it is cancelled and joined at the end, and
// rn::dump shows it before; a test fails, in virtual time. With rn::all or a group there is no such bug to write.
rn::task<> ask(rn::chan<int> answers, int who, std::chrono::hours takes) {
  co_await rn::sleep(takes);
  co_await answers.send(who);
}
rn::task<> first_answer() {
  rn::chan<int> answers(0);
  rn::go(ask, answers, 1, 1h);
  rn::go(ask, answers, 2, 2h);
  co_await answers.recv();
}

// Go: a deadlock. Both send, and nobody receives.
rn::task<> swap(rn::chan<int> mine, rn::chan<int> yours) {
  co_await yours.send(1);
  co_await mine.recv();
}
rn::task<> both_send() {
  rn::chan<int> left(0), right(0);
  co_await rn::all(swap(left, right), swap(right, left));
}

// Both: read, wait, write. No data race that a sanitizer sees, and still an update is lost: in one of the schedules.
struct account {
  int balance = 0;
  rn::mutex lock;
};
rn::task<> deposit(account& a) {
  int seen = a.balance;
  co_await rn::yield();
  a.balance = seen + 1;
}
rn::task<> deposit_locked(account& a) {
  auto hold = co_await a.lock.lock();
  co_await deposit(a);
}
template <auto pay> rn::task<> pay_twice() {
  account a;
  co_await rn::all(pay(a), pay(a));
  if (a.balance != 2) throw std::logic_error("a deposit is lost");
}

template <class F> void tell(const char* bug, F run) {
  try {
    run();
    std::printf("  %s: nothing found\n", bug);
  } catch (const std::exception& report) {
    std::string all = report.what();
    std::printf("  %s: %s\n", bug, all.substr(0, all.find('\n')).c_str());
    std::fprintf(stderr, "%s\n", all.c_str());
  }
}

// Elixir: a mailbox that grows until memory is out. A channel has a bound, so there is always an answer to "and if it
// is full": wait, or refuse.
rn::task<> mailbox_growth() {
  rn::chan<int> mailbox(100);
  int refused = 0;
  for (int message = 0; message < 1000; ++message)
    if (!mailbox.try_send(message)) ++refused;
  std::printf("  a mailbox that grows: %zu wait, %d refused\n", mailbox.len(), refused);
  co_return;
}

// Elixir: a server that awaits a task answers nobody meanwhile. Here the end of the task is one of the cases.
rn::task<int> report(rn::event& asked) {
  co_await asked.wait();
  co_return 42;
}
rn::task<> server(rn::receiver<rn::chan<int>> pings) {
  rn::event asked;
  int served = 0;
  auto slow = rn::async(report, std::ref(asked));
  auto pong = [&](std::optional<rn::chan<int>> from) {
    if (from && from->try_send(++served) && served == 3) asked.set();
  };
  auto done = [&](int result) {
    std::printf("  a server that awaits: %d pings answered before the result, %d\n", served, result);
    return rn::stop;
  };
  co_await rn::select_loop(rn::on(pings.recv(), pong), rn::on(slow.await(), done));
}
rn::task<> responsive() {
  rn::chan<rn::chan<int>> pings(0);
  auto serving = rn::async(server, pings);
  for (int i = 0; i < 3; ++i) {
    rn::chan<int> pong(1);
    co_await pings.send(pong);
    co_await pong.recv();
  }
  co_await serving.await();
}

// Elixir: everything is a server, where memory is not shared. Here what is only kept, and not waited for, is an object.
class counter {
 public:
  void add(int n) { value_ += n; }
  int value() const { return value_; }

 private:
  std::atomic<int> value_ = 0;
};
rn::task<> no_server() {
  counter hits;
  co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
    for (int i = 0; i < 10; ++i) g.go([](counter& c) { c.add(1); }, std::ref(hits));
    co_return;
  });
  std::printf("  everything is a server: an object counts to %d\n", hits.value());
}

rn::task<> app() {
  co_await mailbox_growth();
  co_await responsive();
  co_await no_server();
}

int main() {
  std::puts("found by tests:");
  tell("a leaked goroutine", [] { rn::test::run(first_answer); });
  tell("a deadlock", [] { rn::test::run(both_send); });
  tell("an update that is lost", [] { rn::test::exhaust(pay_twice<deposit>, rn::test::preemptions(2)); });
  tell("the same under a lock", [] { rn::test::exhaust(pay_twice<deposit_locked>, rn::test::preemptions(2)); });
  std::puts("by design:");
  return rn::run(app);
}
