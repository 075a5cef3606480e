// SPDX-License-Identifier: BSL-1.0
// Out of memory at every allocation of a select or a select_loop that has an operation of Asio: bad_alloc is thrown
// there, nothing is out afterwards, what operations have done is kept or was taken, and nothing leaks.
#include <runnel/io/use_task.hpp>

#include <runnel/all.hpp>
#include <runnel/chan.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/select_loop.hpp>

#include "support/checked_runtime.hpp"
#include "support/failing_allocations.hpp"
#include "support/manual_operation.hpp"

#include <gtest/gtest.h>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <utility>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using boost::system::error_code;
using runnel_test::aborted;
using runnel_test::allocation_watch;

class select_operation_out_of_memory : public runnel_test::failing_allocations {};

// While it lives the n-th allocation of this thread fails.
class failing {
 public:
  explicit failing(int n) { allocation_watch::here() = {true, false, 0, n}; }
  failing(const failing&) = delete;
  failing& operator=(const failing&) = delete;
  ~failing() { allocation_watch::here().armed = false; }
};

// Work fails the allocation with the number that it is given, and throws what comes of that. Returns how many failed.
template <class Work> int fail_each(Work work) {
  int failures = 0;
  test::checked_runtime rt(1);  // on one thread, so that all of it is under the watch
  rt.run([&]() -> rn::task<> {
    for (int n = 0;; ++n) {
      bool threw = false;
      const auto frames = rn::detail::frame_pool_stats().live_blocks;
      try {
        co_await work(n);
      } catch (const std::bad_alloc&) {
        threw = true;
      }
      const bool failed = allocation_watch::here().failed;
      EXPECT_EQ(threw, failed) << "allocation " << n;
      EXPECT_EQ(rn::detail::frame_pool_stats().live_blocks, frames) << "allocation " << n;
      if (!failed) break;
      ++failures;
    }
  });
  return failures;
}

// An operation that brings a value each time that it ends without an error: each value is to be taken, or kept, once.
struct bringing : runnel_test::manual_operation<error_code, std::shared_ptr<int>> {
  enum class when { at_once, when_asked, never };
  bringing() {
    on_start = [this] {
      if (brings == when::at_once) return bring();
      (void)begun.try_send(0);
    };
    on_cancel = [this] {
      if (brings == when::when_asked) return bring();
      complete(aborted, nullptr);
    };
  }
  void bring() {
    ++brought;
    complete({}, value);
  }
  void take(const std::shared_ptr<int>& v) { taken += v == value; }
  // Takes what was kept, if anything was; nothing else is left then.
  template <class Read> rn::task<> settle(Read& read) {
    EXPECT_FALSE(is_out());
    if (taken < brought) {
      on_start = [this] { complete(aborted, nullptr); };  // lost: it is as new
      auto kept = co_await std::move(read);
      if (kept) take(kept.value());
    }
    EXPECT_EQ(taken, brought);
  }

  when brings = when::at_once;
  int brought = 0, taken = 0;
  rn::chan<int> begun{1};  // has a value as soon as it is out
  std::shared_ptr<int> value = std::make_shared<int>(1);
};

TEST_F(select_operation_out_of_memory, a_select_throws_and_what_was_done_is_kept) {
  int failures = fail_each([](int n) -> rn::task<> {
    bringing io;
    auto read = io.start_step(rn::use_result);
    rn::chan<int> silent(0);
    std::exception_ptr error;
    try {
      failing now(n);
      io.brings = bringing::when::when_asked;
      co_await rn::select(rn::on(read, [] { ADD_FAILURE(); }), rn::on(io.begun.recv(), [] {}));
      auto on_read = [&](const rn::io_result<std::shared_ptr<int>>& r) { io.take(r.value()); };
      co_await rn::select(rn::on(read, on_read), rn::on(silent.recv(), [] {}));  // what was kept
      io.brings = bringing::when::never;
      co_await rn::select(rn::on(read, [] { ADD_FAILURE(); }), rn::on(io.begun.recv(), [] {}));
      io.brings = bringing::when::at_once;
      auto r = co_await rn::select(silent.recv(), read);
      io.take(r.get<1>().value());
    } catch (...) {
      error = std::current_exception();
    }
    co_await io.settle(read);
    if (error) std::rethrow_exception(error);
    EXPECT_EQ(io.brought, 2);
    EXPECT_EQ(io.starts(), 3);
  });
  EXPECT_GE(failures, RUNNEL_TEST_OPERATOR_NEW ? 7 : 4);  // a frame for each select, and what each start allocates
}

