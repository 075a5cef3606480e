// SPDX-License-Identifier: BSL-1.0
// run: a whole program's exit code, and what signals do to it. Each case is a process of its own.
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/go.hpp>
#include <runnel/run.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using ::testing::ExitedWithCode;
using ::testing::KilledBySignal;

[[noreturn]] void leave_with(int code) {
  std::fflush(nullptr);
  std::_Exit(code);
}

rn::task<> for_ever() { co_await rn::chan<int>().recv(); }

class run_test : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(run_test, it_returns_the_apps_int) {
  EXPECT_EQ(rn::run(rn::threads(1), []() -> rn::task<int> { co_return 7; }), 7);
  EXPECT_EQ(rn::run([](int a, int b) -> rn::task<int> { co_return a * b; }, 3, 4), 12);
  EXPECT_EQ(rn::run(rn::no_signals, rn::threads(1), []() -> rn::task<int> { co_return -1; }), -1);
}

TEST_F(run_test, it_returns_0_for_a_task_of_nothing) {
  EXPECT_EQ(rn::run(rn::threads(1), []() -> rn::task<> { co_return; }), 0);
}

TEST_F(run_test, it_returns_1_after_an_exception_and_prints_its_message) {
  EXPECT_EXIT(leave_with(rn::run(rn::threads(1), []() -> rn::task<int> {
                throw std::runtime_error("the disk is full");
                co_return 0;
              })),
              ExitedWithCode(1), "the disk is full");
  EXPECT_EXIT(leave_with(rn::run(rn::threads(1), []() -> rn::task<> {
                throw 3;
                co_return;
              })),
              ExitedWithCode(1), "not a std::exception");
}

TEST_F(run_test, an_error_of_the_librarys_own_is_printed_with_its_name_once) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(rn::run(rn::threads(1), [] { rn::chan<int>().close(); }), 1);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "runnel: an exception left the app: close of the nil channel\n");
}

TEST_F(run_test, it_returns_1_after_an_error_in_a_goroutine) {
  EXPECT_EXIT(leave_with(rn::run(rn::threads(1), []() -> rn::task<int> {
                rn::go([]() -> rn::task<> {
                  throw std::runtime_error("in a goroutine");
                  co_return;
                });
                co_await for_ever();
                co_return 0;
              })),
              ExitedWithCode(1), "in a goroutine");
}

// Also when the app does not care.
TEST_F(run_test, an_error_in_a_goroutine_outweighs_the_apps_result) {
  EXPECT_EXIT(leave_with(rn::run(rn::threads(1), []() -> rn::task<int> {
                rn::go([]() -> rn::task<> {
                  throw std::runtime_error("in a goroutine");
                  co_return;
                });
                for (int i = 0; i < 10; ++i) co_await rn::shield(rn::yield());
                co_return 0;
              })),
              ExitedWithCode(1), "in a goroutine");
}

void cancelled_by(int signal) {
  leave_with(rn::run(rn::threads(2), [signal]() -> rn::task<> {
    ::kill(::getpid(), signal);
    co_await for_ever();
  }));
}

TEST_F(run_test, a_signal_cancels_it_and_it_returns_128_and_the_signal) {
  EXPECT_EXIT(cancelled_by(SIGTERM), ExitedWithCode(128 + SIGTERM), "");
  EXPECT_EXIT(cancelled_by(SIGINT), ExitedWithCode(128 + SIGINT), "");
}

TEST_F(run_test, after_a_signal_the_app_is_unwound_and_its_goroutines_too) {
  EXPECT_EXIT(
      {
        struct says {
          const char* what;
          ~says() { std::fprintf(stderr, "%s ", what); }
        };
        int code = rn::run(rn::threads(1), []() -> rn::task<> {
          says a{"app"};
          rn::go([]() -> rn::task<> {
            says b{"goroutine"};
            co_await for_ever();
          });
          co_await rn::yield();
          ::kill(::getpid(), SIGTERM);
          co_await for_ever();
        });
        std::fprintf(stderr, "code %d", code);
        leave_with(0);
      },
      ExitedWithCode(0), "(app goroutine|goroutine app) code 143");
}

// What ends well in spite of the signal has its own result.
TEST_F(run_test, an_app_that_finishes_after_a_signal_returns_its_own_int) {
  EXPECT_EXIT(leave_with(rn::run(rn::threads(2), []() -> rn::task<int> {
                ::kill(::getpid(), SIGTERM);
                co_await rn::this_context().done();
                co_return 9;
              })),
              ExitedWithCode(9), "");
}

// Somebody presses Ctrl-C again, or the service manager has lost its patience.
TEST_F(run_test, a_second_signal_ends_it_at_once) {
  auto app = [](int second) -> rn::task<> {
    ::kill(::getpid(), SIGINT);
    co_await rn::this_context().done();
    co_await rn::shield(rn::sleep(300ms));  // a person's second time, not an echo
    ::kill(::getpid(), second);
    co_await rn::shield(for_ever());
  };
  EXPECT_EXIT(leave_with(rn::run(rn::threads(2), app, SIGINT)), KilledBySignal(SIGINT), "");
  EXPECT_EXIT(leave_with(rn::run(rn::threads(2), app, SIGTERM)), KilledBySignal(SIGTERM), "");
}

