// SPDX-License-Identifier: BSL-1.0
// The table of errors of DESIGN section 4, row by row.
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::until;
using test_support::wait_until;

rn::task<> for_ever() { co_await rn::chan<int>().recv(); }
rn::task<int> fails(const char* what) {
  co_await rn::yield();
  throw std::runtime_error(what);
}
std::string message_of(const std::exception_ptr& e) { return rn::detail::what_of(e); }

// ---- a task or child fails ----

TEST(errors_task, its_exception_is_rethrown_where_it_is_awaited) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    std::string caught;
    try {
      (void)co_await fails("inner");
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    EXPECT_EQ(caught, "inner");
  });
}

TEST(errors_child, the_first_error_wins_and_the_others_can_be_read) {
  rn::runtime rt(rn::threads(1), rn::runtime_options().on_unobserved_error([](const rn::goroutine_error&) {}));
  rt.run([]() -> rn::task<> {
    rn::errgroup g;
    auto child = [](const char* what) -> rn::task<> {
      co_await rn::shield(rn::yield());
      throw std::runtime_error(what);
    };
    (void)g.go(child, "first");
    (void)g.go(child, "second");
    std::string caught;
    try {
      co_await g.wait();
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    EXPECT_EQ(caught, "first");
    EXPECT_EQ(g.other_errors().size(), 1u);
    EXPECT_EQ(message_of(g.other_errors().at(0).error), "second");
  });
}

TEST(errors_child, the_bodys_error_goes_before_the_childrens) {
  std::vector<std::string> unobserved;
  rn::runtime rt(rn::threads(1), rn::runtime_options().on_unobserved_error(
                                     [&](const rn::goroutine_error& e) { unobserved.push_back(message_of(e.error)); }));
  rt.run([]() -> rn::task<> {
    auto body = [](rn::errgroup& g) -> rn::task<> {
      auto child = []() -> rn::task<> {
        throw std::runtime_error("child");
        co_return;
      };
      co_await g.go(child);
      co_await rn::shield(rn::yield());
      co_await rn::shield(rn::yield());
      throw std::runtime_error("body");
    };
    std::string caught;
    try {
      co_await rn::with_errgroup(body);
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    EXPECT_EQ(caught, "body");
  });
  EXPECT_EQ(unobserved, (std::vector<std::string>{"child"}));
}

TEST(errors_child, joined_by_unwinding_its_error_goes_to_the_hook) {
  std::vector<std::string> unobserved;
  rn::runtime rt(rn::threads(1), rn::runtime_options().on_unobserved_error(
                                     [&](const rn::goroutine_error& e) { unobserved.push_back(message_of(e.error)); }));
  rt.run([]() -> rn::task<> {
    auto work = []() -> rn::task<> {
      rn::errgroup g;
      auto child = []() -> rn::task<> {
        auto cleanup = []() -> rn::task<> {
          throw std::runtime_error("while cleaning up");
          co_return;
        };
        co_await rn::finally(for_ever(), cleanup);
      };
      co_await g.go(child);
      co_await rn::sleep(1h);
    };
    auto r = co_await rn::as_result(rn::with_timeout(2ms, work()));
    EXPECT_THROW(r.value(), rn::deadline_exceeded);
  });
  EXPECT_EQ(unobserved, (std::vector<std::string>{"while cleaning up"}));
}

// ---- an error leaves a bare go: printed with its place, the root context cancelled, run fails ----

TEST(errors_go, it_is_printed_and_everything_is_cancelled) {
  rn::runtime rt(rn::threads(1));
  ::testing::internal::CaptureStderr();
  std::atomic<bool> cancelled{false};
  struct guard {
    std::atomic<bool>& flag;
    ~guard() { flag = rn::unwinding(); }
  };
  rt.run([&] {
    rn::go([&]() -> rn::task<> {
      guard g{cancelled};
      co_await for_ever();
    });
    rn::go([]() -> rn::task<> { (void)co_await fails("nobody waits"); });
  });
  EXPECT_TRUE(wait_until([&] { return cancelled.load(); }));
  EXPECT_TRUE(rt.core().failed());
  rt.shut_down();
  auto printed = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(printed.find("nobody waits"), std::string::npos) << printed;
  EXPECT_NE(printed.find("errors_test.cpp"), std::string::npos) << printed;
}

// ---- cancellation ----

TEST(errors_cancellation, it_unwinds_or_is_a_value) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    bool caught = false;
    auto work = [&]() -> rn::task<int> {
      try {
        co_await rn::yield();
      } catch (...) {
        caught = true;
      }
      co_return 1;
    };
    auto r = co_await rn::as_result(rn::with_context(ctx, work()));
    EXPECT_TRUE(r.canceled());
    EXPECT_FALSE(caught);
  });
}

// ---- a deadline or timeout ----

TEST(errors_deadline, it_is_an_exception_or_a_value) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    EXPECT_THROW(co_await rn::with_timeout(1ms, for_ever()), rn::deadline_exceeded);
    EXPECT_THROW(co_await rn::with_timeout(1ms, for_ever()), rn::timeout_error);
    auto r = co_await rn::as_result(rn::with_timeout(1ms, for_ever()));
    EXPECT_FALSE(r.canceled());
    EXPECT_THROW(std::rethrow_exception(r.error()), rn::timeout_error);
  });
}

// ---- closed channel ----

