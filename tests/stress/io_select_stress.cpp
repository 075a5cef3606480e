// SPDX-License-Identifier: BSL-1.0
// Reads and writes as cases of selects, which race with channels, timers and cancellations, on a pool and on strands:
// every byte and every element arrives once and in order, and nothing is left.
#include <runnel/io/use_task.hpp>

#include <runnel/after.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/select_loop.hpp>
#include <runnel/sleep.hpp>
#include <runnel/with_context.hpp>

#include "support/stress.hpp"

#include <gtest/gtest.h>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/strand.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using stress::dice;
using stream = asio::local::stream_protocol::socket;

class io_select_stress : public stress::stress_test {};

// Both ends of a connection, and a channel beside it.
struct connection {
  explicit connection(asio::any_io_executor ex) : here(ex), there(ex) { asio::local::connect_pair(here, there); }
  stream here, there;
  rn::chan<int> ch{0};
  std::size_t bytes = 0, elements = 0;  // to be sent
  std::size_t read = 0, received = 0;
  std::size_t wrong = 0;
};

unsigned char byte_at(std::size_t i) { return static_cast<unsigned char>(i * 7 + i / 256); }

// What a select that took something else has written all the same is known by the next, or by the plain await.
rn::task<> write(connection& c, dice d) {
  std::array<unsigned char, 64> out;
  for (std::size_t at = 0; at < c.bytes;) {
    std::size_t n = std::min<std::size_t>(c.bytes - at, d.between(1, 64));
    for (std::size_t i = 0; i < n; ++i) out[i] = byte_at(at + i);
    auto send = c.there.async_write_some(asio::buffer(out.data(), n), rn::use_task);
    std::size_t done = 0;
    for (unsigned tries = d.below(3); tries > 0 && done == 0; --tries)
      co_await rn::select(rn::on(send, [&](std::size_t k) { done = k; }), rn::on(rn::after(d.microseconds(3)), [] {}));
    if (done == 0) done = co_await std::move(send);
    at += done;
    if (d.one_in(8)) co_await rn::sleep(d.microseconds(50));
  }
  boost::system::error_code ignored;
  c.there.shutdown(stream::shutdown_send, ignored);
}
rn::task<> send(connection& c, dice d) {
  for (std::size_t i = 0; i < c.elements; ++i) {
    co_await c.ch.send(static_cast<int>(i));
    if (d.one_in(4)) co_await rn::sleep(d.microseconds(30));
  }
  c.ch.close();
}

class reader {
 public:
  reader(connection& c, dice d) : x_of(c), x_dice(d) {}

  rn::task<> run(std::vector<rn::context>& contexts) {
    auto read = x_of.here.async_read_some(asio::buffer(x_bytes), rn::use_result);
    while (!x_ended || !x_closed) {
      if (contexts.empty() || x_dice.one_in(3)) {
        co_await some(read);
      } else if (x_dice.one_in(2)) {
        (void)co_await rn::as_result(rn::with_timeout(x_dice.microseconds(40), some(read)));
      } else {
        rn::context ctx = contexts.back();
        auto r = co_await rn::as_result(rn::with_context(ctx, some(read)));
        if (ctx.err()) contexts.pop_back();
      }
    }
  }

