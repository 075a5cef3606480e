// SPDX-License-Identifier: BSL-1.0
#include <runnel/go.hpp>

#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/run.hpp>
#include <runnel/runtime.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include "support/conserves_frames.hpp"
#include "support/wait_until.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
using runnel_test::eventually;
using runnel_test::on_1_2_and_4_threads;
using runnel_test::wait_until;

class go : public runnel_test::conserves_frames {};

// ---- Callables and arguments ----

rn::task<> take(std::unique_ptr<int> p, std::atomic<int>& out) {
  co_await rn::yield();
  out += *p;
}
rn::task<> take_only(std::unique_ptr<std::atomic<int>*> p) {
  co_await rn::yield();
  ++**p;
}

// GO-C01
TEST_F(go, moves_its_arguments_into_the_goroutine) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> out{0};
    auto p = std::make_unique<int>(5);
    rn::go(take, std::move(p), std::ref(out));
    EXPECT_FALSE(p);  // at the call
    co_await eventually([&] { return out == 5; });
    // A function whose parameters are exactly the arguments is itself the root of its goroutine.
    rn::go(take_only, std::make_unique<std::atomic<int>*>(&out));
    co_await eventually([&] { return out == 6; });
  });
}

struct copies {
  int made = 0;
  copies() = default;
  copies(const copies& other) : made(other.made + 1) {}
  copies(copies&& other) noexcept : made(other.made) {}
};
rn::task<> count_copies(copies c, rn::chan<int> out) { co_await out.send(c.made); }

// GO-C01
TEST_F(go, copies_an_lvalue_once_and_an_rvalue_never) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<int> out(0);
    copies c;
    rn::go(count_copies, c, out);
    EXPECT_EQ(co_await out.recv(), 1);
    rn::go(count_copies, copies(), out);
    EXPECT_EQ(co_await out.recv(), 0);
    rn::go([](copies x, rn::chan<int> o) -> rn::task<> { co_await o.send(x.made); }, c, out);
    EXPECT_EQ(co_await out.recv(), 1);
    auto generic = [](auto x, auto o) -> rn::task<> { co_await o.send(x.made); };
    rn::go(generic, c, out);
    EXPECT_EQ(co_await out.recv(), 1);
  });
}

rn::task<> increment(int& x, rn::chan<void> done) {
  co_await rn::yield();
  ++x;
  co_await done.send();
}

// GO-C01
TEST_F(go, passes_a_reference_that_is_wrapped) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    int x = 1;
    rn::chan<void> done(0);
    rn::go(increment, std::ref(x), done);
    EXPECT_TRUE(co_await done.recv());
    EXPECT_EQ(x, 2);
  });
}

rn::task<> by_view(std::string_view text, rn::chan<std::string> out) {
  co_await rn::yield();
  co_await out.emplace(text);
}
rn::task<> by_constant(const std::string& text, rn::chan<std::string> out) {
  co_await rn::yield();
  co_await out.send(text);
}
rn::task<> by_pointer(const char* text, rn::chan<std::string> out) {
  co_await rn::yield();
  co_await out.emplace(text);
}

// GEN-16: what a view or a reference refers to is in the goroutine's frame.
TEST_F(go, keeps_what_view_and_reference_parameters_refer_to) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<std::string> out(0);
    const std::string want(200, 'x');
    {
      std::string text = want;
      rn::go(by_view, text, out);
      rn::go(by_view, std::move(text), out);
      text.assign(200, 'o');
      rn::go(by_constant, std::string(want), out);
    }
    for (int i = 0; i < 3; ++i) EXPECT_EQ(co_await out.recv(), want);
    char array[] = "array";
    rn::go(by_pointer, array, out);
    EXPECT_EQ(co_await out.recv(), "array");
  });
}

// GEN-16
TEST_F(go, keeps_the_captures_of_a_lambda_as_long_as_its_goroutine) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    rn::chan<std::string> out(0);
    std::weak_ptr<std::string> watch;
    {
      auto text = std::make_shared<std::string>(200, 'x');
      watch = text;
      auto f = [text, out]() -> rn::task<> {
        for (int i = 0; i < 3; ++i) {
          co_await rn::yield();
          co_await out.send(*text);
        }
      };
      rn::go(std::move(f));
    }
    for (int i = 0; i < 3; ++i) {
      EXPECT_FALSE(watch.expired());
      EXPECT_EQ(co_await out.recv(), std::string(200, 'x'));
    }
    co_await eventually([&] { return watch.expired(); });
  });
}

struct server {
  std::atomic<int> served{0};
  rn::task<> serve(int n) {
    co_await rn::yield();
    served += n;
  }
  void poke() { ++served; }
  rn::task<> operator()(int n) {
    co_await rn::yield();
    served += n;
  }
};
int plain(std::atomic<int>& out) { return ++out; }
rn::task<std::string> returns_something(std::atomic<int>& out) {
  ++out;
  co_return "dropped";
}

