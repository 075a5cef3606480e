// SPDX-License-Identifier: BSL-1.0
// after: one tick, awaited or as a case.
#include <runnel/after.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/go.hpp>
#include <runnel/select.hpp>
#include <runnel/with_context.hpp>

#include "support/checked_runtime.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using test::on_1_2_and_4_threads;

TEST(after, awaited_alone_is_a_sleep_that_yields_when_it_was_due) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    auto begin = clock_type::now();
    auto due = co_await rn::after(2ms);
    EXPECT_GE(due, begin + 2ms);
    EXPECT_LE(due, clock_type::now());
    co_await rn::after(0s);
    co_await rn::after(-1h);
  });
}

TEST(after, counts_from_the_call_so_that_a_named_one_is_a_deadline_for_several_selects) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> ch(1);
    int received = 0;
    for (auto limit = 3ms; received == 0; limit *= 2) {  // again, if it was due before the first select looked
      auto begin = clock_type::now();
      auto deadline = rn::after(limit);
      for (bool over = false; !over;) {
        (void)ch.try_send(1);
        co_await rn::select(rn::on(ch.recv(), [&] { ++received; }), rn::on(deadline, [&] { over = true; }));
      }
      EXPECT_GE(clock_type::now() - begin, limit);
      auto r = co_await rn::select(deadline, rn::after(1ms));  // it has ticked, and never will again
      EXPECT_EQ(r.index(), 1u);
    }
  });
}

TEST(after, leaves_the_wheel_however_the_wait_for_it_ends) {
  test::checked_runtime rt(2);
  rt.run([&]() -> rn::task<> {
    auto& timers = rt.get().core().timers;
    {
      auto named = rn::after(1h);
      auto r = co_await rn::as_result(rn::with_timeout(1ms, rn::select(named, rn::after(1h))));
      EXPECT_TRUE(r.error());
    }
    EXPECT_TRUE(timers.empty());
    auto alone = co_await rn::as_result(rn::with_timeout(1ms, rn::after(1h)));
    EXPECT_TRUE(alone.error());
    EXPECT_TRUE(timers.empty());
  });
}

TEST(after, is_refused_outside_of_a_runtime) { EXPECT_THROW((void)rn::after(1s), rn::misuse_error); }

}  // namespace
