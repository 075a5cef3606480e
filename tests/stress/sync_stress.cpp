// SPDX-License-Identifier: BSL-1.0
// Random use of the synchronisation primitives, with cancellations, timeouts and destruction at the worst moments.
// Whoever loses a wake-up, a lock or a unit leaves somebody waiting, and the round does not end.
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/barrier.hpp>
#include <runnel/sync/condition.hpp>
#include <runnel/sync/event.hpp>
#include <runnel/sync/latch.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/sync/once.hpp>
#include <runnel/sync/semaphore.hpp>
#include <runnel/sync/shared_mutex.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>
#include <support/stress.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using stress::dawdle;
using stress::dice;

class sync_stress : public stress::stress_test {};

// Waits in one of the ways that there are: plainly, or with a short time limit. Empty: the time was up.
template <class T, class Operation> rn::task<std::optional<T>> within_a_while(dice d, Operation operation) {
  if (!d.one_in(3)) co_return std::optional<T>(co_await operation());
  auto outcome = co_await rn::as_result(rn::with_timeout(d.microseconds(200), operation()));
  if (!outcome.ok()) co_return std::nullopt;
  co_return std::optional<T>(std::move(outcome).value());
}

// Cancels the group after a random while, from a goroutine or from a plain thread.
template <class Work> rn::task<> cancel_in_the_middle(dice d, rn::errgroup& doomed, Work rest) {
  std::optional<std::jthread> outside;
  if (d.one_in(2)) {
    outside.emplace([d, &doomed]() mutable {
      for (unsigned n = d.below(20); n > 0; --n) std::this_thread::yield();
      dawdle(d);
      doomed.cancel();
    });
  } else {
    for (unsigned n = d.below(30); n > 0; --n) co_await rn::yield();
    doomed.cancel();
  }
  co_await doomed.wait();
  co_await rest();
}

// ---- Locks and permits: exclusion, and nothing is lost. ----

struct locks {
  rn::mutex m;
  rn::shared_mutex rw;
  rn::semaphore s{5};
  long in_mutex = 0, mutex_total = 0;  // plain: a data race where the exclusion fails
  long written = 0;
  std::atomic<long> readers{0}, units{0}, wrong{0};
};

// Counts who is inside, also where it is unwound there.
template <class Counter> struct inside {
  Counter& count;
  long n;
  inside(Counter& c, long by) : count(c), n(by) { count += n; }
  inside(const inside&) = delete;
  inside& operator=(const inside&) = delete;
  ~inside() { count -= n; }
};

rn::task<> use_mutex(locks& w, dice d) {
  auto guard = co_await within_a_while<rn::mutex::guard>(d.split(), [&] { return w.m.lock(); });
  if (!guard) co_return;
  {
    inside here(w.in_mutex, 1);
    if (w.in_mutex != 1) ++w.wrong;
    ++w.mutex_total;
    if (d.one_in(3)) co_await rn::yield();
    dawdle(d);
    if (w.in_mutex != 1) ++w.wrong;
  }
  if (d.one_in(4)) guard->unlock();
}
rn::task<> use_shared(locks& w, dice d) {
  if (d.one_in(3)) {
    auto guard = co_await within_a_while<rn::shared_mutex::guard>(d.split(), [&] { return w.rw.lock(); });
    if (!guard) co_return;
    ++w.written;
    if (w.readers != 0) ++w.wrong;
    dawdle(d);
    if (d.one_in(3)) co_await rn::yield();
    if (w.readers != 0) ++w.wrong;
  } else {
    auto guard = co_await within_a_while<rn::shared_mutex::shared_guard>(d.split(), [&] { return w.rw.lock_shared(); });
    if (!guard) co_return;
    inside here(w.readers, 1);
    long before = w.written;
    dawdle(d);
    if (d.one_in(3)) co_await rn::yield();
    if (w.written != before) ++w.wrong;
  }
}
rn::task<> use_permit(locks& w, dice d) {
  auto n = static_cast<std::ptrdiff_t>(d.between(0, 5));
  auto p = co_await within_a_while<rn::permit>(d.split(), [&] { return w.s.acquire(n); });
  if (!p) co_return;
  {
    inside here(w.units, n);
    if (w.units > 5) ++w.wrong;
    dawdle(d);
    if (d.one_in(3)) co_await rn::yield();
  }
  if (n > 1 && d.one_in(3)) p->release(1);
}
rn::task<> use_locks(locks& w, dice d, unsigned times) {
  for (unsigned i = 0; i < times; ++i) {
    switch (d.below(4)) {
      case 0:
        co_await use_mutex(w, d.split());
        break;
      case 1:
        co_await use_shared(w, d.split());
        break;
      case 2:
        co_await use_permit(w, d.split());
        break;
      default:
        if (auto guard = w.m.try_lock()) ++w.mutex_total;
        if (auto guard = w.rw.try_lock_shared()) (void)w.written;
        if (auto p = w.s.try_acquire(2)) dawdle(d);
        if (d.one_in(2)) co_await rn::yield();
    }
  }
}

