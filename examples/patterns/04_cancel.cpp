// SPDX-License-Identifier: BSL-1.0
// Cancel: by hand, at a deadline, politely, by force, and together with somebody else.
#include <runnel.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <stdexcept>

namespace rn = runnel;
using namespace std::chrono_literals;

struct transaction {  // what a destructor does is done whatever happens: cancellation unwinds
  explicit transaction(const char* of) : name(of) {}
  ~transaction() { std::printf("  %s: %s\n", name, rn::unwinding() ? "rolled back" : "committed"); }
  const char* name;
};

// Go: the loop over ctx.done(). Its own task, because it names the context and ends by itself.
rn::task<> count(rn::context ctx, rn::chan<int> ticks) {
  int seen = 0;
  for (bool over = false; !over;)
    co_await rn::select(rn::on(ticks.recv(), [&] { ++seen; }), rn::on(ctx.done(), [&] { over = true; }));
  try {
    ctx.check();
  } catch (const std::exception& cause) {
    std::printf("  %d ticks, then: %s\n", seen, cause.what());
  }
}

rn::task<> with_cancel() {
  auto [ctx, cancel] = rn::this_context().with_cancel();
  rn::chan<int> ticks(0);
  auto counter = rn::async(count, ctx, ticks);
  for (int i = 0; i < 3; ++i) co_await ticks.send(i);
  cancel(std::make_exception_ptr(std::runtime_error("the operator has pressed stop")));
  (void)co_await rn::as_result(counter.await());
}

// Mostly nobody has to look. The deadline is ambient: what is called inside has no parameter for it, and is unwound.
rn::task<int> query() {
  transaction t("query");
  co_await rn::sleep(1h);
  co_return 42;
}

rn::task<> both_steps() {
  transaction t("both steps");
  co_await rn::sleep(20ms);
}

rn::task<> with_timeout() {
  try {
    co_await rn::with_timeout(5ms, query());
  } catch (const rn::deadline_exceeded& error) {
    std::printf("  %s\n", error.what());
  }
  // What must not be torn in two is shielded. The deadline waits at its end.
  (void)co_await rn::as_result(rn::with_timeout(5ms, rn::shield(both_steps())));
}

// Elixir: receive ... after.
rn::task<> receive_after() {
  rn::chan<int> mailbox(1);
  co_await rn::select(rn::on(mailbox.recv(), [] { std::puts("  a message"); }),
                      rn::on(rn::after(5ms), [] { std::puts("  nothing came"); }));
}

// Elixir: Task.shutdown, with time to clean up, and :brutal_kill for who does not listen.
rn::task<> say_goodbye() {
  co_await rn::sleep(1ms);  // clean-up that has to wait is no destructor's work
  std::puts("  polite: goodbye");
}
rn::task<> work(rn::latch& begun) {
  begun.count_down();
  co_await rn::sleep(1h);
}
rn::task<> polite(rn::latch& begun) { co_await rn::finally(work(begun), say_goodbye); }
rn::task<> stubborn(rn::latch& begun) { co_await rn::shield(work(begun)); }

void tell(const char* who, const rn::result<void>& end) {
  std::printf("  %s: %s\n", who, end.canceled() ? "has ended when asked to" : "had to be killed");
}

rn::task<> shutdown() {
  rn::latch begun(2);
  auto a = rn::async(polite, std::ref(begun)), b = rn::async(stubborn, std::ref(begun));
  co_await begun.wait();
  tell("polite", co_await a.shutdown(5s));
  tell("stubborn", co_await b.shutdown(5ms));
}

// Elixir: linked processes die together; a monitor only hears of it.
rn::task<> reader(rn::event& reads) {
  transaction t("reader");
  reads.set();
  co_await rn::sleep(1h);
}
rn::task<> writer(rn::event& reads) {
  co_await reads.wait();
  throw std::runtime_error("the pipe is broken");
}
rn::task<> linked() {
  rn::event reads;
  co_await rn::all(reader(reads), writer(reads));
}

rn::task<> link_and_monitor() {
  auto both = rn::async(linked);
  auto end = co_await rn::as_result(both.await());
  std::printf("  monitored: %s\n", end.ok() ? "normal" : end.canceled() ? "canceled" : "an error");
}

rn::task<> app() {
  std::puts("with_cancel, and a loop over done():");
  co_await with_cancel();
  std::puts("with_timeout:");
  co_await with_timeout();
  std::puts("receive ... after:");
  co_await receive_after();
  std::puts("shutdown, and kill:");
  co_await shutdown();
  std::puts("link and monitor:");
  co_await link_and_monitor();
}

int main() { return rn::run(app); }
