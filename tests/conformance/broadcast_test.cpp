// SPDX-License-Identifier: BSL-1.0
// A broadcast under many schedules, under all with few preemptions, cancelled, killed and out of memory at each place:
// each subscription accounts for each element that was sent since it was made, as heard or as missed, in order.
#include <runnel/broadcast.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/select.hpp>
#include <runnel/test.hpp>
#include <runnel/this_task.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>

namespace {

namespace rn = runnel;

void must(bool holds, std::source_location where = std::source_location::current()) {
  if (!holds) throw std::logic_error("does not hold: line " + std::to_string(where.line()));
}

template <class Body, class Invariant> void everywhere(Body body, Invariant invariant, std::uint64_t preemptions) {
  auto checked = [&]() -> rn::task<> {
    co_await body();
    invariant();
  };
  try {
    rn::test::explore(300, checked);
    rn::test::exhaust(checked, rn::test::preemptions(preemptions));
    rn::test::cancel_everywhere(body, invariant);
    for (std::uint64_t n = 1; n <= 10; ++n) rn::test::cancel_everywhere(body, invariant, rn::test::seed(n));
    rn::test::fail_everywhere(body, invariant);
  } catch (const rn::test::failure& f) {
    ADD_FAILURE() << f.what();
  }
}

// The elements are shared pointers to their numbers, so that it shows which are alive.
class radio {
 public:
  using element = std::shared_ptr<std::uint64_t>;
  static constexpr std::size_t hearers = 2;

  void begin(std::ptrdiff_t capacity) {
    x_station.emplace(capacity);
    x_other.emplace(1);
    x_alive = std::make_shared<int>(0);
    x_sent = 0;
    for (auto& h : x_hearers) {
      h.place.emplace(x_station->subscribe());
      h.expected = 0;
    }
  }
  rn::task<> send(std::uint64_t n) {
    for (std::uint64_t i = 0; i < n; ++i) {
      must(x_station->send(element(x_alive, &x_numbers[x_sent])) == hearers);
      ++x_sent;
      if (i % 3 != 1) co_await rn::yield();
    }
    x_station->close();
  }
  rn::task<> hear(std::size_t who) {
    for (bool more = true; more;) {
      auto h = co_await x_hearers[who].place->recv();
      more = x_hearers[who].note(h);
      if (!more) must(x_hearers[who].expected == x_sent);
    }
  }
  // Elements come in two ways, and the subscription is one of them.
  rn::task<> hear_or_receive(std::size_t who) {
    for (bool more = true; more;)
      co_await rn::select(rn::on(x_hearers[who].place->recv(),
                                 [&](rn::heard<element> h) { more = x_hearers[who].note(h); }),
                          rn::on(x_other->recv(), [](std::optional<int> v) { must(v.has_value()); }));
  }
  rn::task<> disturb(int n) {
    for (int i = 0; i < n; ++i) co_await x_other->send(i);
  }
  void check() {
    if (!x_station) return;
    for (auto& h : x_hearers) {
      while (h.note(h.place->try_recv())) {
      }
      must(h.expected == x_sent);
      h.place.reset();
    }
    must(x_station->subscriptions() == 0);
    x_station.reset();
    x_other.reset();
    must(x_alive.use_count() == 1);
  }

 private:
  struct hearer {
    std::optional<rn::subscription<element>> place;
    std::uint64_t expected = 0;
    bool note(const rn::heard<element>& h) {
      if (!h) return false;
      expected += h.missed();
      must(**h == expected++);
      return true;
    }
  };
  std::uint64_t x_numbers[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  std::optional<rn::broadcast<element>> x_station;
  std::optional<rn::chan<int>> x_other;
  std::shared_ptr<int> x_alive;
  std::uint64_t x_sent = 0;
  hearer x_hearers[hearers];
};

// GEN-05, CH-C08: a cancelled receive hears nothing; what was told is heard.
TEST(broadcast, accounts_for_every_element) {
  for (std::ptrdiff_t capacity : {1, 2, 8}) {
    SCOPED_TRACE(capacity);
    radio r;
    auto body = [&]() -> rn::task<> {
      r.begin(capacity);
      co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
        co_await g.go(&radio::hear, std::ref(r), 0u);
        co_await g.go(&radio::hear, std::ref(r), 1u);
        co_await g.go(&radio::send, std::ref(r), 5u);
      });
    };
    everywhere(body, [&] { r.check(); }, 2);
  }
}

// SEL-11, SEL-C05: a select that takes another case hears nothing.
TEST(broadcast, accounts_for_every_element_in_a_select) {
  radio r;
  auto body = [&]() -> rn::task<> {
    r.begin(2);
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      co_await g.go(&radio::hear_or_receive, std::ref(r), 0u);
      co_await g.go(&radio::hear, std::ref(r), 1u);
      co_await g.go(&radio::disturb, std::ref(r), 1);
      co_await g.go(&radio::send, std::ref(r), 4u);
    });
  };
  everywhere(body, [&] { r.check(); }, 1);
}

}  // namespace