rn::task<> round_of_locks(dice d) {
  auto w = std::make_unique<locks>();
  rn::errgroup doomed, others;
  for (unsigned n = d.between(1, 6); n > 0; --n) co_await doomed.go(use_locks, std::ref(*w), d.split(), 1000u);
  for (unsigned n = d.between(1, 6); n > 0; --n) co_await others.go(use_locks, std::ref(*w), d.split(), 30u);
  co_await cancel_in_the_middle(d.split(), doomed,
                                [&]() -> rn::task<> { co_await rn::with_timeout(60s, others.wait()); });
  EXPECT_EQ(w->wrong, 0);
  EXPECT_FALSE(w->m.is_locked());
  EXPECT_FALSE(w->rw.is_locked());
  EXPECT_EQ(w->rw.readers(), 0u);
  EXPECT_EQ(w->s.available(), 5);
  EXPECT_EQ(w->m.waiting() + w->rw.waiting() + w->s.waiting(), 0u);
}

TEST_F(sync_stress, locks_and_permits) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    rt.run(round_of_locks, d);
  });
}

// ---- A bounded queue by two conditions: what is produced is consumed, or still there. ----

struct box {
  rn::mutex m;
  rn::condition not_full, not_empty;
  std::deque<int> items;
  long produced = 0, consumed = 0;
};

rn::task<> produce(box& b, dice d, unsigned n) {
  for (unsigned i = 0; i < n; ++i) {
    auto guard = co_await b.m.lock();
    while (b.items.size() >= 2) co_await b.not_full.wait(guard);
    b.items.push_back(1);
    ++b.produced;
    if (d.one_in(2)) guard.unlock();
    b.not_empty.notify_one();
  }
}
rn::task<> consume(box& b, dice d, unsigned n) {
  for (unsigned i = 0; i < n; ++i) {
    auto guard = co_await b.m.lock();
    while (b.items.empty()) {
      if (!d.one_in(4)) {
        co_await b.not_empty.wait(guard);
        continue;
      }
      (void)co_await rn::as_result(rn::with_timeout(d.microseconds(100), b.not_empty.wait(guard)));
      if (!guard) guard = co_await b.m.lock();
    }
    b.items.pop_front();
    ++b.consumed;
    b.not_full.notify_one();
    if (d.one_in(3)) {
      guard.unlock();
      co_await rn::yield();
    }
  }
}
// One that produces and one that consumes are never cancelled; what they wait for is done by each other.
rn::task<> round_of_conditions(dice d) {
  auto b = std::make_unique<box>();
  rn::errgroup doomed, others;
  for (unsigned n = d.between(1, 4); n > 0; --n) {
    co_await doomed.go(produce, std::ref(*b), d.split(), 1000u);
    co_await doomed.go(consume, std::ref(*b), d.split(), 1000u);
  }
  co_await cancel_in_the_middle(d.split(), doomed, [&]() -> rn::task<> {
    co_await others.go(produce, std::ref(*b), d.split(), 60u);
    co_await others.go(produce, std::ref(*b), d.split(), 60u);
    co_await others.go(consume, std::ref(*b), d.split(), 120u);
    co_await rn::with_timeout(60s, others.wait());
  });
  EXPECT_EQ(b->produced - b->consumed, static_cast<long>(b->items.size()));
  EXPECT_FALSE(b->m.is_locked());
  EXPECT_EQ(b->not_empty.waiting() + b->not_full.waiting() + b->m.waiting(), 0u);
}

TEST_F(sync_stress, conditions) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    rt.run(round_of_conditions, d);
  });
}

// Notifications are conserved: as many waits end as there were notifications, whoever is cancelled beside.
struct bell {
  rn::mutex m;
  rn::condition c;
  int heard = 0;
};
rn::task<> listen(bell& b) {
  auto guard = co_await b.m.lock();
  co_await b.c.wait(guard);
  ++b.heard;
}
rn::task<> round_of_notifications(dice d) {
  auto b = std::make_unique<bell>();
  rn::errgroup doomed, others;
  const unsigned n = d.between(1, 6);
  for (unsigned i = 0; i < n; ++i) {
    co_await doomed.go(listen, std::ref(*b));
    co_await others.go(listen, std::ref(*b));
  }
  while (b->c.waiting() != 2 * n) co_await rn::yield();
  std::jthread cancel([d, &doomed]() mutable {
    dawdle(d);
    doomed.cancel();
  });
  for (unsigned i = 0; i < n; ++i) {
    b->c.notify_one();
    dawdle(d);
    if (d.one_in(3)) co_await rn::yield();
  }
  co_await doomed.wait();
  for (int heard = 0; heard < static_cast<int>(n);) {
    auto guard = co_await rn::with_timeout(60s, b->m.lock());
    heard = b->heard;
    guard.unlock();
    co_await rn::yield();
  }
  b->c.notify_all();
  co_await rn::with_timeout(60s, others.wait());
}

TEST_F(sync_stress, notifications) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    rt.run(round_of_notifications, d);
  });
}

// ---- Those who are let through destroy what they waited for. ----