// The handler's own frame comes when the value has been taken: then it dies with it.
TEST_F(select_operation_out_of_memory, a_select_with_coroutine_handlers_throws_and_leaks_nothing) {
  int failures = fail_each([](int n) -> rn::task<> {
    bringing io;
    auto read = io.start_step(rn::use_task);
    rn::chan<int> silent(0);
    int handled = 0;
    auto on_read = [&](std::shared_ptr<int> v) -> rn::task<> {
      co_await rn::yield();
      handled += *v;
    };
    std::exception_ptr error;
    try {
      failing now(n);
      co_await rn::select(rn::on(read, on_read), rn::on(silent.recv(), [] {}));
    } catch (...) {
      error = std::current_exception();
    }
    EXPECT_FALSE(io.is_out());
    EXPECT_EQ(handled, error ? 0 : 1);
    if (error && io.brought == 1) {
      io.on_start = [&] { io.complete(aborted, nullptr); };
      try {
        (void)co_await std::move(read);
      } catch (const boost::system::system_error&) {
      }
    }
    EXPECT_EQ(io.value.use_count(), 1);
    if (error) std::rethrow_exception(error);
  });
  EXPECT_GE(failures, 3);  // the select, the call of the handler, the handler
}

// Of a channel too; what is behind that element stays there.
TEST_F(select_operation_out_of_memory, a_coroutine_handler_loses_the_one_element_that_was_taken_for_it) {
  for (bool loop : {false, true}) {
    int failures = fail_each([&](int n) -> rn::task<> {
      rn::chan<std::shared_ptr<int>> ch(2);
      auto element = std::make_shared<int>(1);
      for (int i = 0; i < 2; ++i) co_await ch.send(element);
      int handled = 0;
      auto on_value = [&](std::optional<std::shared_ptr<int>> v) -> rn::task<> {
        co_await rn::yield();
        handled += **v;
      };
      auto on_value_of_loop = [&](std::optional<std::shared_ptr<int>> v) -> rn::task<rn::loop_control> {
        co_await rn::yield();
        handled += **v;
        co_return rn::stop;
      };
      std::exception_ptr error;
      try {
        failing now(n);
        if (loop)
          co_await rn::select_loop(rn::on(ch.recv(), on_value_of_loop));
        else
          co_await rn::select(rn::on(ch.recv(), on_value));
      } catch (...) {
        error = std::current_exception();
      }
      EXPECT_EQ(handled, error ? 0 : 1);
      EXPECT_EQ(ch.len(), n == 0 ? 2u : 1u) << "without memory for the select itself nothing was taken";
      EXPECT_EQ(element.use_count(), 1 + static_cast<long>(ch.len()));
      if (error) std::rethrow_exception(error);
    });
    EXPECT_GE(failures, 3);  // the select, the call of the handler, the handler
  }
}

TEST_F(select_operation_out_of_memory, a_loop_throws_and_what_was_done_is_kept) {
  for (bool coroutines : {false, true}) {
    int failures = fail_each([&](int n) -> rn::task<> {
      bringing io;
      auto read = io.start_step(rn::use_result);
      rn::chan<std::shared_ptr<int>> ch(4);
      auto element = std::make_shared<int>(1);
      for (int i = 0; i < 4; ++i) co_await ch.send(element);
      int received = 0;
      std::exception_ptr error;
      try {
        failing now(n);
        auto on_read = [&](const rn::io_result<std::shared_ptr<int>>& r) {
          io.take(r.value());
          return io.taken == 3 ? rn::stop : rn::next;
        };
        if (coroutines) {
          auto on_element = [&](std::optional<std::shared_ptr<int>> v) -> rn::task<> {
            received += **v;
            co_return;
          };
          co_await rn::select_loop(rn::on(read, on_read), rn::on(ch.recv(), on_element));
        } else {
          auto on_element = [&](std::optional<std::shared_ptr<int>> v) { received += **v; };
          co_await rn::select_loop(rn::on(read, on_read), rn::on(ch.recv(), on_element));
        }
      } catch (...) {
        error = std::current_exception();
      }
      co_await io.settle(read);
      const int lost = 4 - received - static_cast<int>(ch.len());
      EXPECT_TRUE(lost == 0 || (lost == 1 && coroutines && error)) << lost;  // its handler had no frame
      EXPECT_EQ(element.use_count(), 1 + static_cast<long>(ch.len()));
      if (error) std::rethrow_exception(error);
      EXPECT_EQ(io.taken, 3);
      EXPECT_EQ(received, 4);
    });
    EXPECT_GE(failures, coroutines ? 5 : 1);
  }
}