TEST_F(go, takes_plain_functions_members_objects_and_what_returns_something) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> out{0};
    server s;
    rn::go(plain, std::ref(out));
    rn::go(returns_something, std::ref(out));
    rn::go([&out] { ++out; });
    rn::go(std::function<void()>([&out] { ++out; }));
    rn::go(&server::serve, &s, 10);
    rn::go(&server::poke, std::ref(s));
    rn::go(std::ref(s), 100);
    auto many = [](std::atomic<int>& sum, int a, int b, int c, int d, int e) { sum += a + b + c + d + e; };
    rn::go(many, std::ref(out), 1, 2, 3, 4, 5);
    co_await eventually([&] { return out == 19 && s.served == 111; });
  });
}

// GO-01
TEST_F(go, returns_at_once) {
  rn::runtime rt(rn::threads(1));
  rt.run([]() -> rn::task<> {
    bool ran = false;
    rn::go([&] { ran = true; });
    EXPECT_FALSE(ran);
    co_await eventually([&] { return ran; });
  });
}

struct throws_when_copied {
  throws_when_copied() = default;
  throws_when_copied(const throws_when_copied&) { throw std::runtime_error("a copy failed"); }
};

// GO-01
TEST_F(go, throws_what_copying_an_argument_throws_and_starts_nothing) {
  rn::runtime rt(rn::threads(1));
  throws_when_copied c;
  std::atomic<bool> ran{false};
  EXPECT_THROW(rt.go([&](const throws_when_copied&) { ran = true; }, c), std::runtime_error);
  EXPECT_EQ(rt.live(), 0u);
  rt.run([&]() -> rn::task<> {
    EXPECT_THROW(rn::go([&](const throws_when_copied&) { ran = true; }, c), std::runtime_error);
    co_return;
  });
  wait_until([&] { return rt.live() == 0; });  // the app's own goroutine may still be ending
  EXPECT_FALSE(ran);
}

// ---- Where it can be called ----

TEST_F(go, outside_of_a_runtime_is_misuse) {
  bool ran = false;
  auto frames = rn::detail::frame_pool_stats().live_blocks;
  try {
    rn::go([&] { ran = true; });
    ADD_FAILURE() << "something was started";
  } catch (const rn::misuse_error& e) {
    EXPECT_NE(std::string(e.what()).find("outside of a runtime"), std::string::npos);
  }
  EXPECT_FALSE(ran);
  EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, frames);
}

TEST_F(go, from_another_thread_goes_to_the_runtime_that_is_named) {
  rn::runtime rt(rn::threads(2));
  std::atomic<int> n{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) rt.go([&n] { ++n; });
    });
  for (auto& t : threads) t.join();
  wait_until([&] { return n == 600; });
  wait_until([&] { return rt.live() == 0; });
}

rn::task<> spawn_while_ending(std::atomic<int>& refused, std::atomic<bool>& ran, rn::chan<void> nobody) {
  auto work = [&]() -> rn::task<> {
    while (refused == 0) {  // shielded: shutdown waits for it
      try {
        rn::go([&] { ran = true; });
        ran = false;
      } catch (const rn::shutting_down&) {
        ++refused;
      }
      co_await rn::yield();
    }
  };
  co_await rn::shield(work());
  co_await nobody.recv();
}

// DESIGN section 4: nothing new starts once shutdown has begun.
TEST_F(go, during_shutdown_is_refused) {
  std::atomic<int> refused{0};
  std::atomic<bool> ran{false};
  rn::runtime rt(rn::threads(2));
  rt.go(spawn_while_ending, std::ref(refused), std::ref(ran), rn::chan<void>(0));
  rt.shut_down();
  EXPECT_EQ(refused, 1);
  EXPECT_EQ(rt.live(), 0u);
  ran = false;
  EXPECT_THROW(rt.go([&] { ran = true; }), rn::shutting_down);
  EXPECT_THROW(rt.run([&]() -> rn::task<> { return spawn_while_ending(refused, ran, {}); }), rn::shutting_down);
  EXPECT_FALSE(ran);
}

// ---- Errors ----

rn::task<> fails(const char* with) {
  co_await rn::yield();
  throw std::runtime_error(with);
}

// GO-C02, DESIGN section 4
TEST_F(go, an_error_goes_to_the_handler_with_the_place_where_it_was_started) {
  std::atomic<int> handled{0};
  std::string what;
  unsigned line = 0;
  rn::runtime rt(rn::threads(2), rn::runtime_options().on_error([&](const rn::goroutine_error& e) {
    try {
      std::rethrow_exception(e.error);
    } catch (const std::exception& x) {
      what = x.what();
    }
    line = static_cast<unsigned>(e.where.line());
    ++handled;
  }));
  unsigned expected_line = 0;
  rt.run([&]() -> rn::task<> {
    expected_line = static_cast<unsigned>(std::source_location::current().line()) + 1;
    rn::go(fails, "on purpose");
    co_await eventually([&] { return handled == 1; });
    EXPECT_FALSE(rn::this_context().is_done());  // the handler decides: nothing is cancelled
  });
  EXPECT_EQ(what, "on purpose");
  EXPECT_EQ(line, expected_line);
  EXPECT_FALSE(rt.core().failed());
}

