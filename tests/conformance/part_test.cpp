// SPDX-License-Identifier: BSL-1.0
// PART: partition supervisors, by rule number, in virtual time.
#include <runnel/all.hpp>
#include <runnel/async.hpp>
#include <runnel/otp/partition_supervisor.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/this_task.hpp>
#include <support/supervised.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <climits>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using namespace runnel_test;

rn::task<> shard(std::size_t partition, world& w) { co_await obey(w, std::to_string(partition)); }

template <class Body> void in_one(rn::partition_supervisor sup, Body body) {
  rn::test::run([&]() -> rn::task<> {
    auto both = [&](rn::errgroup& g) -> rn::task<> {
      auto run = [&sup]() -> rn::task<> { co_await sup.run(); };
      co_await g.go(run);
      co_await rn::test::wait_idle();
      co_await body(sup);
      g.cancel();
    };
    co_await rn::with_errgroup(both);
  });
}
std::string misuse(auto f) {
  try {
    f();
  } catch (const rn::misuse_error& e) {
    return e.what();
  }
  return "nothing";
}

// PART-01
TEST(part, there_are_n_children_with_the_numbers_as_ids) {
  world w;
  in_one(rn::partition_supervisor(rn::partitions(3), rn::shutdown(1s), rn::max_restarts(10, 1s), shard, std::ref(w)),
         [&](rn::partition_supervisor& sup) -> rn::task<> {
           EXPECT_EQ(w.take(), "+0 +1 +2");
           EXPECT_EQ(sup.count_children().active, 3u);
           EXPECT_EQ(sup.which_children().at(2).id, "2");
           for (int i = 0; i < 5; ++i) co_await w.tell("1", "throw");
         });
  EXPECT_EQ(w.starts["1"], 6);
  EXPECT_EQ(misuse([] { rn::partitions none(0); }), "runnel: partitions(n) takes 1 to 65,536");
  EXPECT_EQ(misuse([] { rn::partitions many(65'537); }), "runnel: partitions(n) takes 1 to 65,536");
  EXPECT_EQ(misuse([] { rn::partition_supervisor(rn::partitions(2), rn::temporary, [](std::size_t) {}); }),
            "runnel: the partitions of a partition_supervisor are not temporary: one that has ended could not be "
            "started by resize; make them permanent or transient");
}

// PART-02
TEST(part, keys_are_spread_by_magnitude_or_hash) {
  rn::partition_supervisor sup(rn::partitions(4), [](std::size_t) {});
  EXPECT_EQ(sup.partition_of(7), 3u);
  EXPECT_EQ(sup.partition_of(-7), 3u);
  EXPECT_EQ(sup.partition_of(LLONG_MIN), 0u);
  EXPECT_EQ(sup.partition_of(10u), 2u);
  std::set<std::size_t> seen;
  for (int i = 0; i < 200; ++i) {
    std::string key = "user" + std::to_string(i);
    EXPECT_EQ(sup.partition_of(key), sup.partition_of(key));
    seen.insert(sup.partition_of(key));
  }
  EXPECT_EQ(seen, (std::set<std::size_t>{0, 1, 2, 3}));
}

// PART-03
TEST(part, a_partition_is_the_same_after_a_restart) {
  world w;
  in_one(rn::partition_supervisor(rn::partitions(2), shard, std::ref(w)),
         [&](rn::partition_supervisor& sup) -> rn::task<> {
           w.take();
           co_await w.tell("1", "throw");
           EXPECT_EQ(w.take(), "-1 +1");
           EXPECT_EQ(sup.partition_of(1), 1u);
         });
}

// PART-04
TEST(part, it_shrinks_and_grows_up_to_what_it_was_made_with) {
  world w;
  in_one(rn::partition_supervisor(rn::partitions(4), shard, std::ref(w)),
         [&](rn::partition_supervisor& sup) -> rn::task<> {
           w.take();
           std::size_t before = co_await sup.resize(2);
           EXPECT_EQ(before, 4u);
           EXPECT_EQ(w.take(), "-3 -2");
           EXPECT_EQ(sup.partition_of(3), 1u);
           before = co_await sup.resize(0);
           EXPECT_EQ(before, 2u);
           EXPECT_EQ(misuse([&] { (void)sup.partition_of(1); }),
                     "runnel: a partition_supervisor of no partitions has none for a key");
           before = co_await sup.resize(3);
           EXPECT_EQ(before, 0u);
           co_await rn::test::wait_idle();
           EXPECT_EQ(w.take(), "-1 -0 +0 +1 +2");
           EXPECT_EQ(sup.partition_of(5), 2u);
           EXPECT_EQ(misuse([&] { (void)sup.resize(5); }),
                     "runnel: a partition_supervisor cannot have more partitions than it was made with");
           auto two = co_await rn::all(sup.resize(1), sup.resize(4));
           (void)two;
           std::size_t now = sup.partition_count();
           EXPECT_TRUE(now == 1 || now == 4) << now;
           EXPECT_EQ(sup.count_children().active, now) << "one after another";
         });
}

// PART-04: the same resize again makes good what a cancellation came between to.
TEST(part, a_resize_that_was_cancelled_is_made_good_by_the_next) {
  world w;
  in_one(rn::partition_supervisor(rn::partitions(4), shard, std::ref(w)),
         [&](rn::partition_supervisor& sup) -> rn::task<> {
           co_await w.tell("3", "die slowly");
           auto r = co_await rn::as_result(rn::with_timeout(1s, sup.resize(1)));
           EXPECT_FALSE(r.ok());
           EXPECT_EQ(sup.partition_count(), 1u) << "what has been done stays";
           co_await rn::sleep(10s);
           EXPECT_EQ(sup.count_children().active, 3u) << "it came between to nothing: nothing is tested";
           EXPECT_EQ(co_await sup.resize(1), 1u);
           EXPECT_EQ(sup.count_children().active, 1u);
           EXPECT_EQ(co_await sup.resize(2), 1u);
           EXPECT_EQ(sup.count_children().active, 2u);
         });
}

// PART-01: one that is started again begins with all of its partitions, and keys go to all of them.
TEST(part, how_many_have_keys_is_forgotten_with_the_run) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::partition_supervisor shards(rn::partitions(4), rn::max_restarts(0, 1s), shard, std::ref(w));
    auto ref = shards.ref();
    rn::supervisor sup(rn::one_for_one);
    sup.child("shards", std::move(shards));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      (void)co_await ref.resize(2);
      EXPECT_EQ(ref.partition_count(), 2u);
      co_await w.tell("0", "throw");  // it gives up, and is started again
      EXPECT_EQ(ref.count_children().active, 4u);
      EXPECT_EQ(ref.partition_count(), 4u);
      EXPECT_EQ(ref.partition_of(7), 3u);
      std::size_t before = co_await ref.resize(3);
      EXPECT_EQ(before, 4u);
      EXPECT_EQ(ref.count_children().active, 3u);
    });
    EXPECT_EQ(ref.partition_count(), 4u);
    std::size_t before = co_await ref.resize(1);
    EXPECT_EQ(before, 4u);
    EXPECT_EQ(ref.partition_count(), 4u) << "nothing runs: the next run begins with all";
  });
}
// PART-04, under many schedules: a resize that a restart comes between to.
TEST(part, a_resize_and_a_restart_agree) {
  auto body = []() -> rn::task<> {
    world w;
    rn::partition_supervisor shards(rn::partitions(3), rn::max_restarts(0, 1s), shard, std::ref(w));
    auto ref = shards.ref();
    rn::supervisor sup(rn::one_for_one, rn::max_restarts::unlimited());
    sup.child("shards", std::move(shards));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      auto fail = [&]() -> rn::task<> { co_await w.to("0").send("throw"); };
      auto both = co_await rn::all(ref.resize(1), fail());
      (void)both;
      co_await rn::test::wait_idle();
      if (ref.partition_count() != ref.count_children().active) throw std::logic_error("they differ");
    });
  };
  EXPECT_NO_THROW(rn::test::explore(500, body));
}

