// SPDX-License-Identifier: BSL-1.0
// MU, RW: mutexes, by rule number; with what Go's own tests of sync.Mutex and sync.RWMutex check, in our words.
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/sleep.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/sync/shared_mutex.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/with_context.hpp>
#include <support/checked_runtime.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test::checked_runtime;
using test::let_others_run;
using test::on_1_2_and_4_threads;
using test::until;

// What the critical sections look at: plain variables, so that a missing exclusion or edge is a data race.
struct guarded_counter {
  rn::mutex m;
  long value = 0;
  int inside = 0;
};

rn::task<> count_up(guarded_counter& c, int times) {
  for (int i = 0; i < times; ++i) {
    auto guard = co_await c.m.lock();
    EXPECT_EQ(++c.inside, 1);
    ++c.value;
    if (i % 5 == 0) co_await rn::yield();
    --c.inside;
  }
}

// MU-01, MM-06, P-069
TEST(mu, ten_goroutines_exclude_each_other) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    guarded_counter c;
    rn::errgroup g;
    for (int i = 0; i < 10; ++i) co_await g.go(count_up, std::ref(c), 1000);
    co_await g.wait();
    EXPECT_EQ(c.value, 10'000);
  });
}

// MU-01
TEST(mu, it_belongs_to_no_goroutine) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::mutex m;
    rn::wait_group wg;
    auto guard = co_await m.lock();
    (void)guard.release();
    wg.go([&m] { m.unlock(); });
    auto again = co_await m.lock();
    EXPECT_TRUE(again);
    co_await wg.wait();
  });
}

// MU-01
TEST(mu, it_is_not_recursive) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::mutex m;
    auto guard = co_await m.lock();
    EXPECT_FALSE(m.try_lock());
    bool timed_out = false;
    try {
      (void)co_await rn::with_timeout(1ms, m.lock());
    } catch (const rn::timeout_error&) {
      timed_out = true;
    }
    EXPECT_TRUE(timed_out);
  });
}

// MU-02, as DESIGN's table of errors has it: thrown at the call. P-070
TEST(mu, unlocking_what_is_not_locked_is_misuse) {
  rn::mutex m;
  EXPECT_THROW(m.unlock(), rn::misuse_error);
  { auto guard = m.try_lock(); }
  EXPECT_THROW(m.unlock(), rn::misuse_error);
}

// MU-C02: the order of arrival, whoever comes meanwhile.
TEST(mu, waiters_are_served_in_the_order_in_which_they_came) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::mutex m;
    std::vector<int> order;
    auto take_turn = [](rn::mutex& of, std::vector<int>& out, int number) -> rn::task<> {
      auto guard = co_await of.lock();
      out.push_back(number);
      if (number % 2 == 0) co_await rn::yield();
    };
    rn::errgroup g;
    auto guard = co_await m.lock();
    for (int i = 0; i < 10; ++i) {
      co_await g.go(take_turn, std::ref(m), std::ref(order), i);
      co_await until([&] { return m.waiting() == static_cast<std::size_t>(i) + 1; });
    }
    guard.unlock();
    {
      auto last = co_await m.lock();
      order.push_back(10);
    }
    co_await g.wait();
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  });
}

// MU-C02, GEN-06: who unlocks and locks again at once is behind the one who waits.
TEST(mu, the_one_who_unlocks_does_not_overtake_a_waiter) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 100; ++round) {
      rn::mutex m;
      bool had_it = false;
      rn::errgroup g;
      auto guard = co_await m.lock();
      auto take = [](rn::mutex& of, bool& mine) -> rn::task<> {
        auto inner = co_await of.lock();
        mine = true;
      };
      co_await g.go(take, std::ref(m), std::ref(had_it));
      co_await until([&] { return m.waiting() == 1; });
      guard.unlock();
      EXPECT_FALSE(m.try_lock() && !had_it) << "MU-06: it has been handed over already";
      guard = co_await m.lock();
      EXPECT_TRUE(had_it);
      guard.unlock();
      co_await g.wait();
    }
  });
}

// MU-05
TEST(mu, one_that_holds_it_nearly_always_keeps_nobody_out) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::mutex m;
    std::atomic<bool> enough = false;
    auto hold_on = [](rn::mutex& of, std::atomic<bool>& stop) -> rn::task<> {
      while (!stop) {
        auto guard = co_await of.lock();
        co_await rn::sleep(100us);
      }
    };
    rn::errgroup g;
    co_await g.go(hold_on, std::ref(m), std::ref(enough));
    for (int i = 0; i < 10; ++i) {
      co_await rn::sleep(100us);
      auto guard = co_await rn::with_timeout(10s, m.lock());
      EXPECT_TRUE(guard);
    }
    enough = true;
    co_await g.wait();
  });
}

// MU-06, P-069
TEST(mu, try_lock_never_waits) {
  rn::mutex m;
  auto guard = m.try_lock();
  EXPECT_TRUE(guard);
  EXPECT_FALSE(m.try_lock());
  guard.unlock();
  EXPECT_TRUE(m.try_lock());
}

