// SPDX-License-Identifier: BSL-1.0
// Contexts derived, dropped, cancelled, and waited for from everywhere.
#include <runnel.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using stress::dice;

class contexts_stress : public stress::stress_test {};

struct answer {
  using type = int;
};

// Handles that everybody takes from and leaves at.
class pool_of_contexts {
 public:
  pool_of_contexts(std::size_t n, const rn::context& root) : x_root(root), x_slots(n, root) {}

  const rn::context& root() const noexcept { return x_root; }

  rn::context pick(dice& d) {
    std::lock_guard hold(x_mutex);
    return x_slots[d.below(static_cast<unsigned>(x_slots.size()))];
  }
  void put(dice& d, rn::context c) {
    std::lock_guard hold(x_mutex);
    std::swap(x_slots[d.below(static_cast<unsigned>(x_slots.size()))], c);
  }  // the one that was there is dropped after the lock: it may end a whole chain

 private:
  const rn::context x_root;
  std::mutex x_mutex;
  std::vector<rn::context> x_slots;
};

struct findings {
  std::atomic<int> not_done{0};  // done by the rules, but not
  std::atomic<int> without_cause{0};
  std::atomic<int> wrong_value{0};
  std::atomic<int> after_started{0}, after_stopped{0}, after_ran{0};
};

void look_at(const rn::context& c, findings& f) {
  if (const int* v = c.value<answer>(); v && *v != 42) ++f.wrong_value;
  if (!c.is_done()) return;
  if (!c.err() || !c.cause()) ++f.without_cause;
}

// Derives from somebody else's context, and lives with the result for a while. Where there is no runtime, no deadline.
void derive(pool_of_contexts& pool, findings& f, dice& d, bool in_runtime) {
  rn::context parent = pool.pick(d);
  bool was_done = parent.is_done();
  std::optional<std::pair<rn::context, rn::cancel_function>> made;
  switch (d.below(4)) {
    case 0:
      pool.put(d, parent.with_value<answer>(42));
      break;
    case 1:
      pool.put(d, pool.root());
      break;  // chains end
    case 2:
      if (in_runtime) {
        made.emplace(parent.with_timeout(d.microseconds(300)));
        break;
      }
      [[fallthrough]];
    default:
      made.emplace(parent.with_cancel());
  }
  look_at(parent, f);
  if (!made) return;
  auto& [child, cancel] = *made;
  if (was_done && !child.is_done()) ++f.not_done;
  pool.put(d, child);
  stress::dawdle(d);
  if (d.one_in(2)) {
    cancel(d.one_in(2) ? std::make_exception_ptr(std::runtime_error("enough")) : nullptr);
    if (!child.is_done()) ++f.not_done;
  }
  look_at(child, f);
}

// Until `last` is done, at the latest.
rn::task<> wander(pool_of_contexts& pool, findings& f, rn::context last, dice d) {
  for (unsigned n = d.between(1, 40); n > 0; --n) {
    switch (d.below(5)) {
      case 0: {
        rn::context c = pool.pick(d);
        auto wait = [](rn::context& what) -> rn::task<> { co_await what.done(); };
        auto outcome = co_await rn::as_result(rn::with_timeout(d.microseconds(200), wait(c)));
        if (outcome.ok() && !c.is_done()) ++f.not_done;
        break;
      }
      case 1: {
        rn::context c = pool.pick(d);
        ++f.after_started;
        auto handle = c.after_func([&f]() -> rn::task<> {
          ++f.after_ran;
          co_return;
        });
        if (d.one_in(2)) co_await rn::yield();
        if (handle.stop()) ++f.after_stopped;
        break;
      }
      case 2: {
        auto body = [&]() -> rn::task<> {
          pool.put(d, rn::this_context());  // dropped by whoever comes next, maybe when the scope is long gone
          if (d.one_in(2)) co_await rn::yield();
        };
        co_await rn::shield(body());
        break;
      }
      case 3: {
        rn::context c = pool.pick(d);
        auto sleep = [](std::chrono::microseconds us) -> rn::task<> { co_await rn::sleep(us); };
        (void)co_await rn::as_result(rn::with_context(c, sleep(d.microseconds(100))));
        break;
      }
      default:
        derive(pool, f, d, true);
    }
    if (d.one_in(3)) co_await rn::yield();
    if (last.is_done()) co_return;
  }
}

