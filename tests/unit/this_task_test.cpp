// SPDX-License-Identifier: BSL-1.0
#include <runnel/this_task.hpp>

#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>

#include "support/channel_waiters.hpp"
#include "support/conserves_frames.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <exception>
#include <functional>
#include <string>
#include <utility>

namespace {

namespace rn = runnel;
using runnel_test::eventually;

class this_task : public runnel_test::conserves_frames {};

rn::task<> write(std::string& log, char c, int times, rn::chan<void> done) {
  for (int i = 0; i < times; ++i) {
    log += c;
    co_await rn::yield();
  }
  co_await done.send();
}

// GO-11, GO-C06
TEST_F(this_task, yield_puts_the_goroutine_behind_all_others) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    std::string log;
    rn::chan<void> done(3);
    for (char c : {'a', 'b', 'c'}) rn::go(write, std::ref(log), c, 4, done);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(co_await done.recv());
    EXPECT_EQ(log, "abcabcabcabc");
  });
}

rn::task<> yield_for_ever(bool& unwound) {
  struct at_end {
    bool& unwound;
    int exceptions = std::uncaught_exceptions();
    ~at_end() { unwound = rn::unwinding() && std::uncaught_exceptions() == exceptions + 1; }
  } end{unwound};
  for (;;) co_await rn::yield();
}

TEST_F(this_task, yield_is_where_a_cancelled_goroutine_unwinds) {
  runnel_test::on_1_2_and_4_threads([]() -> rn::task<> {
    bool unwound = false;
    rn::errgroup g;
    g.go(yield_for_ever, std::ref(unwound));
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    EXPECT_FALSE(unwound);
    g.cancel();
    co_await g.wait();
    EXPECT_TRUE(unwound);
  });
}

struct sees_unwinding {
  bool& saw;
  ~sees_unwinding() { saw = rn::unwinding(); }
};

TEST_F(this_task, unwinding_is_true_only_in_destructors_of_a_cancelled_goroutine) {
  EXPECT_FALSE(rn::unwinding());  // outside of any
  runnel_test::on_1_2_and_4_threads([]() -> rn::task<> {
    bool saw = true;
    { sees_unwinding by_return{saw}; }
    EXPECT_FALSE(saw);
    saw = true;
    try {
      sees_unwinding by_exception{saw};
      throw 1;
    } catch (int) {
    }
    EXPECT_FALSE(saw);
    rn::chan<int> nobody(0);
    auto waits = [](bool& s, rn::chan<int> ch) -> rn::task<> {
      sees_unwinding by_cancellation{s};
      co_await ch.recv();
    };
    rn::errgroup g;
    g.go(waits, std::ref(saw), nobody);
    co_await eventually([&] { return runnel_test::waiting_receivers(nobody) == 1; });
    g.cancel();
    co_await g.wait();
    EXPECT_TRUE(saw);
    EXPECT_FALSE(rn::unwinding());
  });
}

}  // namespace
