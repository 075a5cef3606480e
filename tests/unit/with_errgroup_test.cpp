// SPDX-License-Identifier: BSL-1.0
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/own_context.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::counted;
using test::error_of;
using test::on_1_2_and_4_threads;
using test::park_for_ever;
using test::until;

TEST(with_errgroup, it_joins_and_children_may_refer_to_the_locals_around_the_call) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::vector<int> items(100, 1);
    co_await rn::with_errgroup(rn::limit(20), [&](rn::errgroup& g) -> rn::task<> {
      for (auto& item : items)
        co_await g.go(
            [](int& n) -> rn::task<> {
              co_await rn::yield();
              ++n;
            },
            std::ref(item));
    });
    EXPECT_EQ(items, std::vector<int>(100, 2));
  });
}

TEST(with_errgroup, it_returns_what_the_body_returns_when_the_children_have_ended) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> ended = 0;
    auto p = co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<std::unique_ptr<int>> {
      for (int i = 0; i < 10; ++i)
        g.go([&]() -> rn::task<> {
          co_await test::let_others_run();
          ++ended;
        });
      co_return std::make_unique<int>(42);
    });
    EXPECT_EQ(*p, 42);
    EXPECT_EQ(ended, 10);
    int n = 0;
    int& r = co_await rn::with_errgroup([&](rn::errgroup&) -> rn::task<int&> { co_return n; });
    EXPECT_EQ(&r, &n);
  });
}

TEST(with_errgroup, a_childs_error_cancels_the_body_and_the_others_and_is_rethrown) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto work = [&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        for (int i = 0; i < 5; ++i) g.go(park_for_ever, std::ref(alive));
        co_await until([&] { return alive == 5; });
        g.go([] { test::fail("child"); });
        co_await park_for_ever(alive);
      });
    };
    EXPECT_EQ(co_await error_of(work()), "child");
    EXPECT_EQ(alive, 0);
  });
}

TEST(with_errgroup, the_bodys_error_cancels_the_children_and_is_rethrown) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto work = [&]() -> rn::task<> {
      co_await rn::with_errgroup(rn::limit(3), [&](rn::errgroup& g) -> rn::task<> {
        for (int i = 0; i < 5; ++i) g.go(park_for_ever, std::ref(alive));
        co_await until([&] { return alive == 3; });
        test::fail("body");
      });
    };
    EXPECT_EQ(co_await error_of(work()), "body");
    EXPECT_EQ(alive, 0);
  });
}

TEST(with_errgroup, the_bodys_error_goes_before_the_childrens_which_go_to_the_hook) {
  for (int n : {1, 2, 4}) {
    checked_runtime rt(n);
    rt.run([]() -> rn::task<> {
      std::atomic<int> ready = 0;
      auto work = [&]() -> rn::task<> {
        co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
          g.go(test::fail_when_cancelled, std::ref(ready), std::string("child 1"));
          g.go(test::fail_when_cancelled, std::ref(ready), std::string("child 2"));
          co_await until([&] { return ready == 2; });
          test::fail("body");
        });
      };
      EXPECT_EQ(co_await error_of(work()), "body");
    });
    EXPECT_EQ(rt.unobserved(), (std::vector<std::string>{"child 1", "child 2"}));
  }
}

TEST(with_errgroup, the_bodys_error_goes_first_even_if_a_child_failed_before) {
  for (int n : {1, 2, 4}) {
    checked_runtime rt(n);
    rt.run([]() -> rn::task<> {
      auto work = []() -> rn::task<> {
        co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
          std::atomic<int> alive = 0;
          g.go([] { test::fail("child"); });
          co_await test::fail_when_cancelled(alive, "body");
        });
      };
      EXPECT_EQ(co_await error_of(work()), "body");
    });
    EXPECT_EQ(rt.unobserved(), (std::vector<std::string>{"child"}));
  }
}

