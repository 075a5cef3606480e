// SPDX-License-Identifier: BSL-1.0
// Operations of Asio that are cancelled at any moment from other threads: single steps, many steps, on a pool and on
// strands. What was transferred is a prefix of what was sent, and nothing is left.
#include <runnel.hpp>
#include <runnel/io.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using stress::dice;
using stream = asio::local::stream_protocol::socket;

class io_stress : public stress::stress_test {};

struct books {
  std::atomic<long> operations{0}, canceled{0}, delivered{0}, wrong{0};
  std::atomic<int> frames{0};
};

struct in_frame {
  books& b;
  explicit in_frame(books& of) : b(of) { ++b.frames; }
  in_frame(const in_frame&) = delete;
  in_frame& operator=(const in_frame&) = delete;
  ~in_frame() { --b.frames; }
};

rn::task<> wait(books& b, asio::any_io_executor ex, std::chrono::microseconds time) {
  in_frame frame(b);
  asio::steady_timer timer(ex, time);
  co_await timer.async_wait(rn::use_task);
}

// The bytes 0, 1, 2, ... go over a socket. Each end gives up where it is cancelled, and goes on under the next context.
rn::task<> send_some(books& b, stream& s, unsigned char& at, unsigned n) {
  in_frame frame(b);
  std::array<unsigned char, 64> bytes;
  for (unsigned i = 0; i < n; ++i) bytes[i] = static_cast<unsigned char>(at + i);
  if (n == 1) {
    at = static_cast<unsigned char>(at + co_await s.async_write_some(asio::buffer(bytes, 1), rn::use_task));
  } else {
    co_await asio::async_write(s, asio::buffer(bytes, n), rn::use_task);
    at = static_cast<unsigned char>(at + n);
  }
}
rn::task<> receive_some(books& b, stream& s, unsigned char& at, unsigned n) {
  in_frame frame(b);
  std::array<unsigned char, 64> bytes;
  std::size_t got = 0;
  if (n == 1)
    got = co_await s.async_read_some(asio::buffer(bytes), rn::use_task);
  else
    got = co_await asio::async_read(s, asio::buffer(bytes, n), rn::use_task);
  for (std::size_t i = 0; i < got; ++i)
    if (bytes[i] != at++) ++b.wrong;
}

// The other end may be gone already.
void end(stream& s) {
  boost::system::error_code ignored;
  s.shutdown(stream::shutdown_both, ignored);
}

template <class Start> rn::task<> again_and_again(books& b, rn::context ctx, Start start, dice d) {
  for (unsigned n = d.between(1, 20); n > 0; --n) {
    ++b.operations;
    std::optional<rn::result<void>> r;
    if (d.one_in(3))
      r = co_await rn::as_result(rn::with_timeout(d.microseconds(200), start(d)));
    else
      r = co_await rn::as_result(rn::with_context(ctx, start(d)));
    ++(r->ok() ? b.delivered : b.canceled);
    if (ctx.err()) co_return;
  }
}

// Many goroutines, each under a context of its own, which one of several threads cancels at some moment.
template <class Round> void cancel_at_random(unsigned threads, dice d, Round&& round) {
  books b;
  {
    rn::runtime_options options;
    options.grace(std::chrono::seconds(d.one_in(3) ? 0 : 5)).kill_grace(std::chrono::seconds(60)).deferred_reads();
    rn::runtime rt(rn::threads(threads), options);
    std::vector<rn::cancel_function> cancels[2];
    for (unsigned i = d.between(1, 12); i > 0; --i) {
      auto [ctx, cancel] = rn::context::background().with_cancel();
      cancels[i % 2].push_back(std::move(cancel));
      round(rt, b, std::move(ctx), d);
    }
    std::vector<std::thread> cancellers;
    for (auto& mine : cancels)
      cancellers.emplace_back([&mine, d = d.split()]() mutable {
        for (auto& cancel : mine) {
          stress::dawdle(d);
          if (d.one_in(3)) std::this_thread::sleep_for(d.microseconds(300));  // sleeps: it comes at any moment
          cancel();
        }
      });
    for (auto& t : cancellers) t.join();
    if (!d.one_in(3)) stress::wait_until([&] { return rt.live() == 0; }, "the end of all that was cancelled");
  }
  EXPECT_EQ(b.frames, 0);
  EXPECT_EQ(b.wrong, 0);
}

asio::any_io_executor pool_or_strand(rn::runtime& rt, dice& d) {
  if (d.one_in(2)) return rt.get_executor();
  return asio::make_strand(rt.get_executor());
}