template <class Primitive, class Release, class Wait>
rn::task<> destroy_when_through(dice d, std::unique_ptr<Primitive> p, Release release, Wait wait) {
  rn::errgroup releaser, doomed;
  Primitive* at = p.get();
  auto doomed_wait = [](Primitive* of, Wait how) -> rn::task<> { co_await how(*of); };
  auto release_later = [](Primitive* of, Release how, dice mine) -> rn::task<> {
    dawdle(mine);
    if (mine.one_in(2)) co_await rn::yield();
    how(*of);
  };
  for (unsigned n = d.below(3); n > 0; --n) co_await doomed.go(doomed_wait, at, wait);
  co_await releaser.go(release_later, at, release, d.split());
  if (d.one_in(2)) doomed.cancel();
  co_await rn::with_timeout(60s, wait(*at));
  co_await doomed.wait();
  p.reset();
  co_await releaser.wait();
}

rn::task<> wait_for_event(rn::event& e) { co_await e.wait(); }
rn::task<> wait_for_latch(rn::latch& l) { co_await l.wait(); }

rn::task<> round_of_ends(dice d) {
  for (int i = 0; i < 20; ++i) {
    co_await destroy_when_through(
        d.split(), std::make_unique<rn::event>(), [](rn::event& e) { e.set(); }, &wait_for_event);
    co_await destroy_when_through(
        d.split(), std::make_unique<rn::latch>(1), [](rn::latch& l) { l.count_down(); }, &wait_for_latch);
  }
}

TEST_F(sync_stress, events_and_latches_that_die_when_they_open) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    rt.run(round_of_ends, d);
  });
}

// The last owner of a lock destroys it, when the one before has barely unlocked.
struct shared_thing {
  rn::mutex m;
  rn::semaphore s{2};
  int uses = 0;
};
rn::task<> use_and_end(shared_thing* t, int users, dice d) {
  bool last;
  {
    auto guard = co_await t->m.lock();
    dawdle(d);
    last = ++t->uses == users;
  }
  if (last) delete t;  // all others have unlocked before, if only just
}
rn::task<> round_of_last_owners(dice d) {
  for (int i = 0; i < 20; ++i) {
    auto* t = new shared_thing;
    const int users = static_cast<int>(d.between(1, 8));
    rn::errgroup g;
    for (int n = 0; n < users; ++n) co_await g.go(use_and_end, t, users, d.split());
    co_await g.wait();
  }
}

TEST_F(sync_stress, a_mutex_dies_by_its_last_owner) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    rt.run(round_of_last_owners, d);
  });
}

// ---- Barriers: no phase ends with fewer than all; once: one run, whoever is cancelled. ----

struct phases {
  explicit phases(unsigned n) : b(static_cast<std::ptrdiff_t>(n)) {}
  rn::barrier b;
  std::atomic<int> arrived{0}, wrong{0};
};
rn::task<> take_part(phases& p, int n, int times, dice d) {
  for (int i = 0; i < times; ++i) {
    ++p.arrived;
    dawdle(d);
    (void)co_await p.b.arrive_and_wait();
    if (p.arrived < n * (i + 1)) ++p.wrong;
  }
}
rn::task<> round_of_barriers(dice d) {
  const auto n = d.between(1, 6);
  auto p = std::make_unique<phases>(n);
  rn::errgroup doomed, g;
  auto hang_about = [](rn::barrier& b, dice) -> rn::task<> { (void)co_await b.arrive_and_wait(); };
  auto half = n > 1 ? d.below(n - 1) : 0;  // fewer than all: the phase cannot end
  for (unsigned i = 0; i < half; ++i) co_await doomed.go(hang_about, std::ref(p->b), d.split());
  for (unsigned k = d.below(4); k > 0; --k) co_await rn::yield();
  doomed.cancel();
  co_await doomed.wait();
  for (unsigned i = 0; i < n; ++i) co_await g.go(take_part, std::ref(*p), static_cast<int>(n), 20, d.split());
  co_await rn::with_timeout(60s, g.wait());
  EXPECT_EQ(p->wrong, 0);
}

TEST_F(sync_stress, barriers) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    rt.run(round_of_barriers, d);
  });
}

rn::task<> round_of_once(dice d) {
  for (int i = 0; i < 10; ++i) {
    auto o = std::make_unique<rn::once>();
    std::atomic<int> runs = 0, wrong = 0;
    auto call = [&](dice mine) -> rn::task<> {
      auto f = [&]() -> rn::task<> {
        ++runs;
        for (unsigned n = mine.below(3); n > 0; --n) co_await rn::yield();
      };
      co_await o->call(f);
      if (runs != 1 || !o->is_done()) ++wrong;
    };
    rn::errgroup doomed, others;
    for (unsigned n = d.below(4); n > 0; --n) co_await doomed.go(std::ref(call), d.split());
    for (unsigned n = d.between(1, 4); n > 0; --n) co_await others.go(std::ref(call), d.split());
    if (d.one_in(2)) co_await rn::yield();
    doomed.cancel();
    co_await doomed.wait();
    co_await rn::with_timeout(60s, others.wait());
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(wrong, 0);
  }
}

TEST_F(sync_stress, once) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    rt.run(round_of_once, d);
  });
}

}  // namespace