// MU-C01
TEST(mu, unlock_is_synchronous_and_posts_the_next) {
  checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    rn::mutex m;
    bool woken_ran = false;
    rn::errgroup g;
    auto guard = co_await m.lock();
    auto take = [](rn::mutex& of, bool& ran) -> rn::task<> {
      auto inner = co_await of.lock();
      ran = true;
    };
    co_await g.go(take, std::ref(m), std::ref(woken_ran));
    co_await until([&] { return m.waiting() == 1; });
    guard.unlock();
    EXPECT_FALSE(woken_ran) << "GEN-04: nobody is resumed inside of unlock()";
    co_await g.wait();
    EXPECT_TRUE(woken_ran);
  });
}

// MU-C03: a lock that was granted is never lost: each guard that was handed over is returned, or was never granted.
TEST(mu, cancellation_races_with_the_hand_over) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (int round = 0; round < 200; ++round) {
      rn::mutex m;
      auto guard = co_await m.lock();
      auto take = [](rn::mutex& of) -> rn::task<> { auto inner = co_await of.lock(); };
      rn::errgroup g, canceller;
      co_await g.go(take, std::ref(m));
      co_await g.go(take, std::ref(m));
      co_await until([&] { return m.waiting() == 2; });
      auto cancel = [](rn::errgroup& of) { of.cancel(); };
      co_await canceller.go(cancel, std::ref(g));
      if (round % 2 == 0) co_await rn::yield();
      guard.unlock();
      co_await g.wait();
      co_await canceller.wait();
      EXPECT_TRUE(m.try_lock()) << "it was handed to one that did not unlock it";
    }
  });
}

// ---- RW ----

struct watched {
  rn::shared_mutex m;
  std::atomic<int> readers = 0, writers = 0, most_readers = 0;
  std::atomic<int> wrong = 0;
};

rn::task<> read(watched& w, int times) {
  for (int i = 0; i < times; ++i) {
    auto guard = co_await w.m.lock_shared();
    int now = ++w.readers;
    for (int most = w.most_readers; now > most && !w.most_readers.compare_exchange_weak(most, now);) {
    }
    if (w.writers != 0) ++w.wrong;
    if (i % 3 == 0) co_await rn::yield();
    --w.readers;
  }
}
rn::task<> write(watched& w, int times) {
  for (int i = 0; i < times; ++i) {
    auto guard = co_await w.m.lock();
    if (++w.writers != 1 || w.readers != 0) ++w.wrong;
    if (i % 3 == 0) co_await rn::yield();
    --w.writers;
  }
}

// RW-01, P-077
TEST(rw, readers_and_writers_exclude_each_other) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    watched w;
    rn::errgroup g;
    co_await g.go(write, std::ref(w), 300);
    for (int i = 0; i < 5; ++i) co_await g.go(read, std::ref(w), 300);
    co_await g.go(write, std::ref(w), 300);
    for (int i = 0; i < 5; ++i) co_await g.go(read, std::ref(w), 300);
    co_await g.wait();
    EXPECT_EQ(w.wrong, 0);
    EXPECT_FALSE(w.m.is_locked());
    EXPECT_EQ(w.m.readers(), 0u);
  });
}

// RW-01, P-076
TEST(rw, many_readers_are_in_at_once) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::shared_mutex m;
    std::atomic<int> inside = 0;
    std::atomic<bool> leave = false;
    auto stay = [](rn::shared_mutex& of, std::atomic<int>& n, std::atomic<bool>& go) -> rn::task<> {
      auto guard = co_await of.lock_shared();
      ++n;
      co_await until([&] { return go.load(); });
    };
    rn::errgroup g;
    for (int i = 0; i < 10; ++i) co_await g.go(stay, std::ref(m), std::ref(inside), std::ref(leave));
    co_await until([&] { return inside == 10; });
    EXPECT_EQ(m.readers(), 10u);
    leave = true;
    co_await g.wait();
  });
}

// What happened, in order: each entry is made with the lock held.
struct journal {
  rn::shared_mutex m;
  rn::mutex of_entries;
  std::vector<char> entries;
};
rn::task<> note(journal& j, char c) {
  auto guard = co_await j.of_entries.lock();
  j.entries.push_back(c);
}
rn::task<> reader(journal& j, char c) {
  auto guard = co_await j.m.lock_shared();
  co_await note(j, c);
}
rn::task<> writer(journal& j, char c) {
  auto guard = co_await j.m.lock();
  co_await note(j, c);
}

// RW-02, RW-04
TEST(rw, a_writer_that_waits_keeps_new_readers_out_and_the_last_reader_lets_it_in) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    journal j;
    rn::errgroup g;
    auto first = co_await j.m.lock_shared();
    auto second = co_await j.m.lock_shared();
    co_await g.go(writer, std::ref(j), 'w');
    co_await until([&] { return j.m.waiting() == 1; });
    EXPECT_FALSE(j.m.try_lock_shared());
    co_await g.go(reader, std::ref(j), 'r');
    co_await until([&] { return j.m.waiting() == 2; });
    first.unlock();
    co_await let_others_run();
    EXPECT_EQ(j.m.waiting(), 2u) << "one reader is still in";
    second.unlock();
    co_await g.wait();
    EXPECT_EQ(j.entries, (std::vector<char>{'w', 'r'}));
  });
}

