// SPDX-License-Identifier: BSL-1.0
// Trees of supervisors on threads: children that fail, hang and end at random, requests from goroutines and from plain
// threads, and an end that comes by a timeout. RUNNEL_STRESS_SECONDS says how long (2), RUNNEL_STRESS_SEED replays one.
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/stress.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using stress::dice;

class supervision_stress : public stress::stress_test {};

struct place {
  std::atomic<int> alive{0};
  std::atomic<std::uint64_t> seeds{1};
  std::atomic<bool> twice{false};
  dice roll() { return dice(seeds.fetch_add(0x9E3779B97F4A7C15ull)); }
};
struct lives {
  place& p;
  std::atomic<int>& mine;
  lives(place& in, std::atomic<int>& m) : p(in), mine(m) {
    ++p.alive;
    if (mine.fetch_add(1) != 0) p.twice = true;
  }
  lives(const lives&) = delete;
  lives& operator=(const lives&) = delete;
  ~lives() {
    --mine;
    --p.alive;
  }
};

rn::task<> rest(std::chrono::microseconds d) { co_await rn::sleep(d); }

rn::task<> child(place& p, std::atomic<int>& mine) {
  lives l(p, mine);
  dice d = p.roll();
  if (d.one_in(6)) throw std::runtime_error("in its start");
  if (d.one_in(4)) co_await rest(d.microseconds(300));
  if (!d.one_in(8)) co_await rn::ready();
  switch (d.below(4)) {
    case 0:
      co_await rn::yield();
      break;
    case 1:
      co_await rest(d.microseconds(500));
      break;
    case 2: {
      auto slow = [t = d.microseconds(300)] { return rest(t); };
      co_await rn::finally(rest(d.microseconds(2000)), slow);
      break;
    }
    default:
      co_await rn::sleep(1h);
  }
  if (d.one_in(2)) throw std::runtime_error("at random");
}

rn::supervision_strategy strategy_of(dice& d) {
  unsigned n = d.below(3);
  if (n == 0) return rn::one_for_one;
  return n == 1 ? rn::one_for_all : rn::rest_for_one;
}

void request(rn::supervisor_ref& ref, place& p, std::atomic<int>& mine, dice& d, auto wait) {
  std::string id(1, static_cast<char>('a' + d.below(6)));
  switch (d.below(5)) {
    case 0:
      return wait(ref.terminate_child(id));
    case 1:
      return wait(ref.restart_child(id));
    case 2:
      return wait(ref.delete_child(id));
    case 3:
      return wait(ref.start_child("x", rn::temporary, child, std::ref(p), std::ref(mine)));
    default:
      (void)ref.which_children(), (void)ref.count_children();
  }
}

TEST_F(supervision_stress, trees_fail_are_changed_and_end) {
  run_rounds([](unsigned threads, dice d) {
    place p;
    p.seeds = d.next();
    std::vector<std::atomic<int>> mine(8);
    rn::runtime rt(rn::threads(static_cast<long>(threads)),
                   rn::runtime_options().on_unobserved_error([](const rn::goroutine_error&) {}));
    rn::supervisor inner(strategy_of(d), rn::max_restarts(static_cast<std::ptrdiff_t>(d.below(50)), 10ms));
    for (unsigned i = 0; i < 6; ++i) {
      std::string id(1, static_cast<char>('a' + i));
      auto& m = mine[i];
      if (d.one_in(3))
        inner.child(id, rn::wait_ready(400us), rn::backoff(10us, 200us), rn::shutdown(200us), child, std::ref(p),
                    std::ref(m));
      else if (d.one_in(2))
        inner.child(id, rn::transient, rn::shutdown(d.microseconds(300)), child, std::ref(p), std::ref(m));
      else
        inner.child(id, rn::shutdown(rn::kill), child, std::ref(p), std::ref(m));
    }
    rn::supervisor_ref ref = inner.ref();
    std::optional<rn::supervisor> outer(std::in_place, rn::one_for_one, rn::max_restarts::unlimited());
    outer->child("tree", rn::backoff(20us, 200us), rn::shutdown(d.one_in(2) ? 500us : 100'000us), std::move(inner));
    std::atomic<bool> over = false;
    std::thread plain([&, mine_dice = d.split()]() mutable {
      while (!over) {
        request(ref, p, mine[6], mine_dice, [&](rn::child_request r) {
          if (mine_dice.one_in(3)) return;  // not waited for
          try {
            (void)r.get();
          } catch (const rn::child_start_error&) {
          }
        });
        stress::dawdle(mine_dice);
      }
    });
    try {
      rt.run([&]() -> rn::task<> {
        auto ask = [](rn::supervisor_ref to, place& in, std::atomic<int>& m, dice mine_dice) -> rn::task<> {
          for (;;) {
            std::vector<rn::child_request> made;
            request(to, in, m, mine_dice, [&](rn::child_request r) { made.push_back(std::move(r)); });
            if (!made.empty()) (void)co_await rn::as_result(std::move(made.front()));
            co_await rest(mine_dice.microseconds(100));
          }
        };
        auto body = [&](rn::errgroup& g) -> rn::task<> {
          co_await g.go(ask, ref, std::ref(p), std::ref(mine[6]), d.split());
          auto run = [&]() -> rn::task<> {
            for (;;) {  // its first start may fail
              auto outcome = co_await rn::as_result(outer->run());
              if (!outcome.error()) break;
            }
          };
          co_await g.go(run);
          co_await rest(d.microseconds(5000));
          g.cancel();
        };
        co_await rn::with_errgroup(body);
        EXPECT_EQ(p.alive, 0);
      });
    } catch (...) {
      ADD_FAILURE() << "it threw";
    }
    over = true;
    outer.reset();  // what was asked of a tree that never began is refused now
    plain.join();
    EXPECT_FALSE(p.twice) << "a child ran twice at once";
  });
}

}  // namespace
