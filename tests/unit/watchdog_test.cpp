// SPDX-License-Identifier: BSL-1.0
// The watchdog of a runtime names what holds a thread, once, and nothing else.
#include <runnel/detail/stall_detector.hpp>
#include <runnel/detail/watchdog.hpp>

#include <runnel/all.hpp>
#include <runnel/blocking.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>

#include "support/conserves_frames.hpp"
#include "support/gate.hpp"
#include "support/until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <source_location>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using kind = rn::stall::kind_t;
using test_support::spin_until;
using test_support::wait_until;

// ---- The detector, told what time it is ----

class looked {
 public:
  explicit looked(std::chrono::nanoseconds limit = 10ns) : detector(2, limit) {}
  // What is found at this time, as "kind line held".
  std::vector<std::string> at(std::int64_t now) {
    std::vector<std::string> found;
    detector.look(
        now, [this](std::size_t i) { return progress[i]; },
        [&](const rn::stall& s) {
          found.push_back(std::to_string(static_cast<int>(s.kind)) + " " + std::to_string(s.where.line()) + " " +
                          std::to_string(s.held.count()));
        });
    return found;
  }
  rn::detail::stall_detector detector;
  std::uint32_t progress[2] = {0, 0};
};
using texts = std::vector<std::string>;

TEST(stall_detector, tells_of_a_turn_that_is_seen_for_longer_than_the_limit_and_tells_it_once) {
  looked l;
  auto here = std::source_location::current();
  EXPECT_EQ(l.at(0), texts());
  l.detector.begins(1, kind::goroutine, here);
  EXPECT_EQ(l.at(100), texts());  // seen for the first time
  EXPECT_EQ(l.at(109), texts());
  EXPECT_EQ(l.at(111), texts{"1 " + std::to_string(here.line()) + " 11"});
  EXPECT_EQ(l.at(500), texts());
  l.detector.ends(1);
  EXPECT_EQ(l.at(600), texts());
  l.detector.begins(1, kind::unwinding, here);  // another one is another stall
  EXPECT_EQ(l.at(700), texts());
  EXPECT_EQ(l.at(750), texts{"2 " + std::to_string(here.line()) + " 50"});
}

TEST(stall_detector, does_not_take_many_turns_for_one) {
  looked l;
  auto here = std::source_location::current();
  for (std::int64_t now = 0; now < 10'000; now += 100) {
    l.detector.begins(0, kind::goroutine, here);
    EXPECT_EQ(l.at(now), texts());
    l.detector.ends(0);
    EXPECT_EQ(l.at(now + 50), texts());
  }
}

TEST(stall_detector, does_not_take_an_idle_processor_for_one_that_is_held) {
  looked l;
  l.detector.begins(0, kind::child, {});
  l.detector.ends(0);
  for (std::int64_t now = 0; now < 1000; now += 100) EXPECT_EQ(l.at(now), texts());
}

TEST(stall_detector, a_turn_that_makes_progress_begins_anew) {
  looked l;
  l.detector.begins(0, kind::unwinding, {});
  EXPECT_EQ(l.at(0), texts());
  for (std::int64_t now = 100; now < 1000; now += 100) {
    ++l.progress[0];
    EXPECT_EQ(l.at(now), texts());
  }
  EXPECT_EQ(l.at(1000), texts{"2 0 100"});
}

TEST(stall_detector, processors_are_told_apart) {
  looked l;
  l.detector.begins(0, kind::goroutine, {});
  EXPECT_EQ(l.at(0), texts());
  l.detector.begins(1, kind::child, {});
  EXPECT_EQ(l.at(8), texts());
  EXPECT_EQ(l.at(12), texts{"1 0 12"});
  EXPECT_EQ(l.at(20), texts{"3 0 12"});
}