TEST(with_errgroup, errors_after_the_first_go_to_the_hook) {
  for (int n : {1, 2, 4}) {
    checked_runtime rt(n);
    rt.run([]() -> rn::task<> {
      std::atomic<int> ready = 0;
      auto work = [&]() -> rn::task<> {
        co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
          g.go(test::fail_when_cancelled, std::ref(ready), std::string("second or third"));
          g.go(test::fail_when_cancelled, std::ref(ready), std::string("second or third"));
          co_await until([&] { return ready == 2; });
          g.go([] { test::fail("first"); });
        });
      };
      EXPECT_EQ(co_await error_of(work()), "first");
    });
    EXPECT_EQ(rt.unobserved(), (std::vector<std::string>{"second or third", "second or third"}));
  }
}

TEST(with_errgroup, collect_all_loses_no_error) {
  for (int n : {1, 2, 4}) {
    checked_runtime rt(n);
    rt.run([]() -> rn::task<> {
      std::atomic<int> ended = 0;
      auto work = [&]() -> rn::task<> {
        co_await rn::with_errgroup(rn::collect_all, rn::limit(1), [&](rn::errgroup& g) -> rn::task<> {
          for (int i = 0; i < 3; ++i) g.go([] { test::fail("x"); });
          for (int i = 0; i < 3; ++i) g.go([&] { ++ended; });
          co_return;
        });
      };
      EXPECT_EQ(co_await error_of(work()), "x");
      EXPECT_EQ(ended, 3);
    });
    EXPECT_EQ(rt.unobserved(), (std::vector<std::string>{"x", "x"}));
  }
}

TEST(with_errgroup, cancel_ends_body_and_children_without_an_error) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      g.go(park_for_ever, std::ref(alive));
      co_await until([&] { return alive == 1; });
      g.cancel();
      co_await park_for_ever(alive);
    });
    EXPECT_EQ(alive, 0);
    bool threw = false;
    try {
      (void)co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<int> {
        g.cancel();
        co_await park_for_ever(alive);
        co_return 1;
      });
    } catch (const rn::canceled&) {
      threw = true;
    }
    EXPECT_TRUE(threw) << "there is no value to return";
  });
}

TEST(with_errgroup, inside_a_timeout_it_is_joined_before_the_timeout_is_thrown) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    bool timed_out = false;
    try {
      auto group = rn::with_errgroup(rn::limit(4), [&](rn::errgroup& g) -> rn::task<> {
        for (int i = 0; i < 100; ++i) co_await g.go(park_for_ever, std::ref(alive));
      });
      co_await rn::with_timeout(5ms, std::move(group));
    } catch (const rn::deadline_exceeded&) {
      timed_out = true;
      EXPECT_EQ(alive, 0);
    }
    EXPECT_TRUE(timed_out);
  });
}

TEST(with_errgroup, a_timeout_inside_a_child_is_that_childs_error) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto work = [&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        g.go(park_for_ever, std::ref(alive));
        g.go([&]() -> rn::task<> { co_await rn::with_timeout(2ms, park_for_ever(alive)); });
        co_return;
      });
    };
    EXPECT_EQ(co_await error_of(work()), rn::deadline_exceeded().what());
    EXPECT_EQ(alive, 0);
  });
}

TEST(with_errgroup, an_error_in_an_inner_group_ends_the_outer_one_through_the_body) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> outer_alive = 0, inner_alive = 0;
    auto work = [&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup& outer) -> rn::task<> {
        outer.go(park_for_ever, std::ref(outer_alive));
        co_await rn::with_errgroup([&](rn::errgroup& inner) -> rn::task<> {
          inner.go(park_for_ever, std::ref(inner_alive));
          co_await until([&] { return inner_alive == 1 && outer_alive == 1; });
          inner.go([] { test::fail("inner"); });
          co_await park_for_ever(inner_alive);
        });
      });
    };
    EXPECT_EQ(co_await error_of(work()), "inner");
    EXPECT_EQ(outer_alive, 0);
    EXPECT_EQ(inner_alive, 0);
  });
}

