// SPDX-License-Identifier: BSL-1.0
// A watch under many schedules, under all with few preemptions, cancelled, killed and out of memory at each place: values
// are seen in order, and whoever waits on sees the last one.
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/select.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>
#include <runnel/watch.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

namespace rn = runnel;
using value = std::shared_ptr<int>;

void must(bool holds, std::source_location where = std::source_location::current()) {
  if (!holds) throw std::logic_error("does not hold: line " + std::to_string(where.line()));
}

class scene {
 public:
  static constexpr int last = 4;

  void begin() {
    x_alive = std::make_shared<int>(0);
    x_watch.emplace(make(0));
    x_set = 0;
    for (int& s : x_seen) s = 0;
    x_done = 0;
    x_seen_before_close = false;
  }
  rn::task<> set() {
    for (int i = 1; i <= last; ++i) {
      x_watch->set(make(i));
      x_set = i;
      if (i % 2 == 1) co_await rn::yield();
    }
    co_await rn::test::wait_idle();
    x_seen_before_close = x_seen[0] == last && x_seen[1] == last;
    x_watch->close();
  }
  rn::task<> follow(int who, rn::watcher<value> w) {
    for (;;) {
      bool more = co_await w.changed();
      if (!more) break;
      see(who, w);
    }
    ++x_done;
  }
  // The watch is one of two cases.
  rn::task<> follow_beside(int who, rn::watcher<value> w, rn::chan<int> ch) {
    for (bool more = true; more;)
      co_await rn::select(rn::on(w.changed(),
                                 [&](bool changed) {
                                   more = changed;
                                   if (changed) see(who, w);
                                 }),
                          rn::on(ch.recv(), [](std::optional<int> v) { must(v.has_value()); }));
    ++x_done;
  }
  rn::watch<value>& watch() { return *x_watch; }
  void check_all_saw_the_last() const {
    must(x_done == 2);
    must(x_seen_before_close);
    for (int s : x_seen) must(s == last);
  }
  void check() {
    if (!x_watch) return;
    must(**x_watch->get() == x_set);
    x_watch.reset();
    must(x_alive.use_count() == 1);
  }

 private:
  value make(int i) { return value(x_alive, &x_numbers[i]); }
  void see(int who, rn::watcher<value>& w) {
    int now = **w.get();
    must(now >= x_seen[who] && now > 0);
    x_seen[who] = now;
  }

  int x_numbers[last + 1] = {0, 1, 2, 3, 4};
  std::shared_ptr<int> x_alive;
  std::optional<rn::watch<value>> x_watch;
  int x_set = 0, x_done = 0;
  bool x_seen_before_close = false;
  int x_seen[2] = {0, 0};
};

// GEN-05, CH-C08, SEL-11, SEL-C05
TEST(watch, whoever_follows_sees_the_last_value) {
  scene s;
  auto body = [&]() -> rn::task<> {
    s.begin();
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      rn::chan<int> ch(1);
      co_await g.go(&scene::follow, std::ref(s), 0, s.watch().observe());
      co_await g.go(&scene::follow_beside, std::ref(s), 1, s.watch().observe(), ch);
      co_await g.go(&scene::set, std::ref(s));
      co_await ch.send(1);
    });
    s.check_all_saw_the_last();
  };
  auto invariant = [&] { s.check(); };
  auto checked = [&]() -> rn::task<> {
    co_await body();
    invariant();
  };
  try {
    rn::test::explore(300, checked);
    rn::test::exhaust(checked, rn::test::preemptions(2));
    rn::test::cancel_everywhere(body, invariant);
    for (std::uint64_t n = 1; n <= 10; ++n) rn::test::cancel_everywhere(body, invariant, rn::test::seed(n));
    rn::test::fail_everywhere(body, invariant);
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}

}  // namespace