// Turns come and go as fast as they can; whatever is told has the place of its own turn.
TEST(stall_detector, a_place_is_never_another_turns) {
  rn::detail::stall_detector detector(1, 0ns);
  auto places = std::vector{std::source_location::current(), std::source_location::current()};
  auto other = std::source_location::current();
  places[1] = other;
  std::atomic<bool> stop{false};
  std::thread pump([&] {
    for (bool odd = false; !stop; odd = !odd) {
      detector.begins(0, odd ? kind::goroutine : kind::unwinding, places[odd]);
      detector.ends(0);
    }
  });
  std::int64_t now = 0;
  int told = 0, wrong = 0;
  auto give_up = std::chrono::steady_clock::now() + 300ms;
  while (std::chrono::steady_clock::now() < give_up)
    detector.look(
        ++now, [](std::size_t) { return 0u; },
        [&](const rn::stall& s) {
          ++told;
          if (s.where.line() != places[s.kind == kind::goroutine].line()) ++wrong;
        });
  stop = true;
  pump.join();
  EXPECT_EQ(wrong, 0) << "of " << told;
}

// ---- In a runtime ----

class watchdog : public runnel_test::conserves_frames {};

// What has been told.
class stalls {
 public:
  auto handler() {
    return [this](const rn::stall& s) {
      std::lock_guard hold(x_mutex);
      x_all.push_back(s);
    };
  }
  std::vector<rn::stall> all() {
    std::lock_guard hold(x_mutex);
    return x_all;
  }
  // Those of one line: a slow machine may hold others as well.
  std::size_t of_line(std::uint_least32_t line) {
    std::size_t n = 0;
    for (auto& s : all())
      if (s.where.line() == line) ++n;
    return n;
  }
  bool any(kind k) {
    for (auto& s : all())
      if (s.kind == k) return true;
    return false;
  }

 private:
  std::mutex x_mutex;
  std::vector<rn::stall> x_all;
};

TEST_F(watchdog, names_a_goroutine_that_holds_its_thread_once_and_while_it_does) {
  for (long threads : {1L, 2L, 4L}) {
    stalls found;
    std::atomic<bool> ended{false};
    std::uint_least32_t line = 0;
    {
      rn::runtime rt(rn::threads(threads), rn::runtime_options().watchdog(2ms, found.handler()));
      auto hog = [&] {  // it never waits for anything, so no report but this knows it
        EXPECT_TRUE(spin_until([&] { return found.of_line(line) != 0; }));
        auto until = std::chrono::steady_clock::now() + 10ms;  // long enough to be told again
        (void)spin_until([&] { return std::chrono::steady_clock::now() > until; });
        ended = true;
      };
      line = std::source_location::current().line() + 1;
      rt.go(hog);
      EXPECT_TRUE(wait_until([&] { return ended.load(); }));
      EXPECT_EQ(found.of_line(line), 1u);
    }
    for (auto& s : found.all())
      if (s.where.line() == line) {
        EXPECT_EQ(s.kind, kind::goroutine);
        EXPECT_GE(s.held, 2ms);
        EXPECT_NE(std::string(s.where.file_name()).find("watchdog_test.cpp"), std::string::npos);
      }
  }
}

TEST_F(watchdog, names_destructors_that_hold_the_thread_and_children_of_all) {
  stalls found;
  struct slow {
    stalls& found;
    ~slow() {
      EXPECT_TRUE(spin_until([this] { return found.any(kind::unwinding); }));
    }
  };
  rn::runtime rt(rn::threads(2), rn::runtime_options().watchdog(2ms, found.handler()));
  rt.run([&]() -> rn::task<> {
    std::atomic<bool> begun{false};
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      slow guard{found};
      begun = true;
      rn::chan<int> nobody;
      (void)co_await nobody.recv();
    });
    co_await test_support::until([&] { return begun.load(); });
    g.cancel();
    co_await g.wait();
    // One of them is stolen, or taken by the pump.
    auto child = [](stalls& s) -> rn::task<> {
      co_await rn::yield();
      EXPECT_TRUE(spin_until([&s] { return s.any(kind::child) || s.any(kind::goroutine); }));
    };
    co_await rn::all(child(found), child(found));
  });
  EXPECT_TRUE(found.any(kind::unwinding));
}