TEST(errors_closed_channel, receiving_is_empty_and_sending_is_thrown) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(2);
    co_await ch.send(1);
    ch.close();
    EXPECT_EQ(co_await ch.recv(), 1);
    EXPECT_EQ(co_await ch.recv(), std::nullopt);
    EXPECT_THROW(co_await ch.send(2), rn::closed_channel);
    EXPECT_THROW(ch.close(), rn::closed_channel);
    EXPECT_THROW(rn::chan<int>().close(), rn::misuse_error);
    rn::chan<int> failed(1);
    co_await failed.send(1);
    failed.close(std::make_exception_ptr(std::runtime_error("source")));
    EXPECT_EQ(co_await failed.recv(), 1);
    EXPECT_THROW((void)co_await failed.recv(), std::runtime_error);
  });
}

// ---- try forms ----

TEST(errors_try_forms, they_never_wait_and_never_throw) {
  rn::chan<int> ch(1);
  EXPECT_TRUE(ch.try_send(1));
  EXPECT_FALSE(ch.try_send(2));
  EXPECT_TRUE(ch.try_recv());
  EXPECT_TRUE(ch.try_recv().would_block());
  ch.close(std::make_exception_ptr(std::runtime_error("x")));
  EXPECT_NO_THROW(EXPECT_FALSE(ch.try_send(1)));
  EXPECT_NO_THROW(EXPECT_TRUE(ch.try_recv().closed()));
}

// ---- misuse at run time: thrown at the call, with a sentence ----

TEST(errors_what, it_is_what_any_exception_says) {
  EXPECT_EQ(rn::what(std::make_exception_ptr(std::runtime_error("no route"))), "no route");
  EXPECT_EQ(rn::what(std::make_exception_ptr(rn::closed_channel())), rn::closed_channel().what());
  EXPECT_EQ(rn::what(std::make_exception_ptr(5)), "an exception that is not a std::exception");
  EXPECT_EQ(rn::what(nullptr), "no error");
}

TEST(errors_misuse, it_is_thrown_at_the_call_with_a_sentence) {
  auto sentence = [](auto call) -> std::string {
    try {
      call();
    } catch (const rn::misuse_error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_NE(sentence([] { rn::threads n(0); }).find("1 to 1024"), std::string::npos);
  EXPECT_NE(sentence([] { rn::limit n(0); }).find("at least 1"), std::string::npos);
  EXPECT_NE(sentence([] { rn::chan<int> c(-1); }).find("negative"), std::string::npos);
  EXPECT_NE(sentence([] { rn::go([] {}); }).find("outside of a runtime"), std::string::npos);
  EXPECT_NE(sentence([] { rn::errgroup g; }).find("task_group"), std::string::npos);
  EXPECT_NE(sentence([] { rn::task_group g; }).find("runtime"), std::string::npos);
  EXPECT_NE(sentence([] { (void)rn::this_context(); }).find("outside of a goroutine"), std::string::npos);
}

// Where throwing is impossible: a message, and the end.
TEST(errors_misuse_death, a_group_left_with_live_children_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        rn::runtime rt(rn::threads(1));
        rt.run([]() -> rn::task<> {
          rn::errgroup g;
          co_await g.go(for_ever);
        });
      },
      "runnel: ");
}

// ---- out of memory: thrown by what creates, with no effect ----

TEST(errors_memory, what_creates_throws_and_has_no_effect) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    auto blocks = rn::detail::frame_pool_stats().live_blocks;
    static bool refuse = false;
    rn::detail::frame_alloc_hook = [](std::size_t) noexcept { return refuse; };
    bool ran = false;
    refuse = true;
    EXPECT_THROW(rn::go([&] { ran = true; }), std::bad_alloc);
    EXPECT_THROW((void)rn::context::background().with_cancel(), std::bad_alloc);
    refuse = false;
    rn::detail::frame_alloc_hook = nullptr;
    for (int i = 0; i < 5; ++i) co_await rn::yield();
    EXPECT_FALSE(ran);
    EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, blocks);
  });
}

// Waking, closing, cancelling and firing timers never allocate.
TEST(errors_memory, waking_closing_cancelling_and_timers_do_not_allocate) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    rn::chan<int> ch(0), other(0);
    auto [ctx, cancel] = rn::context::background().with_cancel();
    std::atomic<int> woken{0}, ended{0};
    struct at_end {
      std::atomic<int>& n;
      ~at_end() { ++n; }
    };
    rn::go([&]() -> rn::task<> {
      at_end e{ended};
      if (auto v = co_await ch.recv()) ++woken;
    });
    rn::go([&]() -> rn::task<> {
      at_end e{ended};
      if (auto v = co_await other.recv(); !v) ++woken;
    });
    rn::go([&]() -> rn::task<> {
      at_end e{ended};
      co_await rn::sleep(2ms);
      ++woken;
    });
    rn::go([&]() -> rn::task<> {
      at_end e{ended};
      co_await rn::with_context(ctx, for_ever());
      ++woken;
    });
    auto waiting = until([&] { return ended == 4; });
    for (int i = 0; i < 10; ++i) co_await rn::yield();
    static std::atomic<int> asked{0};
    asked = 0;
    rn::detail::frame_alloc_hook = [](std::size_t) noexcept {
      ++asked;
      return false;
    };
    EXPECT_FALSE(ch.try_send(0) == false);
    other.close();
    cancel();
    co_await std::move(waiting);
    rn::detail::frame_alloc_hook = nullptr;
    EXPECT_EQ(woken, 3);
    EXPECT_EQ(asked, 0);
  });
}

}  // namespace
