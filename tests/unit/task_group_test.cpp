// SPDX-License-Identifier: BSL-1.0
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using test::checked_runtime;
using test::error_of_awaiting;
using test::on_1_2_and_4_threads;
using test::park_for_ever;
using test::until;

// A server with a group as a member: started by one goroutine, joined by another.
class server {
 public:
  rn::task<> start(std::atomic<int>& alive) {
    for (int i = 0; i < 5; ++i) co_await x_connections.go(park_for_ever, std::ref(alive));
  }
  rn::task<> close() {
    x_connections.cancel();
    co_await x_connections.wait();
  }
  rn::task_group& connections() { return x_connections; }

 private:
  rn::task_group x_connections;
};

TEST(task_group, it_is_used_by_other_goroutines_than_the_one_that_made_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto s = std::make_unique<server>();
    rn::errgroup g;
    g.go([&]() -> rn::task<> { co_await s->start(alive); });
    co_await g.wait();
    co_await until([&] { return alive == 5; });
    rn::errgroup closing;
    closing.go([&]() -> rn::task<> { co_await s->close(); });
    co_await closing.wait();
    EXPECT_EQ(alive, 0);
    s.reset();
  });
}

TEST(task_group, it_outlives_the_goroutine_that_made_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::unique_ptr<rn::task_group> group;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      group = std::make_unique<rn::task_group>();
      co_await group->go(park_for_ever, std::ref(alive));
    });
    co_await g.wait();
    co_await until([&] { return alive == 1; });
    group->cancel();
    co_await group->wait();
    EXPECT_EQ(alive, 0);
    group.reset();
  });
}

TEST(task_group, a_goroutine_that_is_unwound_does_not_join_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0, maker = 0;
    std::unique_ptr<rn::task_group> group;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      group = std::make_unique<rn::task_group>();
      co_await group->go(park_for_ever, std::ref(alive));
      co_await park_for_ever(maker);
    });
    co_await until([&] { return alive == 1 && maker == 1; });
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(maker, 0);
    EXPECT_EQ(alive, 1);
    group->cancel();
    co_await group->wait();
    group.reset();
  });
}

TEST(task_group, its_context_is_a_child_of_the_given_one) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto [ctx, cancel] = rn::context::background().with_cancel();
    rn::task_group group(ctx, rn::limit(2));
    for (int i = 0; i < 5; ++i) group.go(park_for_ever, std::ref(alive));
    co_await until([&] { return alive == 2; });
    cancel();
    co_await group.wait();
    EXPECT_EQ(alive, 0);
  });
}

TEST(task_group, the_first_error_cancels_and_is_sticky) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    rn::task_group group;
    for (int i = 0; i < 5; ++i) group.go(park_for_ever, std::ref(alive));
    co_await until([&] { return alive == 5; });
    group.go([] { test::fail("x"); });
    for (int i = 0; i < 2; ++i) EXPECT_EQ(co_await error_of_awaiting([&] { return group.wait(); }), "x");
    EXPECT_EQ(alive, 0);
  });
}

TEST(task_group, an_error_that_nobody_waited_for_goes_to_the_hook) {
  checked_runtime rt(2);
  rt.run([]() -> rn::task<> {
    rn::task_group group;
    group.go([] { test::fail("x"); });
    co_await until([&] { return group.live() == 0; });
  });
  EXPECT_EQ(rt.unobserved(), std::vector<std::string>{"x"});
}

TEST(task_group, other_threads_start_children_and_cancel) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    std::atomic<bool> finished = false;
    rn::task_group group(rn::limit(8));
    std::jthread other([&] {
      for (int i = 0; i < 20; ++i) group.go(park_for_ever, std::ref(alive));
      while (alive < 8) std::this_thread::yield();
      group.cancel();
      finished = true;
    });
    co_await until([&] { return finished.load(); });
    co_await group.wait();
    EXPECT_EQ(alive, 0);
  });
}

rn::task<> wait_for(rn::task_group& group, std::atomic<int>& waiters) {
  ++waiters;
  co_await group.wait();
}

// A group with a child that lives until `gate` closes, for which `first` has somebody wait.
rn::task<> let_one_wait(rn::task_group& group, rn::errgroup& first, rn::chan<int> gate) {
  group.go([](rn::chan<int> until) -> rn::task<> { co_await until.recv(); }, gate);
  std::atomic<int> waiters = 0;
  first.go(wait_for, std::ref(group), std::ref(waiters));
  co_await until([&] { return waiters == 1; });
  co_await test::let_others_run();
}

TEST(task_group, two_that_wait_at_once_are_misuse_and_the_first_goes_on) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    rn::task_group group;
    rn::errgroup first;
    co_await let_one_wait(group, first, gate);
    EXPECT_EQ(co_await error_of_awaiting([&] { return group.wait(); }),
              "runnel: an errgroup is waited for by the goroutine that made it, a task_group by one at a time: tell the "
              "others by an event or a channel");
    EXPECT_EQ(group.live(), 1u);
    gate.close();
    co_await first.wait();
    co_await group.wait();
  });
}

TEST(task_group, one_who_waited_and_was_unwound_leaves_it_to_the_next) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    rn::task_group group;
    rn::errgroup first;
    co_await let_one_wait(group, first, gate);
    first.cancel();
    gate.close();
    co_await first.wait();
    co_await group.wait();
    EXPECT_EQ(group.live(), 0u);
  });
}

// Who has been refused comes again at once, while the other is about to open the group again.
rn::task<> wait_again_and_again(rn::task_group& group, int times) {
  for (; times > 0; co_await rn::yield()) {
    try {
      co_await group.wait();
      --times;
    } catch (const rn::misuse_error&) {
    }
  }
}
TEST(task_group, those_who_wait_one_after_the_other_do_not_disturb_each_other) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::task_group group;
    rn::errgroup waiters;
    for (int i = 0; i < 4; ++i) waiters.go(wait_again_and_again, std::ref(group), 20'000);
    co_await waiters.wait();
    EXPECT_EQ(group.live(), 0u);
  });
}

TEST(task_group, it_may_outlive_its_runtime) {
  std::optional<rn::task_group> with_an_error, waited_for;
  std::vector<std::string> heard;
  bool started = true;
  {
    auto options = rn::runtime_options().on_unobserved_error(
        [&](const rn::goroutine_error& e) { heard.push_back(rn::detail::what_of(e.error)); });
    rn::runtime rt(rn::threads(1), options);
    rt.run([&]() -> rn::task<> {
      with_an_error.emplace();
      waited_for.emplace();
      with_an_error->go([]() -> rn::task<> {
        test::fail("nobody waits");
        co_return;
      });
      co_await until([&] { return with_an_error->live() == 0; });
      co_await waited_for->wait();
    });
  }
  started = waited_for->try_go([]() -> rn::task<> { co_return; });
  with_an_error.reset();
  waited_for.reset();
  EXPECT_FALSE(started);
  EXPECT_EQ(heard, std::vector<std::string>{"nobody waits"});
}

TEST(task_group, outside_of_a_runtime_it_is_misuse) { EXPECT_THROW(rn::task_group g, rn::misuse_error); }

TEST(task_group_death, dying_with_live_children_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto leave = [] {
    rn::runtime rt(rn::threads(1));
    rt.run([]() -> rn::task<> {
      std::atomic<int> alive = 0;
      rn::task_group group;
      group.go(park_for_ever, std::ref(alive));
      co_await until([&] { return alive == 1; });
    });
  };
  EXPECT_DEATH(leave(), "left with 1 live children(.|\n)*started at .*task_group_test.cpp:[0-9]+");
}

}  // namespace
