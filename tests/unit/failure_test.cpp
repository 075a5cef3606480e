// SPDX-License-Identifier: BSL-1.0
// failure, by which a task ends with an error and without a throw.
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/async.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/failure.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>

#include "support/conserves_frames.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;

class failure : public runnel_test::conserves_frames {};

// Notes when it dies, and whether something was being thrown then.
struct witness {
  std::vector<std::string>& log;
  std::string name;
  ~witness() { log.push_back(name + (std::uncaught_exceptions() == 0 ? "" : ", thrown")); }
};

// What the error says that work throws; empty if it throws none of this type.
template <class Error, class Work> rn::task<std::string> message_of(Work work) {
  try {
    (void)co_await std::move(work);
  } catch (const Error& e) {
    co_return e.what();
  }
  co_return "";
}

template <class T> rn::task<T> fails() {
  co_yield rn::failure(std::runtime_error("no route"));
  throw std::logic_error("not reached");
}

rn::task<> sleeper() { co_await rn::sleep(1h); }

TEST_F(failure, whoever_awaits_the_task_catches_it_as_if_it_had_been_thrown) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    std::string nothing = co_await message_of<std::runtime_error>(fails<void>());
    EXPECT_EQ(nothing, "no route");
    std::string value = co_await message_of<std::runtime_error>(fails<std::unique_ptr<int>>());
    EXPECT_EQ(value, "no route");
    std::string reference = co_await message_of<std::runtime_error>(fails<int&>());
    EXPECT_EQ(reference, "no route");
  };
  rt.run(app);
}

TEST_F(failure, the_locals_die_in_order_before_the_awaiter_goes_on_and_nothing_is_being_thrown) {
  rn::runtime rt(rn::threads(1));
  std::vector<std::string> log;
  auto inner = [&log]() -> rn::task<int> {
    witness first{log, "first"}, second{log, "second"};
    co_await rn::yield();
    try {
      co_yield rn::failure(std::runtime_error("over"));
    } catch (...) {
      log.push_back("caught inside");
    }
    log.push_back("went on");
    co_return 1;
  };
  auto app = [&]() -> rn::task<> {
    witness outside{log, "outside"};
    std::string what = co_await message_of<std::runtime_error>(inner());
    log.push_back(what);
  };
  rt.run(app);
  EXPECT_EQ(log, (std::vector<std::string>{"second", "first", "over", "outside"}));
}

TEST_F(failure, an_exception_pointer_keeps_its_object) {
  rn::runtime rt(rn::threads(1));
  auto error = std::make_exception_ptr(std::runtime_error("kept"));
  auto pass_on = [&]() -> rn::task<> { co_yield rn::failure(error); };
  auto app = [&]() -> rn::task<> {
    auto r = co_await rn::as_result(pass_on());
    EXPECT_EQ(r.error(), error);
  };
  rt.run(app);
}

TEST_F(failure, a_null_exception_pointer_is_misuse) {
  EXPECT_THROW((void)rn::failure{std::exception_ptr()}, rn::misuse_error);
}

TEST_F(failure, it_reaches_groups_and_handles_and_ends_a_fork_join) {
  rn::runtime rt(rn::threads(2));
  auto app = []() -> rn::task<> {
    rn::errgroup g;
    co_await g.go(fails<void>);
    std::string of_group = co_await message_of<std::runtime_error>(g.wait());
    EXPECT_EQ(of_group, "no route");

    auto t = rn::async(fails<int>);
    auto outcome = co_await rn::as_result(t.await());
    EXPECT_TRUE(outcome.error());

    std::string of_all = co_await message_of<std::runtime_error>(rn::all(fails<int>(), sleeper()));
    EXPECT_EQ(of_all, "no route");
  };
  rt.run(app);
}

TEST_F(failure, a_hundred_thousand_in_a_row_use_neither_stack_nor_memory) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    for (int i = 0; i < 100'000; ++i) (void)co_await rn::as_result(fails<std::string>());
  };
  rt.run(app);
}

}  // namespace