TEST_F(io_stress, waits_are_cancelled_at_any_moment) {
  run_rounds([](unsigned threads, dice d) {
    cancel_at_random(threads, d, [](rn::runtime& rt, books& b, rn::context ctx, dice& of_all) {
      rt.go([&b, ex = pool_or_strand(rt, of_all), ctx = std::move(ctx), d = of_all.split()]() mutable -> rn::task<> {
        auto start = [&](dice& some) { return wait(b, ex, some.microseconds(some.one_in(4) ? 2000 : 20)); };
        co_await again_and_again(b, std::move(ctx), start, d);
      });
    });
  });
}

// The same by the operations that try first; those of one step of use_task go between.
rn::task<> write_some(books& b, stream& s, unsigned char& at, unsigned n) {
  in_frame frame(b);
  std::array<unsigned char, 64> bytes;
  for (unsigned i = 0; i < n; ++i) bytes[i] = static_cast<unsigned char>(at + i);
  if (n == 1) {
    at = static_cast<unsigned char>(at + co_await rn::write_some(s, asio::buffer(bytes, 1)));
  } else {
    co_await rn::write(s, asio::buffer(bytes, n));
    at = static_cast<unsigned char>(at + n);
  }
}
rn::task<> read_some(books& b, stream& s, unsigned char& at, unsigned n) {
  in_frame frame(b);
  std::array<unsigned char, 64> bytes;
  std::size_t got = 0;
  if (n == 1)
    got = co_await rn::read_some(s, asio::buffer(bytes, 1u + at % 3));
  else
    got = co_await rn::read(s, asio::buffer(bytes, n));
  for (std::size_t i = 0; i < got; ++i)
    if (bytes[i] != at++) ++b.wrong;
}

// Send and Receive: functions as send_some and receive_some are.
template <class Send, class Receive> void cancel_both_ends(unsigned threads, dice d, Send send, Receive receive) {
  cancel_at_random(threads, d, [=](rn::runtime& rt, books& b, rn::context ctx, dice& of_all) {
    rt.go([&b, send, receive, ex1 = pool_or_strand(rt, of_all), ex2 = pool_or_strand(rt, of_all), ctx = std::move(ctx),
           d = of_all.split()]() mutable -> rn::task<> {
      stream left(ex1), right(ex2);
      asio::local::connect_pair(left, right);
      unsigned char sent = 0, received = 0;
      rn::errgroup g;
      // A write or a read of many steps that is cancelled has transferred nobody knows how much: that end is done.
      auto sender = [&, own = d.split()]() mutable -> rn::task<> {
        for (bool whole = true; whole && !ctx.err();) {
          unsigned n = own.one_in(2) ? 1 : own.between(2, 64);
          rn::result<void> r = co_await rn::as_result(rn::with_context(ctx, send(b, left, sent, n)));
          whole = r.ok() || n == 1;
        }
        end(left);
      };
      auto receiver = [&, own = d.split()]() mutable -> rn::task<> {
        for (bool whole = true; whole && !ctx.err();) {
          unsigned n = own.one_in(2) ? 1 : own.between(2, 64);
          rn::result<void> r = co_await rn::as_result(rn::with_context(ctx, receive(b, right, received, n)));
          whole = r.ok() || n == 1;
          if (own.one_in(50)) whole = false;
        }
        end(right);
      };
      g.go(std::move(sender));
      g.go(std::move(receiver));
      co_await g.wait();
    });
  });
}

TEST_F(io_stress, both_ends_of_a_stream_are_cancelled_at_any_moment) {
  run_rounds([](unsigned threads, dice d) { cancel_both_ends(threads, d, send_some, receive_some); });
}

TEST_F(io_stress, both_ends_that_try_first_are_cancelled_at_any_moment) {
  run_rounds([](unsigned threads, dice d) {
    if (d.one_in(2)) return cancel_both_ends(threads, d, write_some, read_some);
    if (d.one_in(2)) return cancel_both_ends(threads, d, write_some, receive_some);
    cancel_both_ends(threads, d, send_some, read_some);
  });
}

// The same where each read that may be is put off.
TEST_F(io_stress, both_ends_are_cancelled_while_reads_are_put_off) {
  run_rounds([](unsigned threads, dice d) {
    auto receive = [](books& b, stream& s, unsigned char& at, unsigned n) {
      rn::detail::world_of(*rn::detail::current_goroutine()).deferral->set_endless();
      return read_some(b, s, at, n);
    };
    cancel_both_ends(threads, d, d.one_in(2) ? write_some : send_some, receive);
  });
}

}  // namespace