TEST(with_errgroup, an_inner_groups_error_that_is_caught_leaves_the_outer_one_alone) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<bool> outer_child_ended = false;
    co_await rn::with_errgroup([&](rn::errgroup& outer) -> rn::task<> {
      outer.go([&]() -> rn::task<> {
        co_await gate.recv();
        outer_child_ended = true;
      });
      auto inner = rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        g.go([] { test::fail("inner"); });
        co_return;
      });
      EXPECT_EQ(co_await error_of(std::move(inner)), "inner");
      EXPECT_FALSE(rn::this_context().is_done());
      gate.close();
    });
    EXPECT_TRUE(outer_child_ended);
  });
}

TEST(with_errgroup, an_error_in_the_outer_group_cancels_the_inner_one_and_its_children) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto work = [&]() -> rn::task<> {
      co_await rn::with_errgroup([&](rn::errgroup& outer) -> rn::task<> {
        outer.go([&]() -> rn::task<> {
          co_await until([&] { return alive == 3; });
          test::fail("outer");
        });
        co_await rn::with_errgroup([&](rn::errgroup& inner) -> rn::task<> {
          inner.go(park_for_ever, std::ref(alive));
          inner.go(park_for_ever, std::ref(alive));
          co_await park_for_ever(alive);
        });
        ADD_FAILURE() << "the outer body went on";
      });
    };
    EXPECT_EQ(co_await error_of(work()), "outer");
    EXPECT_EQ(alive, 0);
  });
}

TEST(with_errgroup, a_cancelled_caller_is_unwound_when_the_children_have_been_joined) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0, outside = 0;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      counted around(outside);
      co_await rn::with_errgroup([&](rn::errgroup& inner) -> rn::task<> {
        for (int i = 0; i < 10; ++i)
          inner.go([&]() -> rn::task<> {
            counted child(alive);
            rn::chan<int> silent(0);
            struct check {
              std::atomic<int>& n;
              explicit check(std::atomic<int>& at) : n(at) {}
              ~check() { EXPECT_EQ(n, 1) << "the frame around died before the child"; }
            } at_end(outside);
            co_await silent.recv();
          });
        co_return;
      });
    });
    co_await until([&] { return alive == 10; });
    g.cancel();
    co_await g.wait();
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(outside, 0);
  });
}

TEST(with_errgroup, children_in_a_shield_delay_it) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> gate(0);
    std::atomic<int> shielded = 0;
    std::atomic<bool> failing = false, returned = false;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      auto outcome = co_await rn::as_result(rn::with_errgroup([&](rn::errgroup& inner) -> rn::task<> {
        inner.go([&]() -> rn::task<> {
          auto work = [&]() -> rn::task<> {
            counted c(shielded);
            co_await gate.recv();
          };
          co_await rn::shield(work());
        });
        co_await until([&] { return shielded == 1; });
        failing = true;
        test::fail("body");
      }));
      EXPECT_NE(outcome.error(), nullptr);
      returned = true;
    });
    co_await until([&] { return failing.load(); });
    co_await test::let_others_run();
    EXPECT_FALSE(returned);
    gate.close();
    co_await g.wait();
    EXPECT_TRUE(returned);
  });
}

TEST(with_errgroup, a_body_that_throws_before_it_is_a_coroutine_still_joins) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> alive = 0;
    auto work = [&]() -> rn::task<> {
      auto body = [&](rn::errgroup& g) -> rn::task<> {  // no coroutine: it makes a task, and fails before it has one
        g.go(park_for_ever, std::ref(alive));
        test::fail("body");
      };
      co_await rn::with_errgroup(std::ref(body));
    };
    EXPECT_EQ(co_await error_of(work()), "body");
    EXPECT_EQ(alive, 0);
  });
}

rn::task<> under_its_own(rn::context) { co_await rn::sleep(std::chrono::microseconds(100)); }

// By its context and not by the group's: the group knows of no reason to stop there.
TEST(with_errgroup, a_body_that_a_context_of_its_own_unwinds_is_unwound_for_who_awaits) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    auto body = [&](rn::errgroup&) -> rn::task<> { co_await under_its_own(ctx); };
    auto grouped = [&]() -> rn::task<> { co_await rn::with_errgroup(body); };
    const auto done = co_await rn::as_result(grouped());
    EXPECT_TRUE(done.canceled());
  };
  rt.run(app);
}

}  // namespace
