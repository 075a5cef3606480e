// SPDX-License-Identifier: BSL-1.0
// What with_ forms, as_result and finally are given may be a temporary, and what they return may be kept and awaited
// later: the operation has moved into it by then.
#include <runnel/adopt.hpp>
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include "support/conserves_frames.hpp"
#include "support/counted.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::counted;

class stored : public runnel_test::conserves_frames {
 protected:
  template <class App>
  static void run(App app) {
    rn::runtime rt(rn::threads(1));
    rt.run(app);
  }
};

// Other calls use the stack where the temporaries were.
RUNNEL_NOINLINE void use_the_stack() {
  volatile char over[2048];
  for (auto& c : over) c = 0x5a;
}
const std::string text = "too long for a string to keep it in itself, so that it is on the heap";

TEST_F(stored, a_receive) {
  run([]() -> rn::task<> {
    rn::chan<std::string> ch(1);
    auto t = rn::with_timeout(1h, ch.recv());
    auto later = rn::with_timeout(1h, ch.recv());
    use_the_stack();
    co_await ch.send(text);
    EXPECT_EQ(co_await std::move(t), text);
    ch.close();
    EXPECT_EQ(co_await std::move(later), std::nullopt);
  });
}

TEST_F(stored, a_send_with_its_element) {
  run([]() -> rn::task<> {
    rn::chan<counted> ch(4);
    {
      auto sent = rn::with_timeout(1h, ch.emplace(1));
      auto never = rn::shield(ch.emplace(2));
      counted named(3);
      auto moved = rn::with_timeout(1h, ch.send(rn::moved(named)));
      use_the_stack();
      EXPECT_EQ(counted::alive(), 3);
      co_await std::move(sent);
      EXPECT_TRUE(named.whole());
      co_await std::move(moved);
      EXPECT_FALSE(named.whole());
    }
    EXPECT_EQ(counted::alive(), 2) << "what was never awaited has died with its element";
    auto one = co_await ch.recv();
    auto three = co_await ch.recv();
    EXPECT_EQ(one->value(), 1);
    EXPECT_EQ(three->value(), 3);
  });
  EXPECT_EQ(counted::alive(), 0);
}

// An element whose move may throw waits in a box.
TEST_F(stored, a_send_of_what_is_boxed) {
  struct throwing {
    std::string s;
    explicit throwing(std::string v) : s(std::move(v)) {}
    throwing(throwing&& other) noexcept(false) : s(std::move(other.s)) {}
  };
  run([]() -> rn::task<> {
    rn::chan<throwing> ch(1);
    auto t = rn::as_result(ch.emplace(text));
    use_the_stack();
    auto r = co_await std::move(t);
    EXPECT_TRUE(r.ok());
    auto got = co_await ch.recv();
    EXPECT_EQ(got->s, text);
  });
}

TEST_F(stored, a_channel_of_nothing) {
  run([]() -> rn::task<> {
    rn::chan<void> ch(1);
    auto sent = rn::with_timeout(1h, ch.send());
    auto got = rn::with_timeout(1h, ch.recv());
    use_the_stack();
    co_await std::move(sent);
    bool there = co_await std::move(got);
    EXPECT_TRUE(there);
  });
}

TEST_F(stored, what_waits_for_time_for_a_context_and_for_its_turn) {
  run([]() -> rn::task<> {
    auto [ctx, cancel] = rn::this_context().with_cancel();
    auto sleeps = rn::with_timeout(1h, rn::sleep(1ms));
    auto until = rn::with_timeout(1h, rn::sleep_until(std::chrono::steady_clock::now() + 2ms));  // sleeps: a goroutine
    auto done = rn::with_timeout(1h, ctx.done());
    auto ambient = rn::as_result(rn::with_context(ctx, rn::done()));
    auto yields = rn::with_timeout(1h, rn::yield());
    use_the_stack();
    co_await std::move(sleeps);
    co_await std::move(until);
    cancel();
    co_await std::move(done);
    auto seen = co_await std::move(ambient);
    EXPECT_TRUE(seen.ok());
    co_await std::move(yields);
  });
}

TEST_F(stored, what_waits_for_others) {
  run([]() -> rn::task<> {
    rn::wait_group wg;
    wg.go([] {});
    auto waits = rn::with_timeout(1h, wg.wait());
    rn::errgroup g(rn::limit(1));
    auto slot = rn::with_timeout(1h, g.go([]() -> rn::task<> { co_await rn::yield(); }));
    auto another = rn::with_timeout(1h, g.go([] {}));
    auto joins = rn::with_timeout(1h, g.wait());
    use_the_stack();
    co_await std::move(waits);
    bool first = co_await std::move(slot);
    bool second = co_await std::move(another);
    EXPECT_TRUE(first && second);
    co_await std::move(joins);
    EXPECT_EQ(g.live(), 0u);
  });
}

rn::task<std::string> says(std::string s) { co_return s; }
rn::task<std::string> says_late(std::string s) {
  co_await rn::yield();
  co_return s;
}

