// SPDX-License-Identifier: BSL-1.0
// Reads that are put off for two turns of Asio's queue: what they find then, and what may happen meanwhile.
#include <runnel/io/transfer.hpp>
#include <runnel/io/use_task.hpp>

#include <runnel/as_result.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include "support/conserves_frames.hpp"

#include <gtest/gtest.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using stream = asio::local::stream_protocol::socket;

class deferral : public runnel_test::conserves_frames {};

// From here on all reads of this goroutine's world are put off.
void put_all_off() { rn::detail::world_of(*rn::detail::current_goroutine()).deferral->set_endless(); }

template <class App> void on_1_2_and_4_threads(App app) {
  for (int n : {1, 2, 4}) {
    rn::runtime rt(rn::threads(n), rn::runtime_options().deferred_reads());
    rt.run(app);
  }
}

struct connection {
  explicit connection(const asio::any_io_executor& ex) : near(ex), far(ex) { asio::local::connect_pair(near, far); }
  connection() : connection(rn::this_executor()) {}
  stream near, far;
};

rn::task<rn::io_result<std::size_t>> read_into(stream& s, std::string& out) {
  std::array<char, 16> bytes;
  auto r = co_await rn::read_some(s, asio::buffer(bytes), rn::use_result);
  out.assign(bytes.data(), r.partial());
  co_return r;
}

TEST_F(deferral, what_came_before_the_second_turn_is_read_in_it) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1), rn::runtime_options().deferred_reads());
  connection c(io.get_executor());
  std::string log, text;
  sched.go([&]() -> rn::task<> {
    put_all_off();
    (void)co_await read_into(c.near, text);
    log += "read ";
  });
  io.poll_one();  // it runs, and its read is put off
  asio::post(io, [&] {
    log += "written ";
    c.far.write_some(asio::buffer("abc", 3));
  });
  io.poll_one();
  EXPECT_EQ(log, "");
  io.poll_one();
  EXPECT_EQ(log, "written ");
  io.poll_one();
  EXPECT_EQ(log, "written read ");
  EXPECT_EQ(text, "abc");
  io.run();
}

TEST_F(deferral, what_comes_later_is_waited_for) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    put_all_off();
    connection c;
    std::string text;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      co_await rn::sleep(2ms);
      c.far.write_some(asio::buffer("late", 4));
    });
    (void)co_await read_into(c.near, text);
    EXPECT_EQ(text, "late");
    co_await g.wait();
  });
}

TEST_F(deferral, a_conversation_of_many_is_whole) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    put_all_off();
    rn::errgroup g;
    for (int i = 0; i < 40; ++i)
      g.go([]() -> rn::task<> {
        connection c;
        rn::errgroup both;
        both.go([&]() -> rn::task<> {
          for (std::string text;;) {
            auto r = co_await read_into(c.far, text);
            if (!r) break;
            co_await rn::write(c.far, asio::buffer(text));
          }
        });
        std::string text;
        for (int n = 0; n < 50; ++n) {
          const std::string said = std::to_string(n);
          co_await rn::write(c.near, asio::buffer(said));
          (void)co_await read_into(c.near, text);
          EXPECT_EQ(text, said);
        }
        c.near.close();
        co_await both.wait();
      });
    co_await g.wait();
  });
}

TEST_F(deferral, a_cancellation_meanwhile_loses_nothing) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1), rn::runtime_options().deferred_reads());
  connection c(io.get_executor());
  auto [ctx, cancel] = rn::context::background().with_cancel();
  std::string text, after;
  bool canceled = false;
  sched.go([&, under = ctx]() -> rn::task<> {
    put_all_off();
    auto r = co_await rn::as_result(rn::with_context(under, read_into(c.near, text)));
    canceled = r.canceled();
    (void)co_await read_into(c.near, after);
  });
  io.poll_one();
  c.far.write_some(asio::buffer("abc", 3));
  c.far.close();  // nobody waits for ever for what was lost
  cancel();
  io.run();
  EXPECT_TRUE(canceled);
  EXPECT_EQ(text, "");
  EXPECT_EQ(after, "abc");
}

TEST_F(deferral, a_kill_meanwhile_ends_it) {
  asio::io_context io(1);
  std::optional<rn::scheduler> sched(std::in_place, io, rn::threads(1), rn::runtime_options().deferred_reads());
  connection c(io.get_executor());
  bool unwound = false;
  struct guard {
    bool& seen;
    explicit guard(bool& s) : seen(s) {}
    ~guard() { seen = rn::unwinding(); }
  };
  sched->go([&]() -> rn::task<> {
    guard here(unwound);
    put_all_off();
    std::string text;
    (void)co_await read_into(c.near, text);
  });
  io.poll_one();
  sched.reset();  // nobody runs the context: the turn never comes
  EXPECT_TRUE(unwound);
  io.run();  // the turn comes now, and finds nobody
}