TEST_F(select_operation_out_of_memory, a_loop_that_leaves_an_operation_out_waits_for_its_end) {
  int failures = fail_each([](int n) -> rn::task<> {
    for (auto how : {bringing::when::when_asked, bringing::when::never}) {
      bringing io;
      io.brings = how;
      auto read = io.start_step(rn::use_result);
      std::exception_ptr error;
      try {
        failing now(n);
        auto on_begun = []() -> rn::task<rn::loop_control> {
          co_await rn::yield();
          co_return rn::stop;
        };
        co_await rn::select_loop(rn::on(read, [] { ADD_FAILURE(); }), rn::on(io.begun.recv(), on_begun));
      } catch (...) {
        error = std::current_exception();
      }
      co_await io.settle(read);
      if (error) std::rethrow_exception(error);
    }
  });
  EXPECT_GE(failures, 3);
}

// Becoming a goroutine takes memory, and so does what Asio keeps of a timer.
TEST_F(select_operation_out_of_memory, in_a_child_of_all_throws_there) {
  int failures = fail_each([](int n) -> rn::task<> {
    bringing io;
    io.brings = bringing::when::when_asked;
    auto read = io.start_step(rn::use_result);
    auto child = [&]() -> rn::task<> {
      failing now(n);
      co_await rn::select(rn::on(read, [] { ADD_FAILURE(); }), rn::on(io.begun.recv(), [] {}));
    };
    auto other = []() -> rn::task<> { co_return; };
    std::exception_ptr error;
    try {
      co_await rn::all(child(), other());
    } catch (...) {
      error = std::current_exception();
    }
    co_await io.settle(read);
    if (error) std::rethrow_exception(error);
  });
  EXPECT_GE(failures, 3);
}

TEST_F(select_operation_out_of_memory, a_timer_of_asio_is_a_case_or_throws) {
  int failures = fail_each([](int n) -> rn::task<> {
    rn::chan<int> silent(0);
    asio::steady_timer late(rn::this_executor(), 1h), soon(rn::this_executor(), 1us);
    failing now(n);
    co_await rn::select(late.async_wait(rn::use_task), soon.async_wait(rn::use_task), silent.recv());
    auto stop = [] { return rn::stop; };
    co_await rn::select_loop(rn::on(late.async_wait(rn::use_task), [] {}), rn::on(soon.async_wait(rn::use_task), stop));
  });
  EXPECT_GE(failures, 2);
}

std::atomic<bool> fails_now{false};
std::atomic<unsigned> frames_asked{0};
bool fails_now_and_then(std::size_t) noexcept { return fails_now && ++frames_asked % 7 == 0; }

// Several at once, where nobody knows which of them fails.
TEST_F(select_operation_out_of_memory, now_and_then_many_loops_lose_nothing) {
  rn::detail::frame_alloc_hook = &fails_now_and_then;
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::atomic<int> threw = 0, begun = 0;
    auto loops = [&]() -> rn::task<> {
      ++begun;
      while (!fails_now) co_await rn::yield();
      for (int round = 0; round < 100; ++round) {
        bringing io;
        io.brings = round % 2 == 0 ? bringing::when::at_once : bringing::when::when_asked;
        auto read = io.start_step(rn::use_result);
        auto on_read = [&](const rn::io_result<std::shared_ptr<int>>& r) {
          io.take(r.value());
          return io.taken == 3 ? rn::stop : rn::next;
        };
        auto on_begun = []() -> rn::task<rn::loop_control> {
          co_await rn::yield();
          co_return rn::stop;
        };
        try {
          co_await rn::select_loop(rn::on(read, on_read), rn::on(io.begun.recv(), on_begun));
        } catch (const std::bad_alloc&) {
          ++threw;
        }
        for (bool settled = false; !settled;) try {
            co_await io.settle(read);
            settled = true;
          } catch (const std::bad_alloc&) {  // for its frame
          }
      }
    };
    rn::errgroup g;
    for (int i = 0; i < 8; ++i) g.go(loops);
    co_await test::until([&] { return begun == 8; });
    fails_now = true;
    co_await g.wait();
    fails_now = false;
    EXPECT_GE(threw, 1);
  });
}

}  // namespace