// This thread, and those that it starts later.
void let_signals_in(bool yes) {
  sigset_t both;
  sigemptyset(&both);
  sigaddset(&both, SIGINT);
  sigaddset(&both, SIGTERM);
  ::pthread_sigmask(yes ? SIG_UNBLOCK : SIG_BLOCK, &both, nullptr);
}

// Where no thread lets signals in: it has been handled when this returns, however late the others are.
void raise_here(int signal) {
  let_signals_in(true);
  std::raise(signal);
  let_signals_in(false);
}

// timeout(1) signals the process and then its group; a terminal signals the group, and a wrapper in it hands that on.
TEST_F(run_test, a_signal_that_comes_twice_at_once_is_one) {
  auto app = [](int second) -> rn::task<> {
    auto first = std::chrono::steady_clock::now();
    raise_here(SIGINT);
    co_await rn::this_context().done();
    for (int i = 0; i < 3 && std::chrono::steady_clock::now() - first < 100ms; ++i) {
      raise_here(second);
      co_await rn::shield(rn::sleep(2ms));  // each is seen on its own
    }
    co_await rn::yield();
  };
  auto run_it = [&](int second) {
    let_signals_in(false);
    leave_with(rn::run(rn::threads(2), app, second));
  };
  EXPECT_EXIT(run_it(SIGINT), ExitedWithCode(128 + SIGINT), "");
  EXPECT_EXIT(run_it(SIGTERM), ExitedWithCode(128 + SIGINT), "");
}

int handled = 0;
void own_handler(int) { ++handled; }

TEST_F(run_test, signal_handlers_are_as_before_when_it_returns) {
  EXPECT_EXIT(
      {
        std::signal(SIGTERM, own_handler);
        std::signal(SIGINT, SIG_IGN);
        rn::run(rn::threads(1), []() -> rn::task<> { co_return; });
        std::raise(SIGTERM);
        struct sigaction now {};
        ::sigaction(SIGINT, nullptr, &now);
        leave_with(handled == 1 && now.sa_handler == SIG_IGN ? 0 : 1);
      },
      ExitedWithCode(0), "");
}

TEST_F(run_test, no_signals_leaves_them_alone) {
  EXPECT_EXIT(
      {
        std::signal(SIGTERM, own_handler);
        int code = rn::run(rn::no_signals, rn::threads(1), []() -> rn::task<int> {
          std::raise(SIGTERM);
          co_await rn::yield();
          co_return 4;
        });
        leave_with(handled == 1 ? code : 100);
      },
      ExitedWithCode(4), "");
  EXPECT_EXIT(leave_with(rn::run(rn::no_signals, rn::threads(1),
                                 []() -> rn::task<> {
                                   ::kill(::getpid(), SIGTERM);
                                   co_await for_ever();
                                 })),
              KilledBySignal(SIGTERM), "");
}

// A run inside another program's run leaves the signals to the first.
TEST_F(run_test, it_may_run_again_and_the_signals_work_again) {
  EXPECT_EXIT(
      {
        for (int i = 0; i < 3; ++i)
          if (rn::run(rn::threads(1), []() -> rn::task<> {
                ::kill(::getpid(), SIGTERM);
                co_await for_ever();
              }) != 128 + SIGTERM)
            leave_with(1);
        leave_with(0);
      },
      ExitedWithCode(0), "");
}

TEST_F(run_test, what_is_left_when_the_app_ends_is_cancelled_and_joined) {
  bool unwound = false;
  struct guard {
    bool& flag;
    ~guard() { flag = rn::unwinding(); }
  };
  EXPECT_EQ(rn::run(rn::threads(1),
                    [&]() -> rn::task<> {
                      rn::go([&]() -> rn::task<> {
                        guard g{unwound};
                        co_await for_ever();
                      });
                      co_await rn::yield();
                    }),
            0);
  EXPECT_TRUE(unwound);
}

TEST_F(run_test, runtime_options_reach_the_runtime) {
  int seen = 0;
  auto options = rn::runtime_options().on_error([&](const rn::goroutine_error&) { ++seen; });
  EXPECT_EQ(rn::run(rn::threads(1), std::move(options),
                    []() -> rn::task<int> {
                      rn::go([]() -> rn::task<> {
                        throw std::runtime_error("x");
                        co_return;
                      });
                      co_await rn::yield();
                      co_return 2;
                    }),
            2);
  EXPECT_EQ(seen, 1);
}

// Misuse, thrown at the call.
TEST_F(run_test, it_is_refused_on_a_goroutine) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    EXPECT_THROW((void)rn::run(rn::threads(1), [] {}), rn::misuse_error);
    co_return;
  });
}

TEST_F(run_test, an_app_that_throws_canceled_itself_says_so) {
  EXPECT_EXIT(leave_with(rn::run(rn::threads(1), []() -> rn::task<> {
                throw rn::canceled();
                co_return;
              })),
              ExitedWithCode(1), "cancel");
}

}  // namespace