// PART-01, PART-04: a run that does not begin, for another is under way or its context is done, gives no keys.
TEST(part, a_run_that_does_not_begin_changes_nothing) {
  world w;
  in_one(rn::partition_supervisor(rn::partitions(4), shard, std::ref(w)),
         [&](rn::partition_supervisor& sup) -> rn::task<> {
           (void)co_await sup.resize(2);
           auto r = co_await rn::as_result(rn::with_timeout(0ns, sup.run()));
           EXPECT_FALSE(r.ok());
           EXPECT_EQ(sup.partition_count(), 2u);
           auto second = co_await rn::as_result(sup.run());
           EXPECT_TRUE(as<rn::misuse_error>(second.error()));
           EXPECT_EQ(sup.partition_count(), 2u);
           EXPECT_EQ(sup.count_children().active, 2u);
         });
}
// PART-01, PART-04, under many schedules: a resize in a run that begins as soon as the one before has ended.
TEST(part, the_end_of_a_run_does_not_give_keys_in_the_next) {
  auto body = []() -> rn::task<> {
    auto rests = [](std::size_t) -> rn::task<> { co_await rn::done(); };
    rn::partition_supervisor shards(rn::partitions(3), rests);
    auto first = rn::async([&]() -> rn::task<> { co_await shards.run(); });
    auto second = rn::async([&]() -> rn::task<> {
      while (shards.is_running()) co_await rn::yield();
      co_await shards.run();
    });
    first.cancel();
    (void)co_await shards.resize(1);
    while (!first.done()) co_await rn::yield();
    for (int i = 0; i < 20; ++i) co_await rn::yield();
    if (shards.is_running() && shards.partition_count() != shards.count_children().active)
      throw std::logic_error("they differ");
    second.cancel();
  };
  EXPECT_NO_THROW(rn::test::explore(300, body));
}

// PART-01, PART-05
TEST(part, it_is_a_child_and_its_handle_tells_when_it_has_ended) {
  rn::test::run([]() -> rn::task<> {
    world w;
    rn::partition_supervisor shards(rn::partitions(2), shard, std::ref(w));
    auto ref = shards.ref();
    rn::supervisor sup(rn::one_for_one);
    sup.child("shards", std::move(shards)).child("z", obey, std::ref(w), std::string("z"));
    co_await while_it_runs(sup, [&]() -> rn::task<> {
      EXPECT_TRUE(ref.is_running());
      EXPECT_EQ(ref.count_children().specs, 2u);
      co_return;
    });
    EXPECT_EQ(w.take(), "+0 +1 +z -z -1 -0");
    EXPECT_FALSE(ref.is_running());
    EXPECT_EQ(ref.count_children().specs, 0u);
  });
}

}  // namespace