 private:
  // A few rounds, by select or by select_loop.
  template <class Read> rn::task<> some(Read& read) {
    auto bytes = [this](rn::io_result<std::size_t> r) { return take(r); };
    auto element = [this](std::optional<int> v) { return take(v); };
    rn::chan<int> ch = x_closed ? rn::chan<int>() : x_of.ch;
    if (x_ended) {
      co_await rn::select(rn::on(ch.recv(), element), rn::on(rn::after(x_dice.microseconds(40)), [] { return rn::next; }));
    } else if (x_dice.one_in(2)) {
      for (unsigned n = x_dice.between(1, 4); n > 0 && !x_ended && !x_closed; --n)
        co_await rn::select(rn::on(read, bytes), rn::on(ch.recv(), element),
                            rn::on(rn::after(x_dice.microseconds(10)), [] { return rn::next; }));
    } else {
      co_await rn::select_loop(rn::on(read, bytes), rn::on(ch.recv(), element),
                               rn::on(rn::after(x_dice.microseconds(60)), [] { return rn::stop; }));
    }
  }
  rn::loop_control take(const rn::io_result<std::size_t>& r) {
    x_ended = !r;
    for (std::size_t i = 0; i < (r ? r.value() : 0); ++i) x_of.wrong += x_bytes[i] != byte_at(x_of.read++);
    return r ? rn::next : rn::stop;
  }
  rn::loop_control take(std::optional<int> v) {
    x_closed = !v;
    if (v) x_of.wrong += static_cast<std::size_t>(*v) != x_of.received++;
    return v ? rn::next : rn::stop;
  }

  connection& x_of;
  dice x_dice;
  std::array<unsigned char, 48> x_bytes{};
  bool x_ended = false, x_closed = false;
};

rn::task<> talk(connection& c, std::vector<rn::context> contexts, dice d) {
  reader r(c, d.split());
  rn::errgroup g;
  g.go(write, std::ref(c), d.split());
  g.go(send, std::ref(c), d.split());
  co_await r.run(contexts);
  co_await g.wait();
}

TEST_F(io_select_stress, every_byte_and_every_element_arrives_once_and_in_order) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime rt{rn::threads(threads)};
    std::vector<std::unique_ptr<connection>> connections;  // sockets die before their context
    std::vector<rn::cancel_function> cancels;
    for (unsigned n = d.between(1, 6); n > 0; --n) {
      asio::any_io_executor ex = rt.get_executor();
      if (d.one_in(2)) ex = asio::make_strand(ex);
      auto& c = *connections.emplace_back(std::make_unique<connection>(ex));
      c.bytes = d.below(4000);
      c.elements = d.below(60);
      std::vector<rn::context> contexts;
      for (unsigned k = d.below(6); k > 0; --k) {
        auto [ctx, cancel] = rn::context::background().with_cancel();
        contexts.push_back(std::move(ctx));
        cancels.push_back(std::move(cancel));
      }
      rt.go(talk, std::ref(c), std::move(contexts), d.split());
    }
    for (auto& cancel : cancels) {
      stress::dawdle(d);
      cancel();
    }
    stress::wait_until([&] { return rt.live() == 0; }, "the end of all connections");
    for (auto& c : connections) {
      EXPECT_EQ(c->wrong, 0u);
      EXPECT_EQ(c->read, c->bytes);
      EXPECT_EQ(c->received, c->elements);
    }
  });
}

// Cancelled, and killed at the end of the runtime, at any moment: what arrived is a beginning of what was sent.
TEST_F(io_select_stress, is_cancelled_at_any_moment) {
  run_rounds([](unsigned threads, dice d) {
    rn::runtime_options options;
    options.grace(std::chrono::seconds(d.one_in(3) ? 0 : 5)).kill_grace(std::chrono::seconds(60));
    rn::runtime rt(rn::threads(threads), options);
    std::vector<std::unique_ptr<connection>> connections;
    for (unsigned n = d.between(1, 6); n > 0; --n) {
      asio::any_io_executor ex = rt.get_executor();
      if (d.one_in(2)) ex = asio::make_strand(ex);
      auto& c = *connections.emplace_back(std::make_unique<connection>(ex));
      c.bytes = 100'000;
      c.elements = 100'000;
      rt.go(talk, std::ref(c), std::vector<rn::context>(), d.split());
    }
    for (unsigned n = d.below(20); n > 0; --n) stress::dawdle(d);
    rt.shut_down();
    for (auto& c : connections) {
      EXPECT_EQ(c->wrong, 0u);
      EXPECT_LE(c->read, c->bytes);
    }
  });
}

}  // namespace