// What is waited for elsewhere holds no thread of the runtime.
TEST_F(watchdog, is_silent_about_a_blocking_call) {
  stalls found;
  // Long, so that a thread to which the system gives no time is not taken for one that is held.
  rn::runtime rt(rn::threads(1), rn::runtime_options().watchdog(500ms, found.handler()));
  std::atomic<std::uint_least32_t> line_of_hog{0};
  auto until_the_hog_is_told_of = [&] {  // by then a call that has been running for as long would have been, too
    EXPECT_TRUE(spin_until([&] { return line_of_hog != 0 && found.of_line(line_of_hog) != 0; }));
  };
  auto call = [&]() -> rn::task<> { co_await rn::blocking(until_the_hog_is_told_of); };
  auto line_of_call = std::source_location::current().line() + 1;
  rt.go(call);
  EXPECT_TRUE(wait_until([&] { return rt.core().blocking() != nullptr; }));
  line_of_hog = std::source_location::current().line() + 1;
  rt.go(until_the_hog_is_told_of);
  EXPECT_TRUE(wait_until([&] { return rt.live() == 0; }));
  EXPECT_EQ(found.of_line(line_of_call), 0u);
}

// While it is captured it is a file.
off_t size_of_stderr() {
  struct stat file {};
  return ::fstat(STDERR_FILENO, &file) == 0 ? file.st_size : 0;
}

TEST_F(watchdog, prints_where_nobody_handles_it) {
  ::testing::internal::CaptureStderr();
  {
    rn::runtime rt(rn::threads(1), rn::runtime_options().watchdog(1ms));
    auto hog = [] { EXPECT_TRUE(spin_until([] { return size_of_stderr() != 0; })); };
    rt.go(hog);
    EXPECT_TRUE(wait_until([&] { return rt.live() == 0; }));
  }
  auto printed = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(printed.find("runnel: a goroutine started at "), std::string::npos) << printed;
  EXPECT_NE(printed.find("watchdog_test.cpp:"), std::string::npos) << printed;
  EXPECT_NE(printed.find(" ms: use co_await rn::blocking(f), or yield"), std::string::npos) << printed;
}

TEST_F(watchdog, survives_a_handler_that_throws_and_works_beside_tracking) {
  std::atomic<int> told{0};
  ::testing::internal::CaptureStderr();
  {
    auto throws = [&](const rn::stall&) {
      ++told;
      throw std::runtime_error("handler");
    };
    rn::runtime rt(rn::threads(2), rn::runtime_options().track_goroutines().watchdog(1ms, throws));
    for (int i = 0; i < 2; ++i) {
      int before = told;
      rt.run([&] { EXPECT_TRUE(spin_until([&] { return told > before; })); });
    }
  }
  EXPECT_GE(told, 2);
  auto printed = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(printed.find("runnel: the handler of a watchdog threw"), std::string::npos) << printed;
}

TEST_F(watchdog, is_a_thread_only_where_it_is_asked_for_and_takes_a_millisecond_or_more) {
  auto before = runnel_test::count_threads();
  {
    rn::runtime rt{rn::threads(1)};
    EXPECT_TRUE(runnel_test::threads_become(before + 1));
    EXPECT_FALSE(rt.core().watch);
  }
  {
    rn::runtime rt(rn::threads(1), rn::runtime_options().watchdog(20ms));
    EXPECT_TRUE(runnel_test::threads_become(before + 2));
  }
  EXPECT_TRUE(runnel_test::threads_become(before));
  std::string said;
  try {
    (void)rn::runtime_options().watchdog(999us);
  } catch (const rn::misuse_error& e) {
    said = e.what();
  }
  EXPECT_EQ(said, "runnel: watchdog(d) takes at least a millisecond");
}

}  // namespace
