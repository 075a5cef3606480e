// SPDX-License-Identifier: BSL-1.0
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/select.hpp>
#include <runnel/watch.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>
#include <support/done_context.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::on_1_2_and_4_threads;
using test::until;

static_assert(!std::is_copy_constructible_v<rn::watcher<int>>);

// Sees values that rise, and the last of them.
rn::task<> follow(rn::watcher<int> w, std::atomic<int>& last) {
  int before = -1;
  for (;;) {
    bool more = co_await w.changed();
    if (!more) co_return;
    int now = *w.get();
    EXPECT_GT(now, before);
    last = before = now;
  }
}

TEST(watch, everybody_sees_the_latest_value) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::watch<int> w(-1);
    std::atomic<int> last[3] = {-1, -1, -1};
    rn::errgroup g;
    for (auto& l : last) co_await g.go(follow, w.observe(), std::ref(l));
    for (int i = 0; i < 100; ++i) {
      w.set(i);
      if (i % 7 == 0) co_await rn::yield();
    }
    for (auto& l : last) co_await until([&] { return l == 99; });
    w.close();
    co_await g.wait();
    EXPECT_EQ(*w.get(), 99) << "also after the close";
  });
}

TEST(watch, what_was_there_before_and_what_was_seen_is_no_change) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::watch<std::string> w(std::in_place, 3u, 'a');
    auto s = w.observe();
    EXPECT_FALSE(s.has_changed());
    EXPECT_EQ(*s.peek(), "aaa");
    w.set("b");
    w.set("c");
    EXPECT_TRUE(s.has_changed());
    EXPECT_EQ(*s.peek(), "c");
    EXPECT_TRUE(s.has_changed()) << "a look is not a sight";
    EXPECT_TRUE(co_await s.changed());
    EXPECT_FALSE(s.has_changed());
    w.set("d");
    EXPECT_EQ(*s.get(), "d");
    EXPECT_FALSE(s.has_changed());
    w.set("e");
    w.close();
    EXPECT_TRUE(co_await s.changed()) << "the last value comes before the end";
    EXPECT_FALSE(co_await s.changed());
    EXPECT_EQ(*s.get(), "e");
  });
}

TEST(watch, a_value_that_somebody_keeps_does_not_change) {
  rn::watch<std::unique_ptr<int>> w(std::make_unique<int>(1));
  auto one = w.get();
  w.set(std::make_unique<int>(2));
  EXPECT_EQ(**one, 1);
  EXPECT_EQ(**w.get(), 2);
}

TEST(watch, the_error_of_close_is_thrown_behind_the_last_value) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::watch<int> w(0);
    auto s = w.observe();
    std::string said;
    std::atomic<bool> waits = false;
    rn::errgroup g;
    co_await g.go([](rn::watcher<int>& of, std::string& into, std::atomic<bool>& begun) -> rn::task<> {
      EXPECT_TRUE(co_await of.changed());
      begun = true;
      into = co_await test::error_of_awaiting([&] { return of.changed(); });
    }, std::ref(s), std::ref(said), std::ref(waits));
    w.set(1);
    co_await until([&] { return waits.load(); });
    w.close(std::runtime_error("the source is dry"));
    co_await g.wait();
    EXPECT_EQ(said, "the source is dry");
    EXPECT_THROW(w.set(2), rn::closed_channel);
    EXPECT_THROW(w.close(), rn::closed_channel);
    EXPECT_FALSE(w.close_if_open());
    EXPECT_TRUE(w.is_closed());
    EXPECT_EQ(*s.get(), 1);
  });
}

TEST(watch, a_cancelled_wait_is_told_the_next_time) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::watch<int> w(0);
    auto s = w.observe();
    for (int i = 1; i < 20; ++i) {
      EXPECT_TRUE((co_await rn::as_result(rn::with_timeout(100us, s.changed()))).error());
      w.set(i);
      EXPECT_FALSE(co_await test::completes_in_a_done_context([&] { return s.changed(); }));
      EXPECT_TRUE(co_await s.changed());
      EXPECT_EQ(*s.get(), i);
    }
  });
}

// GEN-02
TEST(watch, who_only_waits_for_what_has_changed_lets_others_run) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::watch<int> w(0);
    auto s = w.observe();
    bool other_ran = false;
    rn::go([&other_ran] { other_ran = true; });
    for (int i = 0; !other_ran && i < 100'000; ++i) {
      w.set(i);
      EXPECT_TRUE(co_await s.changed());
    }
    EXPECT_TRUE(other_ran);
  });
}

TEST(watch, is_a_case_of_a_select) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::watch<int> w(0);
    rn::chan<int> ch(1);
    auto s = w.observe();
    rn::errgroup g;
    for (int i = 1; i < 30; ++i) {
      co_await ch.send(i);
      auto first = co_await rn::select(s.changed(), ch.recv());
      EXPECT_EQ(first.index(), 1u);
      co_await g.go([](rn::watch<int> of, int value) { of.set(value); }, w, i);
      auto second = co_await rn::select(s.changed(), ch.recv());
      EXPECT_EQ(second.index(), 0u);
      EXPECT_TRUE(second.get<0>());
      EXPECT_EQ(*s.get(), i);
    }
    co_await g.wait();
  });
}

TEST(watch, one_goroutine_at_a_time_waits_by_a_watcher) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::watch<int> w(0);
    auto s = w.observe();
    std::atomic<bool> waits = false;
    rn::errgroup g;
    co_await g.go([](rn::watcher<int>& of, std::atomic<bool>& begun) -> rn::task<> {
      begun = true;
      EXPECT_TRUE(co_await of.changed());
    }, std::ref(s), std::ref(waits));
    co_await until([&] { return waits.load(); });
    EXPECT_THROW((void)s.changed(), rn::misuse_error);
    EXPECT_THROW((void)s.get(), rn::misuse_error);
    w.set(1);
    co_await g.wait();
    auto moved = std::move(s);
    EXPECT_THROW((void)s.changed(), rn::misuse_error);  // NOLINT: that is what is tested
    EXPECT_FALSE(moved.has_changed());
  });
}

TEST(watch_death, a_watcher_that_dies_while_somebody_waits_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto die = [] {
    checked_runtime rt(1);
    rt.run([]() -> rn::task<> {
      rn::watch<int> w(0);
      std::optional<rn::watcher<int>> s(w.observe());
      rn::errgroup g;
      co_await g.go([](rn::watcher<int>& of) -> rn::task<> { (void)co_await of.changed(); }, std::ref(*s));
      for (int i = 0; i < 3; ++i) co_await rn::yield();
      s.reset();
    });
  };
  EXPECT_DEATH(die(), "a watcher was destroyed or moved while somebody waited for it");
}

}  // namespace
