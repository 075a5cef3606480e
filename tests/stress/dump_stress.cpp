// SPDX-License-Identifier: BSL-1.0
// Reports from several threads while goroutines start, wait, join, are cancelled, time out and end at any moment.
#include <runnel.hpp>
#include <runnel/dump.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using stress::dice;

class dump_stress : public stress::stress_test {};

rn::task<> receive(rn::chan<int> ch) { (void)co_await ch.recv(); }

rn::task<> churn(rn::chan<int> ch, dice d, int levels) {
  switch (d.below(levels > 0 ? 8 : 4)) {
    case 0:
      co_await rn::sleep(d.microseconds(200));
      break;
    case 1:
      (void)ch.try_send(1);
      (void)co_await rn::as_result(rn::with_timeout(d.microseconds(200), ch.recv()));
      break;
    case 2: {
      rn::chan<int> gone(0);
      (void)co_await rn::as_result(rn::with_timeout(d.microseconds(100), receive(std::move(gone))));
      break;
    }
    case 3:
      for (unsigned i = d.below(10); i > 0; --i) co_await rn::yield();
      break;
    case 4:
      co_await rn::all(churn(ch, d.split(), levels - 1), churn(ch, d.split(), levels - 1));
      break;
    case 5:
      co_await rn::race(churn(ch, d.split(), levels - 1), churn(ch, d.split(), levels - 1));
      break;
    case 6:
      (void)co_await rn::as_result(rn::with_timeout(d.microseconds(300), churn(ch, d.split(), levels - 1)));
      break;
    default:
      co_await rn::with_errgroup(rn::limit(d.between(1, 3)), [&](rn::errgroup& g) -> rn::task<> {
        for (unsigned i = d.between(1, 5); i > 0; --i) g.go(churn, ch, d.split(), levels - 1);
        if (d.one_in(3)) g.cancel();
        co_return;
      });
  }
}

TEST_F(dump_stress, reports_of_a_program_that_runs_on) {
  run_rounds([&](unsigned threads, dice d) {
    std::atomic<bool> enough{false};
    std::atomic<int> reports{0};
    auto options = rn::runtime_options().on_unobserved_error([](const rn::goroutine_error&) {});
    if (d.one_in(2)) options.track_goroutines();
    rn::runtime rt(rn::threads(threads), std::move(options));
    std::vector<std::thread> readers;
    for (int i = 0; i < 2; ++i)
      readers.emplace_back([&, i] {
        while (!enough) {
          std::ostringstream out;
          if (i == 0)
            rn::dump(out);  // while other runtimes begin and end
          else
            rn::dump(out, rt);
          EXPECT_NE(out.str().find("runnel: "), std::string::npos);
          ++reports;
        }
      });
    rt.run([&](dice mine) -> rn::task<> {
      rn::chan<int> ch(2);
      for (int round = 0; round < 20; ++round) {
        co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
          for (int i = 0; i < 10; ++i) g.go(churn, ch, mine.split(), 3);
          co_return;
        });
        std::ostringstream out;
        rn::dump(out);  // from within
      }
    }, d.split());
    for (int i = 0; i < 20; ++i) rn::runtime short_lived(rn::threads(1));
    stress::wait_until([&] { return reports > 4; }, "reports");
    enough = true;
    for (auto& r : readers) r.join();
  });
}

}  // namespace