TEST_F(stored, children_in_parallel) {
  run([]() -> rn::task<> {
    auto both = rn::with_timeout(1h, rn::all(says(text), says_late("b")));
    auto never = rn::with_timeout(1h, rn::all(says(text), says_late("b")));
    auto first = rn::with_timeout(1h, rn::race(says_late("slow"), says("quick")));
    auto either = rn::with_timeout(1h, rn::race(says(text), rn::task<int>(
                                                                []() -> rn::task<int> {
                                                                  co_await rn::sleep(1h);
                                                                  co_return 1;
                                                                }())));
    std::vector<rn::task<std::string>> some, others;
    for (int i = 0; i < 5; ++i) some.push_back(i % 2 ? says(text) : says_late(text));
    for (int i = 0; i < 5; ++i) others.push_back(says(text));
    auto all_of_a_range = rn::with_timeout(1h, rn::all(std::move(some)));
    auto race_of_a_range = rn::with_timeout(1h, rn::race(std::move(others)));
    use_the_stack();
    auto pair = co_await std::move(both);
    EXPECT_EQ(std::get<0>(pair), text);
    EXPECT_EQ(std::get<1>(pair), "b");
    EXPECT_EQ(co_await std::move(first), "quick");
    auto variant = co_await std::move(either);
    EXPECT_EQ(std::get<0>(variant), text);
    EXPECT_EQ(co_await std::move(all_of_a_range), std::vector<std::string>(5, text));
    EXPECT_EQ(co_await std::move(race_of_a_range), text);
  });
}

TEST_F(stored, forms_in_forms) {
  run([]() -> rn::task<> {
    auto [ctx, cancel] = rn::this_context().with_cancel();
    struct key {
      using type = std::string;
    };
    auto value = []() -> rn::task<std::string> { co_return *rn::this_context().value<key>(); };
    auto deep =
        rn::with_timeout(1h, rn::as_result(rn::with_value<key>(text, rn::shield(rn::with_context(ctx, value())))));
    auto cleaned = rn::as_result(rn::finally(rn::with_timeout(1ms, rn::sleep(1h)), [] { return says(text); }));
    auto never = rn::with_timeout(1h, rn::as_result(rn::with_value<key>(text, rn::shield(value()))));
    use_the_stack();
    auto r = co_await std::move(deep);
    EXPECT_EQ(std::move(r).value(), text);
    auto c = co_await std::move(cleaned);
    EXPECT_THROW(c.value(), rn::deadline_exceeded);
  });
}

TEST_F(stored, a_named_operation) {
  run([]() -> rn::task<> {
    rn::chan<std::string> ch(2);
    auto send = ch.send(text);
    auto t = rn::with_timeout(1h, std::move(send));
    auto recv = ch.recv();
    use_the_stack();
    co_await std::move(t);
    EXPECT_EQ(co_await std::move(recv), text);
  });
}

TEST_F(stored, children_that_have_been_moved_from_or_awaited_are_misuse) {
  run([]() -> rn::task<> {
    auto both = rn::all(says(text), says("b"));
    auto elsewhere = std::move(both);
    EXPECT_THROW(co_await std::move(both), rn::misuse_error);
    auto pair = co_await std::move(elsewhere);
    EXPECT_EQ(std::get<0>(pair), text);
    EXPECT_THROW(co_await std::move(elsewhere), rn::misuse_error);
    std::vector<rn::task<std::string>> some;
    some.push_back(says(text));
    auto race = rn::race(std::move(some));
    auto run_elsewhere = std::move(race);
    EXPECT_THROW(co_await std::move(race), rn::misuse_error);
    EXPECT_EQ(co_await std::move(run_elsewhere), text);
  });
}

// What is kept may move on, until it is awaited.
TEST_F(stored, a_form_that_is_moved) {
  run([]() -> rn::task<> {
    rn::chan<std::string> ch(1);
    auto make = [&] {
      auto t = rn::with_timeout(1h, ch.send(text));
      return std::make_unique<decltype(t)>(std::move(t));
    };
    auto t = make();
    use_the_stack();
    co_await std::move(*t);
    EXPECT_EQ(co_await ch.recv(), text);
  });
}

// Another library's awaitable, which moves in if it can move.
struct foreign {
  std::unique_ptr<std::string> s;
  explicit foreign(std::string v) : s(std::make_unique<std::string>(std::move(v))) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const { h.resume(); }
  std::string await_resume() const { return *s; }
};

TEST_F(stored, what_is_adopted) {
  run([]() -> rn::task<> {
    auto bare = rn::adopt(foreign(text));
    auto t = rn::with_timeout(1h, rn::adopt(foreign(text)));
    foreign named(text);
    auto by_name = rn::with_timeout(1h, rn::adopt(named));
    use_the_stack();
    EXPECT_EQ(co_await std::move(bare), text);
    EXPECT_EQ(co_await std::move(t), text);
    EXPECT_EQ(co_await std::move(by_name), text);
    EXPECT_TRUE(named.s);
  });
}

}  // namespace