TEST_F(deferral, the_context_may_be_destroyed_meanwhile) {
  for (int turns = 0; turns < 2; ++turns) {
    auto io = std::make_unique<asio::io_context>(1);
    rn::scheduler sched(*io, rn::threads(1), rn::runtime_options().deferred_reads());
    auto c = std::make_unique<connection>(io->get_executor());
    bool ended = false;
    sched.go([&ended, c = std::move(c)]() -> rn::task<> {
      struct guard {
        bool& seen;
        explicit guard(bool& s) : seen(s) {}
        ~guard() { seen = rn::unwinding(); }
      } here(ended);
      put_all_off();
      std::string text;
      (void)co_await read_into(c->near, text);
    });
    for (int i = 0; i <= turns; ++i) io->poll_one();
    EXPECT_FALSE(ended);
    io.reset();
    EXPECT_TRUE(ended) << turns;
  }
}

TEST_F(deferral, the_end_and_errors_are_what_they_are_elsewhere) {
  on_1_2_and_4_threads([]() -> rn::task<> {
    put_all_off();
    connection c;
    std::string text;
    c.far.close();
    EXPECT_EQ((co_await read_into(c.near, text)).error(), asio::error::eof);
    EXPECT_EQ((co_await read_into(c.near, text)).error(), asio::error::eof);
    c.near.close();
    EXPECT_EQ((co_await read_into(c.near, text)).error(), asio::error::bad_descriptor);
  });
}

// Before the first turn it is open, in the second it is not.
TEST_F(deferral, a_socket_that_is_closed_meanwhile_says_so) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1), rn::runtime_options().deferred_reads());
  connection c(io.get_executor());
  boost::system::error_code error;
  sched.go([&]() -> rn::task<> {
    put_all_off();
    std::string text;
    error = (co_await read_into(c.near, text)).error();
  });
  io.poll_one();
  c.near.close();
  io.run();
  EXPECT_EQ(error, asio::error::bad_descriptor);
}

// Who is woken by a turn may hold its thread: the reads of others, which begin at different times, go on in another one.
TEST_F(deferral, a_goroutine_that_holds_its_thread_holds_up_no_read) {
  rn::runtime rt(rn::threads(2), rn::runtime_options().deferred_reads());
  rt.run([]() -> rn::task<> {
    put_all_off();
    constexpr int others = 20;
    connection one;
    std::array<connection, others> more;
    std::atomic<int> have_read = 0;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      std::string text;
      (void)co_await read_into(one.near, text);
      for (connection& c : more) c.far.write_some(asio::buffer("b", 1));
      const auto until = std::chrono::steady_clock::now() + 10s;
      while (have_read != others && std::chrono::steady_clock::now() < until) {
      }
      EXPECT_EQ(have_read, others);
    });
    for (int i = 0; i < others; ++i)
      g.go([&, i]() -> rn::task<> {
        for (int n = 0; n < i; ++n) co_await asio::post(rn::this_executor(), rn::use_task);
        std::string text;
        (void)co_await read_into(more[static_cast<std::size_t>(i)].near, text);
        ++have_read;
      });
    one.far.write_some(asio::buffer("a", 1));
    co_await g.wait();
  });
}

TEST_F(deferral, without_the_option_nothing_is_put_off) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1));
  bool put_off = true;
  sched.go([&]() -> rn::task<> {
    put_off = rn::detail::world_of(*rn::detail::current_goroutine()).deferral != nullptr;
    co_return;
  });
  io.run();
  EXPECT_FALSE(put_off);
}

TEST_F(deferral, on_a_strand_nothing_is_put_off) {
  asio::io_context io(1);
  rn::scheduler sched(io, rn::threads(1), rn::runtime_options().deferred_reads());
  connection c(asio::make_strand(io));
  std::string text;
  sched.go([&]() -> rn::task<> {
    put_all_off();
    (void)co_await read_into(c.near, text);
  });
  io.poll();
  EXPECT_EQ(text, "");
  c.far.write_some(asio::buffer("abc", 3));
  io.run();
  EXPECT_EQ(text, "abc");
}

}  // namespace
