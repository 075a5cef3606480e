// SPDX-License-Identifier: BSL-1.0
// async_trace: the way of an exception, in a program that is compiled for it.
#define RUNNEL_ASYNC_TRACES 1
#include <runnel/async_trace.hpp>

#include <runnel/all.hpp>
#include <runnel/async.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/run.hpp>
#include <runnel/runtime.hpp>
#include <runnel/this_task.hpp>

#include <gtest/gtest.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace rn = runnel;

// The numbers of the lines of this file that a trace names, in its order, each behind the first word of what it says.
std::vector<std::string> lines_of(const std::string& trace) {
  std::vector<std::string> found;
  const std::string file = "async_trace_test.cpp:";
  for (std::size_t at = 0; at < trace.size();) {
    std::size_t end = trace.find('\n', at);
    std::string line = trace.substr(at, end - at);
    std::size_t place = line.find(file);
    EXPECT_NE(place, std::string::npos) << line;
    std::string number = line.substr(place + file.size());
    found.push_back(line.substr(2, line.find(' ', 2) - 2) + " " + number.substr(0, number.find(',')));
    at = end + 1;
  }
  return found;
}
std::string at(int line) { return "at " + std::to_string(line); }
std::string through(int line) { return "through " + std::to_string(line); }
std::string out_of(int line) { return "out " + std::to_string(line); }
using lines = std::vector<std::string>;

constexpr int yields = __LINE__ + 2;
rn::task<> fails() {
  co_await rn::yield();
  throw std::runtime_error("broken");
}
constexpr int calls = __LINE__ + 2;
rn::task<int> middle() {
  co_await fails();
  co_return 1;
}
// What is told where it is caught.
template <class F> lines trace_of(F f) {
  lines found;
  rn::runtime rt(rn::threads(1));
  rt.run([&]() -> rn::task<> {
    try {
      co_await f();
    } catch (const std::runtime_error&) {
      found = lines_of(rn::async_trace());
    }
  });
  return found;
}

TEST(async_trace, names_each_await_from_where_it_was_thrown_outwards) {
  int line = 0;
  auto outer = [&]() -> rn::task<> {
    line = __LINE__ + 1;
    (void)co_await middle();
  };
  lines found = trace_of(outer);
  EXPECT_EQ(found, (lines{at(yields), through(calls), through(line)}));
}

TEST(async_trace, an_operation_that_throws_is_where_it_begins) {
  int line = 0;
  auto throws = [&]() -> rn::task<> {
    rn::chan<int> closed(0);
    closed.close(std::make_exception_ptr(std::runtime_error("closed")));
    line = __LINE__ + 1;
    (void)co_await closed.recv();
  };
  lines found = trace_of(throws);
  EXPECT_EQ(found, lines{at(line)});
}

TEST(async_trace, crosses_a_group_with_the_place_where_the_goroutine_was_started) {
  int started = 0, joined = 0;
  auto group = [&]() -> rn::task<> {
    auto body = [&](rn::errgroup& g) -> rn::task<> {
      started = __LINE__ + 1;
      g.go(fails);
      co_return;
    };
    joined = __LINE__ + 1;
    co_await rn::with_errgroup(body);
  };
  lines found = trace_of(group);
  EXPECT_EQ(found, (lines{at(yields), out_of(started), through(joined)}));
}

TEST(async_trace, crosses_a_task_of_async_and_its_await) {
  int started = 0, awaited = 0;
  auto with_async = [&]() -> rn::task<> {
    started = __LINE__ + 1;
    auto handle = rn::async(middle);
    awaited = __LINE__ + 1;
    (void)co_await handle.await();
  };
  lines found = trace_of(with_async);
  EXPECT_EQ(found, (lines{at(yields), through(calls), out_of(started), through(awaited)}));
}

TEST(async_trace, crosses_all) {
  int joined = 0;
  auto with_all = [&]() -> rn::task<> {
    joined = __LINE__ + 1;
    (void)co_await rn::all(middle(), middle());
  };
  lines found = trace_of(with_all);
  EXPECT_EQ(found, (lines{at(yields), through(calls), through(joined)}));
}

TEST(async_trace, what_left_no_coroutine_has_no_trace) {
  EXPECT_EQ(rn::async_trace(std::make_exception_ptr(std::runtime_error("alone"))), "");
  EXPECT_EQ(rn::async_trace(nullptr), "");
  EXPECT_EQ(rn::async_trace(), "");
}

TEST(async_trace, a_long_way_is_cut_and_says_so) {
  rn::runtime rt(rn::threads(1));
  std::string trace;
  rt.run([&]() -> rn::task<> {
    auto down = [](auto self, int n) -> rn::task<> {
      if (n == 0) throw std::runtime_error("deep");
      co_await self(self, n - 1);
    };
    try {
      co_await down(down, 100);
    } catch (...) {
      trace = rn::async_trace();
    }
  });
  EXPECT_NE(trace.find("\n  and 36 more\n"), std::string::npos) << trace;
}

TEST(async_trace, of_many_exceptions_the_last_are_known) {
  rn::runtime rt(rn::threads(1));
  std::vector<std::exception_ptr> errors;
  rt.run([&]() -> rn::task<> {
    for (int i = 0; i < 100; ++i) {
      try {
        (void)co_await middle();
      } catch (...) {
        errors.push_back(std::current_exception());
      }
    }
  });
  EXPECT_EQ(rn::async_trace(errors.front()), "");
  EXPECT_EQ(lines_of(rn::async_trace(errors.back())), (lines{at(yields), through(calls)}));
}

TEST(async_trace, several_threads_at_once) {
  rn::runtime rt(rn::threads(4));
  rt.run([]() -> rn::task<> {
    co_await rn::with_errgroup([](rn::errgroup& g) -> rn::task<> {
      for (int i = 0; i < 60; ++i)  // fewer than are known: however long one of them is held up
        g.go([]() -> rn::task<> {
          try {
            (void)co_await middle();
          } catch (...) {
            EXPECT_EQ(lines_of(rn::async_trace()), (lines{at(yields), through(calls)}));
          }
        });
      co_return;
    });
  });
}

TEST(async_trace, is_printed_with_an_error_that_nobody_joins) {
  testing::internal::CaptureStderr();
  {
    rn::runtime rt(rn::threads(1));
    (void)rt.run([&]() -> rn::task<> {
      rn::go(fails);
      co_await rn::yield();
    });
  }
  EXPECT_NE(testing::internal::GetCapturedStderr().find("async_trace_test.cpp:" + std::to_string(yields)),
            std::string::npos);
}

}  // namespace
