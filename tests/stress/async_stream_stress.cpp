// SPDX-License-Identifier: BSL-1.0
// Streams over ranges, functions and channels, whose tasks fail, time out and are killed, and which are read to the end,
// closed, dropped, timed out and cancelled at once: each input once, never too many, and nothing is left.
#include <runnel.hpp>
#include <runnel/async_stream.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using stress::dice;

class async_stream_stress : public stress::stress_test {};

struct tally {
  std::atomic<int> alive{0};
};
// Of one stream. It outlives the goroutine that reads it.
struct story {
  std::atomic<int> alive{0}, most{0}, began{0};
  std::vector<int> inputs;
  std::size_t at_most = 1;
};
struct in_task {
  story& s;
  tally& t;
  in_task(story& of, tally& all) : s(of), t(all) {
    ++t.alive;
    ++s.began;
    int now = ++s.alive;
    for (int seen = s.most; seen < now && !s.most.compare_exchange_weak(seen, now);) {
    }
  }
  ~in_task() {
    --s.alive;
    --t.alive;
  }
};
rn::task<int> work(story& s, tally& t, dice d, int n) {
  in_task here(s, t);
  for (unsigned i = d.below(3); i > 0; --i) co_await rn::yield();
  if (d.one_in(10)) co_await rn::sleep(d.microseconds(100));
  if (d.one_in(20)) co_await rn::shield(rn::sleep(d.microseconds(300)));
  if (d.one_in(12)) throw std::runtime_error("a task failed");
  co_return n;
}
template <class S> rn::task<> read(S& stream, story& s, dice& d, bool ordered) {
  std::size_t seen = 0;
  unsigned stop_after = d.one_in(3) ? d.below(10) : 1000;
  while (auto r = co_await stream.next()) {
    if (ordered) {
      EXPECT_EQ(r->index(), seen);
    }
    EXPECT_EQ(r->input(), static_cast<int>(r->index()));
    if (r->ok()) {
      EXPECT_EQ(r->value(), r->input());
    }
    if (++seen >= stop_after) {
      if (d.one_in(2)) co_await stream.close();
      co_return;
    }
    if (d.one_in(5)) co_await rn::yield();
  }
  EXPECT_EQ(seen, s.inputs.size());
}
template <class S> rn::task<> read_somehow(S& stream, story& s, dice& d, bool ordered) {
  if (d.one_in(3)) {
    rn::task<> all = read(stream, s, d, ordered);
    (void)co_await rn::as_result(rn::with_timeout(d.microseconds(200), std::move(all)));
  } else {
    co_await read(stream, s, d, ordered);
  }
}
rn::task<> one_stream(story& s, tally& t, dice d) {
  auto f = [&s, &t, seed = d.next()](int n) { return work(s, t, dice(seed + static_cast<unsigned>(n)), n); };
  rn::max_concurrency most(static_cast<std::ptrdiff_t>(s.at_most));
  rn::timeout limit(d.microseconds(400));
  switch (d.below(4)) {
    case 0: {
      auto stream = rn::async_stream(s.inputs, most, f);
      co_await read_somehow(stream, s, d, true);
      break;
    }
    case 1: {
      auto stream = rn::async_stream(s.inputs, most, rn::unordered, limit, rn::kill_on_timeout, f);
      co_await read_somehow(stream, s, d, false);
      break;
    }
    case 2: {
      rn::chan<int> ch(static_cast<std::ptrdiff_t>(d.below(3)));
      auto feeder = rn::async([](rn::chan<int> to, story& of) -> rn::task<> {
        for (int n : of.inputs) co_await to.send(n);
        to.close();
      }, ch, std::ref(s));
      auto stream = rn::async_stream(ch, most, limit, rn::kill_on_timeout, f);
      co_await read_somehow(stream, s, d, true);
      break;
    }
    default:
      (void)co_await rn::as_result(rn::map(s.inputs, most, limit, f));
  }
}
rn::task<> whole(story& s, tally& t, dice d) {
  rn::task<> all = one_stream(s, t, d.split());
  (void)co_await rn::as_result(std::move(all));
}

TEST_F(async_stream_stress, each_input_once_never_too_many_and_nothing_is_left) {
  run_rounds([](unsigned threads, dice d) {
    tally t;
    std::vector<story> stories(d.between(1, 8));
    {
      rn::runtime_options options;
      options.on_unobserved_error([](const rn::goroutine_error&) {});
      rn::runtime rt{rn::threads(threads), std::move(options)};
      for (auto& s : stories) {
        for (int n = static_cast<int>(d.below(60)), i = 0; i < n; ++i) s.inputs.push_back(i);
        s.at_most = d.between(1, 9);
        rt.go(whole, std::ref(s), std::ref(t), d.split());
      }
      if (d.one_in(3)) rt.cancel();
      stress::wait_until([&] { return rt.live() == 0; }, "the streams");
      EXPECT_EQ(t.alive, 0) << "a goroutine has ended before the tasks of its stream";
      rt.shut_down();
    }
    for (auto& s : stories) {
      EXPECT_LE(static_cast<std::size_t>(s.most), s.at_most);
      EXPECT_LE(static_cast<std::size_t>(s.began), s.inputs.size());
    }
  });
}

}  // namespace