// CTX-C01 to CTX-C07: derive, drop, cancel, wait, all at once.
TEST_F(contexts_stress, contexts_are_derived_and_dropped_while_their_parents_are_cancelled) {
  run_rounds([](unsigned threads, dice d) {
    findings f;
    {
      rn::runtime rt{rn::threads(threads)};
      auto [root, cancel_all] = rn::context::background().with_cancel();
      auto pool = std::make_unique<pool_of_contexts>(d.between(1, 12), root);
      auto [last, finish] = rn::context::background().with_cancel();
      for (unsigned i = d.between(1, 8); i > 0; --i) rt.go(wander, std::ref(*pool), std::ref(f), last, d.split());
      std::vector<std::thread> outside;
      for (unsigned i = d.below(3); i > 0; --i)
        outside.emplace_back([&, mine = d.split()]() mutable {
          for (unsigned n = mine.below(200); n > 0; --n) derive(*pool, f, mine, false);
        });
      for (auto& t : outside) t.join();
      if (d.one_in(2)) finish();
      if (d.one_in(3)) rt.cancel();
      stress::wait_until([&] { return rt.live() == 0; }, "wanderers");
      pool.reset();
      cancel_all();  // also what nobody has a handle of any more: the after_funcs that are left run
      stress::wait_until([&] { return rt.live() == 0; }, "after_funcs");
      rt.shut_down();
    }
    EXPECT_EQ(f.not_done, 0);
    EXPECT_EQ(f.without_cause, 0);
    EXPECT_EQ(f.wrong_value, 0);
    EXPECT_EQ(f.after_ran + f.after_stopped, f.after_started);
  });
}

// CTX-04, CTX-05: of many calls one counts, and each finds the context done when it returns.
TEST_F(contexts_stress, one_cancel_function_is_called_by_many_threads) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    std::atomic<int> heard{0}, ran{0};
    std::optional<std::pair<rn::context, rn::cancel_function>> kept;
    bool with_deadline = d.one_in(2);
    rt.run([&]() -> rn::task<> {
      auto base = rn::context::background();
      kept.emplace(with_deadline
                       ? base.with_timeout(d.one_in(2) ? d.microseconds(200) : std::chrono::microseconds(3'600'000'000))
                       : base.with_cancel());
      (void)kept->first.after_func([&ran]() -> rn::task<> {
        ++ran;
        co_return;
      });
      co_return;
    });
    auto& [ctx, cancel_it] = *kept;
    auto& cancel = cancel_it;
    auto wait = [](rn::context c, std::atomic<int>& n) -> rn::task<> {
      co_await c.done();
      ++n;
    };
    int waiting = static_cast<int>(d.below(20));
    for (int i = 0; i < waiting; ++i) rt.go(wait, ctx, std::ref(heard));
    std::atomic<int> undone{0};
    std::vector<std::exception_ptr> causes(3);
    std::vector<std::thread> outside;
    for (unsigned i = 0; i < 3; ++i)
      outside.emplace_back([&, c = ctx, i, mine = d.split()]() mutable {
        stress::dawdle(mine);
        cancel(std::make_exception_ptr(static_cast<int>(i)));
        if (!c.is_done()) ++undone;
        causes[i] = c.cause();
      });
    for (auto& t : outside) t.join();
    stress::wait_until([&] { return rt.live() == 0 && ran == 1; }, "those who wait for done(), and the after_func");
    EXPECT_EQ(undone, 0);
    EXPECT_TRUE(causes[0] && causes[0] == causes[1] && causes[1] == causes[2]);
    EXPECT_EQ(heard, waiting);
    EXPECT_EQ(ran, 1);
    kept.reset();
  });
}

}  // namespace