// RW-03
TEST(rw, a_writer_that_unlocks_lets_all_waiting_readers_in_before_the_next_writer) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    journal j;
    rn::errgroup g;
    auto writing = co_await j.m.lock();
    co_await g.go(writer, std::ref(j), 'w');
    co_await until([&] { return j.m.waiting() == 1; });
    for (std::size_t i = 0; i < 3; ++i) {
      co_await g.go(reader, std::ref(j), 'r');
      co_await until([&] { return j.m.waiting() == 2 + i; });
    }
    writing.unlock();
    co_await g.wait();
    EXPECT_EQ(j.entries, (std::vector<char>{'r', 'r', 'r', 'w'}));
  });
}

// MU-C02 for writers
TEST(rw, writers_are_served_in_the_order_in_which_they_came) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    journal j;
    rn::errgroup g;
    auto writing = co_await j.m.lock();
    for (char c = 'a'; c < 'k'; ++c) {
      co_await g.go(writer, std::ref(j), c);
      co_await until([&] { return j.m.waiting() == static_cast<std::size_t>(c - 'a') + 1; });
    }
    writing.unlock();
    co_await g.wait();
    EXPECT_EQ(j.entries, (std::vector<char>{'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'}));
  });
}

// RW-05, P-070, as DESIGN's table has it: thrown at the call
TEST(rw, unlocking_what_is_not_locked_is_misuse) {
  rn::shared_mutex m;
  EXPECT_THROW(m.unlock(), rn::misuse_error);
  EXPECT_THROW(m.unlock_shared(), rn::misuse_error);
  {
    auto reading = m.try_lock_shared();
    EXPECT_THROW(m.unlock(), rn::misuse_error) << "of a writer, while a reader is in";
  }
  {
    auto writing = m.try_lock();
    EXPECT_THROW(m.unlock_shared(), rn::misuse_error) << "of a reader, while a writer is in";
  }
  EXPECT_TRUE(m.try_lock()) << "none of it had an effect";
}

// RW-05
TEST(rw, there_is_no_upgrade_and_no_downgrade) {
  rn::shared_mutex m;
  {
    auto reading = m.try_lock_shared();
    EXPECT_TRUE(reading);
    EXPECT_FALSE(m.try_lock());
    EXPECT_TRUE(m.try_lock_shared());
  }
  auto writing = m.try_lock();
  EXPECT_TRUE(writing);
  EXPECT_FALSE(m.try_lock_shared());
  EXPECT_FALSE(m.try_lock());
}

// RW-06, P-078
TEST(rw, the_reading_side_looks_like_a_mutex) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    journal j;
    rn::errgroup g;
    auto side = j.m.read_side();
    auto reading = co_await side.lock();
    EXPECT_EQ(j.m.readers(), 1u);
    co_await g.go(writer, std::ref(j), 'w');
    co_await until([&] { return j.m.waiting() == 1; });
    EXPECT_FALSE(side.try_lock());
    reading.unlock();
    co_await g.wait();
    auto again = side.try_lock();
    EXPECT_TRUE(again);
    (void)again.release();
    side.unlock();
    EXPECT_EQ(j.m.readers(), 0u);
  });
}

// MU-C03: a writer that gives up does not keep readers out for ever.
TEST(rw, readers_behind_a_cancelled_writer_are_let_in) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    journal j;
    rn::errgroup of_writer, g;
    auto reading = co_await j.m.lock_shared();
    co_await of_writer.go(writer, std::ref(j), 'w');
    co_await until([&] { return j.m.waiting() == 1; });
    co_await g.go(reader, std::ref(j), 'r');
    co_await until([&] { return j.m.waiting() == 2; });
    of_writer.cancel();
    co_await of_writer.wait();
    co_await g.wait();  // while the first reader is still in
    EXPECT_EQ(j.entries, (std::vector<char>{'r'}));
    EXPECT_EQ(j.m.waiting(), 0u);
  });
}

// MU-C03
TEST(rw, cancelled_waiters_leave_no_trace) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    for (bool held_by_writer : {true, false}) {
      rn::shared_mutex m;
      rn::shared_mutex::guard writing;
      rn::shared_mutex::shared_guard reading;
      if (held_by_writer)
        writing = co_await m.lock();
      else
        reading = co_await m.lock_shared();
      auto lock = [](rn::shared_mutex& of) -> rn::task<> { auto guard = co_await of.lock(); };
      auto lock_shared = [](rn::shared_mutex& of) -> rn::task<> { auto guard = co_await of.lock_shared(); };
      rn::errgroup g;
      for (int i = 0; i < 5; ++i) {
        co_await g.go(lock, std::ref(m));
        co_await until([&] { return m.waiting() > 0; });
        co_await g.go(lock_shared, std::ref(m));
      }
      g.cancel();
      co_await g.wait();
      EXPECT_EQ(m.waiting(), 0u);
      if (held_by_writer) writing.unlock();
      if (!held_by_writer) reading.unlock();
      EXPECT_TRUE(m.try_lock());
    }
  });
}

}  // namespace
