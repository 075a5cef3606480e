// SPDX-License-Identifier: BSL-1.0
// WebSocket over TLS over a stream, used in both directions at once on a strand of a pool, and cancelled at any moment
// from other threads. What was received is a prefix of what was sent.
#include <runnel.hpp>
#include <runnel/io.hpp>

#include "support/stress.hpp"
#include "support/test_certificate.hpp"

#include <gtest/gtest.h>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/flat_static_buffer.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <boost/beast/websocket/stream.hpp>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
namespace websocket = boost::beast::websocket;
using stress::dice;
using socket_type = asio::local::stream_protocol::socket;
using tls_stream = asio::ssl::stream<socket_type>;
using web_stream = websocket::stream<tls_stream>;

class io_websocket_stress : public stress::stress_test {};

struct books {
  std::atomic<int> messages{0}, wrong{0}, sessions{0};
  bool patient = false;  // nobody is cancelled before a message has come
};

// Messages "0", "1", ... in both directions, until it is cancelled or the other end has gone.
rn::task<> talk(web_stream& s, books& b, dice d) {
  rn::errgroup g;
  auto send = [&s, d = d.split()]() mutable -> rn::task<> {
    for (int i = 0;; ++i) {
      std::string text = std::to_string(i) + std::string(d.below(3000), '.');
      auto sent = co_await s.async_write(asio::buffer(text), rn::use_result);
      if (!sent) co_return;
    }
  };
  auto receive = [&s, &b]() -> rn::task<> {
    for (int i = 0;; ++i) {
      boost::beast::flat_buffer buffer;
      auto got = co_await s.async_read(buffer, rn::use_result);
      if (!got) co_return;
      std::string_view text(static_cast<const char*>(buffer.data().data()), buffer.size());
      if (text.substr(0, text.find('.')) != std::to_string(i)) ++b.wrong;
      ++b.messages;
    }
  };
  g.go(std::move(send));
  g.go(std::move(receive));
  co_await g.wait();
}

rn::task<> server(web_stream& s, books& b, dice d) {
  co_await s.next_layer().async_handshake(asio::ssl::stream_base::server, rn::use_task);
  co_await s.async_accept(rn::use_task);
  co_await talk(s, b, d);
}
rn::task<> client(web_stream& s, books& b, dice d) {
  co_await s.next_layer().async_handshake(asio::ssl::stream_base::client, rn::use_task);
  co_await s.async_handshake("localhost", "/", rn::use_task);
  co_await talk(s, b, d);
}

rn::task<> session(runnel_test::tls_contexts& tls, books& b, rn::context ctx, dice d) {
  auto ex = rn::this_executor();
  web_stream at_server(socket_type(asio::make_strand(ex)), tls.server);
  web_stream at_client(socket_type(asio::make_strand(ex)), tls.client);
  asio::local::connect_pair(at_server.next_layer().next_layer(), at_client.next_layer().next_layer());
  // Each end by a context of its own: one of them may be cancelled long before the other.
  auto run = [&](auto work, dice own) -> rn::task<> {
    std::chrono::microseconds until = own.microseconds(own.one_in(3) ? 500 : 6000);
    if (b.patient) until = std::chrono::hours(1);
    auto r = co_await rn::as_result(rn::with_context(ctx, rn::with_timeout(until, work())));
    (void)r;
  };
  auto serve = [&, own = d.split()] { return server(at_server, b, own); };
  auto call = [&, own = d.split()] { return client(at_client, b, own); };
  co_await rn::all(run(serve, d.split()), run(call, d.split()));
  ++b.sessions;
}

TEST_F(io_websocket_stress, both_directions_are_cancelled_at_any_moment) {
  runnel_test::tls_contexts tls;
  std::atomic<int> messages = 0;
  run_rounds([&](unsigned threads, dice d) {
    books b;
    b.patient = messages == 0 || d.one_in(4);
    int sessions = static_cast<int>(d.between(1, 4));
    {
      rn::runtime rt{rn::threads(threads)};
      auto [ctx, cancel] = rn::context::background().with_cancel();
      for (int i = 0; i < sessions; ++i) rt.go(session, std::ref(tls), std::ref(b), ctx, d.split());
      std::thread canceller([&b, d = d.split(), end = std::move(cancel)]() mutable {
        if (b.patient) stress::wait_until([&] { return b.messages > 0; }, "a message");
        std::this_thread::sleep_for(d.microseconds(8000));  // sleeps: it comes at any moment
        end();
      });
      canceller.join();
      stress::wait_until([&] { return rt.live() == 0; }, "the end of all sessions");
    }
    EXPECT_EQ(b.sessions, sessions);
    EXPECT_EQ(b.wrong, 0);
    messages += b.messages;
  });
  EXPECT_GT(messages, 0);
}

}  // namespace
