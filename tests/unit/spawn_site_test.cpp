// SPDX-License-Identifier: BSL-1.0
// Where a goroutine was started is recorded by every call that starts one, with up to eight arguments.
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sync/wait_group.hpp>

#include "support/until.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using test_support::wait_until;

struct fails {
  template <class... A>
  rn::task<> operator()(A...) const {
    throw std::runtime_error("on purpose");
    co_return;
  }
};

// The lines on which goroutines were started that have failed.
class lines {
 public:
  rn::runtime_options options() {
    auto note = [this](const rn::goroutine_error& e) {
      std::lock_guard hold(x_mutex);
      bool here = std::string(e.where.file_name()).find("spawn_site_test") != std::string::npos;
      x_lines.push_back(here ? static_cast<int>(e.where.line()) : 0);
    };
    return rn::runtime_options().on_error(note).on_unobserved_error(note);
  }
  std::vector<int> wait_for(std::size_t n) {
    EXPECT_TRUE(wait_until([&] {
      std::lock_guard hold(x_mutex);
      return x_lines.size() >= n;
    }));
    std::lock_guard hold(x_mutex);
    std::sort(x_lines.begin(), x_lines.end());
    return std::exchange(x_lines, {});
  }

 private:
  std::mutex x_mutex;
  std::vector<int> x_lines;
};

// Notes the line of a call, and makes it.
#define CALL(...) (expected.push_back(__LINE__), __VA_ARGS__)

TEST(spawn_site, go_records_it) {
  lines seen;
  std::vector<int> expected;
  rn::runtime rt(rn::threads(1), seen.options());
  fails f;
  std::string s = "s";
  rt.run([&] {
    CALL(rn::go(f));
    CALL(rn::go(f, 1));
    CALL(rn::go(f, 1, s));
    CALL(rn::go(f, 1, s, 3));
    CALL(rn::go(f, 1, s, 3, 4));
    CALL(rn::go(f, 1, s, 3, 4, 5));
    CALL(rn::go(f, 1, s, 3, 4, 5, 6));
    CALL(rn::go(f, 1, s, 3, 4, 5, 6, 7));
    CALL(rn::go(f, 1, s, 3, 4, 5, 6, 7, 8));
  });
  EXPECT_EQ(seen.wait_for(9), expected);
}

TEST(spawn_site, go_under_a_context_records_it) {
  lines seen;
  std::vector<int> expected;
  rn::runtime rt(rn::threads(1), seen.options());
  fails f;
  rt.run([&] {
    const rn::context ctx = rn::this_context();
    rn::context named = ctx;
    CALL(rn::go(ctx, f));
    CALL(rn::go(named, f, 1));
    CALL(rn::go(rn::context::background(), f, 1, 2));
    CALL(rn::go(ctx, f, 1, 2, 3));
    CALL(rn::go(ctx, f, 1, 2, 3, 4));
    CALL(rn::go(ctx, f, 1, 2, 3, 4, 5));
    CALL(rn::go(ctx, f, 1, 2, 3, 4, 5, 6));
    CALL(rn::go(ctx, f, 1, 2, 3, 4, 5, 6, 7));
    CALL(rn::go(ctx, f, 1, 2, 3, 4, 5, 6, 7, 8));
  });
  EXPECT_EQ(seen.wait_for(9), expected);
}

TEST(spawn_site, runtimes_schedulers_and_wait_groups_record_it) {
  lines seen;
  std::vector<int> expected;
  rn::runtime rt(rn::threads(1), seen.options());
  fails f;
  CALL(rt.go(f, 1, 2, 3, 4, 5, 6, 7, 8));
  CALL(rt.get_scheduler().go(f, 1, 2, 3, 4));
  rn::wait_group wg;
  rt.run([&]() -> rn::task<> {
    CALL(wg.go(f));
    co_await wg.wait();
  });
  EXPECT_EQ(seen.wait_for(3), expected);
}

// Errors of a group whose body has failed are nobody's but the hook's.
TEST(spawn_site, groups_record_it) {
  lines seen;
  std::vector<int> expected;
  rn::runtime rt(rn::threads(1), seen.options());
  fails f;
  auto app = [&]() -> rn::task<> {
    co_await rn::with_errgroup(rn::collect_all, [&](rn::errgroup& g) -> rn::task<> {
      CALL((void)g.go(f));
      CALL((void)g.go(f, 1, 2, 3));
      CALL((void)g.go(f, 1, 2, 3, 4));
      CALL((void)g.go(f, 1, 2, 3, 4, 5, 6, 7, 8));
      CALL((void)g.try_go(f));
      CALL((void)g.try_go(f, 1, 2, 3, 4));
      CALL((void)g.try_go(f, 1, 2, 3, 4, 5, 6, 7, 8));
      throw std::runtime_error("the body");
      co_return;
    });
  };
  EXPECT_THROW(rt.run(app), std::runtime_error);
  EXPECT_EQ(seen.wait_for(7), expected);
}

// More arguments are taken, and the place is then empty.
TEST(spawn_site, far_beyond_eight_arguments_there_is_none) {
  lines seen;
  rn::runtime rt(rn::threads(1), seen.options());
  rt.run([] {
    rn::go(fails(), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
    rn::go(rn::context::background(), fails(), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
  });
  EXPECT_EQ(seen.wait_for(2), (std::vector<int>{0, 0}));
}

// A place that is an argument is an argument.
TEST(spawn_site, a_source_location_may_be_passed_to_the_goroutine) {
  rn::runtime rt(rn::threads(1));
  unsigned line = 0;
  rt.run([&]() -> rn::task<> {
    rn::wait_group wg;
    wg.add(1);
    auto here = std::source_location::current();
    rn::go(
        [&](std::source_location where) {
          line = static_cast<unsigned>(where.line());
          wg.done();
        },
        here);
    co_await wg.wait();
    EXPECT_EQ(line, here.line());
  });
}

}  // namespace