// GO-C02, DESIGN section 4
TEST_F(go, an_error_without_a_handler_is_printed_and_cancels_everything) {
  ::testing::internal::CaptureStderr();
  {
    rn::runtime rt(rn::threads(2));
    EXPECT_THROW(rt.run([]() -> rn::task<> {
                   rn::go(fails, "on purpose");
                   co_await rn::chan<int>().recv();
                 }),
                 rn::canceled);
    EXPECT_TRUE(rt.core().failed());
  }
  std::string printed = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(printed.find("on purpose"), std::string::npos) << printed;
  EXPECT_NE(printed.find("go_test.cpp"), std::string::npos) << printed;
}

int count(const std::string& text, const std::string& what) {
  int n = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++n;
  return n;
}

// The library's own errors begin with its name, and so do its lines: it is said once.
TEST_F(go, an_error_of_the_librarys_own_is_printed_with_its_name_once) {
  ::testing::internal::CaptureStderr();
  {
    rn::runtime rt(rn::threads(1));
    rt.run([]() -> rn::task<> {
      rn::go([] { throw rn::canceled(); });
      rn::go([] { throw rn::deadline_exceeded(); });
      co_await eventually([] { return rn::detail::runtime_core::here()->live() == 1; });
    });
    rt.core().unobserved(std::make_exception_ptr(rn::closed_channel()), std::source_location::current());
    EXPECT_THROW(rt.run([]() -> rn::task<> {
                   rn::go([] { rn::chan<int>().close(); });
                   co_await rn::chan<int>().recv();
                 }),
                 rn::canceled);
  }
  std::string printed = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(count(printed, "\n"), 4) << printed;
  EXPECT_EQ(count(printed, "runnel: "), 4) << printed;
  EXPECT_EQ(count(printed, "deadline exceeded (started at "), 1) << printed;
  EXPECT_EQ(count(printed, "close of the nil channel (started at "), 1) << printed;
}

// What runtime::run was given has no place, and none is made up.
TEST_F(go, an_unknown_place_is_not_printed) {
  ::testing::internal::CaptureStderr();
  rn::runtime rt(rn::threads(1));
  rt.core().unobserved(std::make_exception_ptr(std::runtime_error("on purpose")), std::source_location());
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "runnel: an error that nobody waits for: on purpose\n");
}

rn::task<int> app_with_a_failing_goroutine() {
  rn::go(fails, "on purpose");
  co_await rn::chan<int>().recv();
  co_return 0;
}

// GO-C02, GO-C04
TEST_F(go, an_error_without_a_handler_makes_run_return_one) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(rn::run(rn::threads(2), rn::no_signals, app_with_a_failing_goroutine), 1);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("on purpose"), std::string::npos);
}

rn::task<> gives_up(bool timed_out) {
  co_await rn::yield();
  if (timed_out) throw rn::deadline_exceeded();
  throw rn::canceled();
}

// DESIGN section 4: cancellation and timeouts are only logged.
TEST_F(go, a_cancellation_that_was_rethrown_is_only_printed) {
  ::testing::internal::CaptureStderr();
  std::atomic<int> handled{0};
  {
    rn::runtime rt(rn::threads(1), rn::runtime_options().on_error([&](const rn::goroutine_error&) { ++handled; }));
    rt.go(gives_up, false);
    rt.go(gives_up, true);
    wait_until([&] { return rt.live() == 0; });
    EXPECT_FALSE(rt.core().failed());
  }
  std::string printed = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(handled, 0);
  EXPECT_NE(printed.find("canceled"), std::string::npos) << printed;
  EXPECT_NE(printed.find("deadline exceeded"), std::string::npos) << printed;
}

// ---- What it inherits ----

struct request_id {
  using type = int;
};

rn::task<> look_at_context(std::atomic<int>& id, std::atomic<bool>& done, rn::chan<void> go_on, rn::chan<void> ended) {
  co_await go_on.recv();
  auto ctx = rn::this_context();
  if (auto* v = ctx.value<request_id>()) id = *v;
  done = ctx.is_done() || ctx.deadline().has_value();
  co_await ended.send();
}

// DESIGN section 4: it belongs to the runtime; values are inherited, deadline and cancellation are not.
TEST_F(go, inherits_values_but_neither_deadline_nor_cancellation) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> id{0};
    std::atomic<bool> done{false};
    rn::chan<void> go_on(0), ended(0);
    auto [ctx, cancel] = rn::context::background().with_value<request_id>(7).with_timeout(std::chrono::hours(1));
    auto body = [&]() -> rn::task<> {
      rn::go(look_at_context, std::ref(id), std::ref(done), go_on, ended);
      co_return;
    };
    co_await rn::with_context(ctx, body());
    cancel();
    co_await go_on.send();
    EXPECT_TRUE(co_await ended.recv());
    EXPECT_EQ(id, 7);
    EXPECT_FALSE(done);
  });
}

}  // namespace
