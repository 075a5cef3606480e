// SPDX-License-Identifier: BSL-1.0
// Many tasks that start tasks, are awaited, timed out, cancelled, killed, dropped and handed on at once: each result is
// taken once, and when a goroutine has ended its tasks have.
#include <runnel.hpp>
#include <runnel/async.hpp>

#include "support/counted.hpp"
#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::counted;
using stress::dice;

class async_stress : public stress::stress_test {};

struct tally {
  std::atomic<int> alive{0}, made{0}, taken{0}, canceled{0}, failed{0};
};
struct alive_here {
  std::atomic<int>& n;
  explicit alive_here(std::atomic<int>& counter) : n(counter) { ++n; }
  ~alive_here() { --n; }
};

rn::task<counted> node(tally& t, dice d, int depth);

void take(tally& t, rn::result<counted> r) {
  if (r.canceled()) {
    ++t.canceled;
  } else if (r.error()) {
    ++t.failed;
  } else {
    ++t.taken;
    EXPECT_EQ(std::move(r).value().value(), 3);
  }
}
rn::task<> own(tally& t, rn::join_handle<counted> h, dice d) {
  if (d.one_in(3)) co_return;  // dropped
  if (d.one_in(3)) h.cancel();
  take(t, co_await rn::as_result(std::move(h)));
}
rn::task<> use(tally& t, rn::join_handle<counted>& h, dice& d) {
  switch (d.below(6)) {
    case 0:
      h.cancel();
      break;
    case 1:
      take(t, co_await h.shutdown(d.microseconds(50)));
      break;
    case 2:
      take(t, co_await h.shutdown(rn::kill));
      break;
    case 3:
      for (int i = 0; i < 3; ++i)
        if (auto r = co_await h.await_for(d.microseconds(60))) {
          take(t, std::move(*r));
          break;
        }
      break;
    default:
      take(t, co_await rn::as_result(h.await()));
  }
}
rn::task<counted> node(tally& t, dice d, int depth) {
  alive_here here(t.alive);
  std::vector<rn::join_handle<counted>> children;
  if (depth > 0)
    for (unsigned n = d.below(3); n > 0; --n) children.push_back(rn::async(node, std::ref(t), d.split(), depth - 1));
  for (unsigned n = d.below(3); n > 0; --n) co_await rn::yield();
  for (auto& h : children) {
    if (d.one_in(8)) {
      (void)rn::async(own, std::ref(t), std::move(h), d.split());  // whose own handle is dropped at once
    } else if (d.one_in(4)) {
      rn::task<> work = use(t, h, d);
      (void)co_await rn::as_result(rn::with_timeout(d.microseconds(80), std::move(work)));
    } else {
      co_await use(t, h, d);
    }
  }
  if (d.one_in(10)) co_await rn::shield(rn::sleep(d.microseconds(100)));
  if (d.one_in(20)) throw std::runtime_error("a node failed");
  ++t.made;
  co_return counted(3);
}
rn::task<> in_a_group(tally& t, dice& d) {
  std::optional<rn::join_handle<counted>> escaped;
  int before = t.alive;
  co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
    escaped.emplace(rn::async(node, std::ref(t), d.split(), 2));
    (void)g.go([](tally& of, dice e) -> rn::task<> {
      auto h = rn::async(node, std::ref(of), e.split(), 1);
      co_await use(of, h, e);
    }, std::ref(t), d.split());
    co_await rn::yield();
  });
  EXPECT_EQ(t.alive, before);
  EXPECT_TRUE(escaped->done());
}
rn::task<> app(tally& t, dice d) {
  for (unsigned n = d.between(1, 4); n > 0; --n) {
    auto root = rn::async(node, std::ref(t), d.split(), 4);
    if (d.one_in(3))
      co_await own(t, std::move(root), d.split());
    else
      co_await use(t, root, d);
    auto both = [](tally& of, dice e) -> rn::task<> {
      auto h = rn::async(node, std::ref(of), e.split(), 2);
      co_await use(of, h, e);
    };
    (void)co_await rn::all(both(t, d.split()), both(t, d.split()));
  }
}
rn::task<> whole(tally& t, dice d) {
  rn::task<> work = app(t, d.split());
  (void)co_await rn::as_result(std::move(work));
}
rn::task<> groups(tally& t, dice d) { co_await in_a_group(t, d); }

TEST_F(async_stress, tasks_are_joined_and_their_results_taken_once) {
  run_rounds([](unsigned threads, dice d) {
    tally t;
    {
      rn::runtime_options options;
      options.on_unobserved_error([](const rn::goroutine_error&) {});
      rn::runtime rt{rn::threads(threads), std::move(options)};
      unsigned roots = d.between(1, 6);
      for (unsigned n = 0; n < roots; ++n) rt.go(whole, std::ref(t), d.split());
      if (d.one_in(3)) rt.cancel();
      stress::wait_until([&] { return rt.live() == 0; }, "the roots");
      EXPECT_EQ(t.alive, 0) << "a goroutine has ended before its tasks";
      rt.shut_down();
    }
    {
      rn::runtime_options options;
      options.on_unobserved_error([](const rn::goroutine_error&) {});
      rn::runtime rt{rn::threads(threads), std::move(options)};
      try {
        rt.run(groups, std::ref(t), d.split());
      } catch (const rn::canceled&) {
      } catch (const std::runtime_error&) {
      }
      EXPECT_EQ(t.alive, 0);
      rt.shut_down();
    }
    EXPECT_LE(t.taken, t.made);
    EXPECT_EQ(counted::alive(), 0);
  });
}

}  // namespace
