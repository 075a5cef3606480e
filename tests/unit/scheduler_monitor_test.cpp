// SPDX-License-Identifier: BSL-1.0
// When the monitor and the tender of the frame pool are armed, with a host that only takes notes.
#include <runnel/detail/frame_pool.hpp>
#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/scheduler_core.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace {

using namespace runnel::detail;

struct notes final : pump_host {
  std::vector<processor*> posted;
  std::vector<std::int64_t> monitor;  // each arming's delay
  std::vector<std::int64_t> tender;
  mutable std::int64_t time = 0;  // passes when it is asked for

  void post_pump(processor& p, bool) noexcept override { posted.push_back(&p); }
  void arm_monitor(std::int64_t after) noexcept override { monitor.push_back(after); }
  void arm_tender(std::int64_t after) noexcept override { tender.push_back(after); }
  void hold_work(bool) noexcept override {}
  std::int64_t now() const noexcept override { return time += 1'000; }
  std::shared_ptr<void> share() noexcept override { return nullptr; }
};

// Work is a function.
struct work : fifo_link {
  void (*run)(void*) = nullptr;
  void* with = nullptr;
};
struct policy {
  static void goroutine(processor&, fifo_link* item) noexcept {
    auto& w = *static_cast<work*>(item);
    if (w.run) w.run(w.with);
  }
  static void child(processor&, list_link*) noexcept {}
  static void settle(processor&) noexcept {}
  static void fetch_next(fifo_link*) noexcept {}
  static fifo_link* of_fresh(list_link*) noexcept { return nullptr; }  // nothing is started here
};

class monitor_test : public testing::Test {
 protected:
  notes host;
  scheduler_core core{host, 2};

  // Runs what has been posted, and what that posts.
  void pump() {
    while (!host.posted.empty()) {
      auto posted = std::exchange(host.posted, {});
      for (processor* p : posted) core.pump_posted<policy>(*p);
    }
  }
  void run(work& w) {
    core.schedule(&w);
    pump();
    ASSERT_TRUE(core.all_idle());
  }

  // More slabs than are kept are spare.
  static void make_surplus() {
    the_frame_depot.store.release_all();
    (void)frame_pool_tend();  // has looked, and seen none spare: for a while it gives none back
    std::vector<list_link*> slabs;
    for (std::size_t i = 0; i < 2 * frame_slab_store::kept; ++i)
      slabs.push_back(::new (the_frame_depot.store.take()) list_link);
    for (auto* slab : slabs) the_frame_depot.store.put(slab);
    ASSERT_TRUE(the_frame_depot.store.has_surplus());
  }
  void TearDown() override { the_frame_depot.store.release_all(); }
};

TEST_F(monitor_test, goes_to_rest_when_all_are_idle) {
  the_frame_depot.store.release_all();
  work w;
  run(w);
  ASSERT_EQ(host.monitor.size(), 1u);
  core.monitor<policy>();
  EXPECT_EQ(host.monitor.size(), 1u);
  EXPECT_TRUE(host.tender.empty());
}

// What a burst has left behind is looked at ten times a second; work that comes meanwhile must not wait that long to
// be rescued.
TEST_F(monitor_test, is_armed_anew_at_once_while_the_frame_pool_is_tended) {
  make_surplus();
  work w;
  run(w);
  core.monitor<policy>();
  auto before = host.monitor.size();
  ASSERT_EQ(host.tender.size(), 1u);
  EXPECT_EQ(host.tender[0], frame_slab_store::interval);

  struct seen {
    notes& host;
    std::size_t before;
    bool soon = false;
  } s{host, before};
  work busy;
  busy.with = &s;
  busy.run = [](void* with) {  // one processor runs this, the other is idle
    auto& now = *static_cast<seen*>(with);
    now.soon = now.host.monitor.size() > now.before && now.host.monitor.back() <= 1'000'000;
  };
  run(busy);
  EXPECT_TRUE(s.soon);
}

TEST_F(monitor_test, the_tender_goes_on_while_there_is_surplus_and_then_rests) {
  make_surplus();
  work w;
  run(w);
  ASSERT_EQ(host.tender.size(), 1u);
  std::size_t looks = 0;
  for (; looks < 100 && host.tender.size() == looks + 1; ++looks) core.tend();
  EXPECT_LT(looks, 100u) << "it never rests";
  EXPECT_GE(looks, 1u);
  auto rested = host.tender.size();
  run(w);  // and begins again with the next work, if there is still surplus
  EXPECT_EQ(host.tender.size(), rested + (the_frame_depot.store.has_surplus() ? 1 : 0));
}

TEST_F(monitor_test, the_tender_looks_as_often_again_after_more_work) {
  make_surplus();
  work w;
  run(w);
  core.tend();
  core.tend();
  core.tend();
  ASSERT_EQ(host.tender.size(), 4u);  // one more would be its last, with nothing given back
  run(w);
  EXPECT_EQ(host.tender.size(), 4u) << "it is on its way already";
  for (int i = 0; i < 3; ++i) core.tend();
  EXPECT_EQ(host.tender.size(), 7u);
}

// The tender leaves a scheduler alone that is at work.
TEST_F(monitor_test, the_tender_gives_nothing_back_while_something_runs) {
  make_surplus();
  work w;
  run(w);
  work busy;
  busy.with = &core;
  busy.run = [](void* with) {
    auto mapped = the_frame_depot.store.mapped();
    static_cast<scheduler_core*>(with)->tend();
    EXPECT_EQ(the_frame_depot.store.mapped(), mapped);
  };
  run(busy);
  EXPECT_EQ(host.tender.size(), 2u);  // when it had run dry
}

}  // namespace
