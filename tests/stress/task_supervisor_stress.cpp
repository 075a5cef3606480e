// SPDX-License-Identifier: BSL-1.0
// Tasks under a supervisor on threads: they end, are awaited, shut down, dropped and refused while it is stopped, killed
// and started again. RUNNEL_STRESS_SECONDS says how long (2), RUNNEL_STRESS_SEED replays one.
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/otp/task_supervisor.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/counted.hpp>
#include <support/stress.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using runnel_test::counted;
using stress::dice;

class task_supervisor_stress : public stress::stress_test {};

struct place {
  std::atomic<int> alive{0}, most{0};
  std::atomic<long> values{0}, errors{0}, cancelled{0}, refused{0}, lost{0};
};
struct lives {
  place& p;
  explicit lives(place& in) : p(in) {
    int n = ++p.alive;
    int before = p.most.load();
    while (before < n && !p.most.compare_exchange_weak(before, n)) {
    }
  }
  lives(const lives&) = delete;
  lives& operator=(const lives&) = delete;
  ~lives() { --p.alive; }
};

rn::task<> rest(std::chrono::microseconds d) { co_await rn::sleep(d); }

rn::task<counted> work(place& p, dice d) {
  lives l(p);
  switch (d.below(5)) {
    case 0:
      break;
    case 1:
      co_await rn::yield();
      break;
    case 2:
      co_await rest(d.microseconds(200));
      break;
    case 3: {
      auto slow = [t = d.microseconds(100)] { return rest(t); };
      co_await rn::finally(rest(d.microseconds(300)), slow);
      break;
    }
    default:
      co_await rn::sleep(1h);
  }
  if (d.one_in(4)) throw std::runtime_error("at random");
  co_return counted(3);
}

void take(place& p, rn::result<counted> r) {
  if (r.ok())
    ++p.values;
  else
    ++(r.error() ? p.errors : p.cancelled);
}
rn::task<> use(place& p, rn::join_handle<counted> t, dice& d) {
  switch (d.below(5)) {
    case 0:
      co_return;  // dropped
    case 1:
      take(p, co_await t.shutdown(d.microseconds(50)));
      co_return;
    case 2:
      if (auto r = co_await t.await_for(d.microseconds(100))) take(p, std::move(*r));
      co_return;
    case 3:
      if (auto r = t.ignore()) take(p, std::move(*r));
      co_return;
    default:
      take(p, co_await t.shutdown(rn::kill));
  }
}
rn::task<> ask(place& p, rn::task_supervisor_ref tasks, dice d) {
  for (;;) {
    try {
      switch (d.below(5)) {
        case 0:
          co_await use(p, co_await tasks.async(work, std::ref(p), d.split()), d);
          break;
        case 1:
          co_await use(p, co_await tasks.async_nolink(rn::shutdown(100us), work, std::ref(p), d.split()), d);
          break;
        case 2:
          (void)co_await tasks.start_child(rn::shutdown(rn::kill), work, std::ref(p), d.split());
          break;
        case 3: {
          auto f = [&p](dice& each) { return work(p, each); };
          std::vector<dice> inputs;
          for (unsigned n = d.below(8); n > 0; --n) inputs.push_back(d.split());
          auto read = [&](auto items) -> rn::task<> {
            for (unsigned n = d.below(9); n > 0; --n)
              if (auto item = co_await items.next(); !item) break;
          };
          if (d.one_in(2))
            co_await read(tasks.async_stream(std::move(inputs), rn::max_concurrency(3), rn::timeout(300us), f));
          else
            co_await read(tasks.async_stream_nolink(std::move(inputs), rn::max_concurrency(3), f));
          break;
        }
        default: {
          auto request = tasks.async(work, std::ref(p), d.split());
          if (d.one_in(2)) (void)co_await rn::as_result(rn::with_timeout(d.microseconds(20), rest(1s)));
          // never awaited
        }
      }
    } catch (const rn::task_refused&) {
      ++p.refused;
    } catch (const rn::deadline_exceeded&) {
    }
    if (d.one_in(4)) co_await rest(d.microseconds(50));
    co_await rn::yield();
  }
}

TEST_F(task_supervisor_stress, tasks_end_one_way_or_another_and_none_is_left) {
  run_rounds([](unsigned threads, dice d) {
    const int at_most = static_cast<int>(d.between(1, 12));
    place p;
    {
      rn::runtime rt(rn::threads(static_cast<long>(threads)),
                     rn::runtime_options().on_unobserved_error([](const rn::goroutine_error&) {}));
      rn::task_supervisor tasks(rn::max_children(at_most), rn::on_error([&](const rn::goroutine_error&) { ++p.lost; }));
      rn::task_supervisor_ref ref = tasks.ref();
      std::atomic<bool> over = false;
      std::thread plain([&, mine = d.split()]() mutable {
        while (!over) {
          try {
            auto request = ref.async(work, std::ref(p), mine.split());
            if (!mine.one_in(3)) (void)request.get();
          } catch (const rn::task_refused&) {
          }
          (void)ref.count();
          stress::dawdle(mine);
        }
      });
      try {
        rt.run([&]() -> rn::task<> {
          auto body = [&](rn::errgroup& g) -> rn::task<> {
            for (int i = 0; i < 3; ++i) co_await g.go(ask, std::ref(p), ref, d.split());
            for (unsigned n = d.between(1, 4); n > 0; --n) {
              auto run = [&]() -> rn::task<> { co_await tasks.run(); };
              auto once = rn::async(run);
              co_await rest(d.microseconds(1500));
              if (d.one_in(3))
                (void)co_await once.shutdown(rn::kill);
              else
                (void)co_await once.shutdown();
              EXPECT_FALSE(tasks.is_running());
              EXPECT_EQ(p.alive, 0);
            }
            g.cancel();
          };
          co_await rn::with_errgroup(body);
        });
      } catch (...) {
        ADD_FAILURE() << "it threw";
      }
      over = true;
      // What it asks now waits for nobody: it has ended.
      plain.join();
      EXPECT_EQ(p.alive, 0);
      EXPECT_LE(p.most, at_most);
    }
    EXPECT_EQ(counted::alive(), 0);
  });
}

}  // namespace
