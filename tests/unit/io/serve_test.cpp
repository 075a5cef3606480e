// SPDX-License-Identifier: BSL-1.0
// serve, peer_closed, cancel_on: the shapes that every service writes.
#include <runnel/io/cancel_on.hpp>
#include <runnel/io/peer_closed.hpp>
#include <runnel/io/serve.hpp>

#include <runnel/async.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/go.hpp>
#include <runnel/kill.hpp>
#include <runnel/runtime.hpp>
#include <runnel/with_context.hpp>

#include "support/checked_runtime.hpp"
#include "support/conserves_frames.hpp"

#include <gtest/gtest.h>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using asio::ip::tcp;
using stream = asio::local::stream_protocol::socket;

class serve : public runnel_test::conserves_frames {};

tcp::acceptor listener() { return {rn::this_executor(), {asio::ip::address_v4::loopback(), 0}}; }

rn::task<> echo(tcp::socket s) {
  std::array<char, 64> bytes;
  for (;;) {
    auto r = co_await s.async_read_some(asio::buffer(bytes), rn::use_result);
    if (!r) co_return;
    co_await asio::async_write(s, asio::buffer(bytes, r.value()), rn::use_task);
  }
}
rn::task<tcp::socket> connected(const tcp::acceptor& to) {
  tcp::socket s(rn::this_executor());
  co_await s.async_connect(to.local_endpoint(), rn::use_task);
  co_return s;
}
rn::task<bool> is_answered(tcp::socket& s, std::string text) {
  std::string got(text.size(), ' ');
  co_await asio::async_write(s, asio::buffer(text), rn::use_task);
  auto read = co_await asio::async_read(s, asio::buffer(got), rn::use_result);
  co_return read.ok() && got == text;
}

TEST_F(serve, runs_a_session_for_each_connection) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto acceptor = listener();
    rn::errgroup server;
    server.go([&]() -> rn::task<> { co_await rn::serve(acceptor, echo); });
    std::vector<tcp::socket> clients;
    for (int i = 0; i < 20; ++i) clients.push_back(co_await connected(acceptor));
    for (auto& c : clients) EXPECT_TRUE(co_await is_answered(c, "hello"));
    server.cancel();  // the sessions, too: there is no time to drain
    co_await test::error_of_awaiting([&] { return server.wait(); });
    char byte;
    for (auto& c : clients) {
      auto r = co_await c.async_read_some(asio::buffer(&byte, 1), rn::use_result);
      EXPECT_FALSE(r.ok());
    }
  });
}

TEST_F(serve, accepts_no_more_than_the_limit) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto acceptor = listener();
    std::atomic<int> running = 0, most = 0;
    auto session = [&](tcp::socket s) -> rn::task<> {
      most = std::max(most.load(), ++running);
      co_await echo(std::move(s));
      --running;
    };
    rn::errgroup server;
    server.go([&]() -> rn::task<> { co_await rn::serve(acceptor, rn::limit(2), session); });
    auto a = co_await connected(acceptor), b = co_await connected(acceptor), c = co_await connected(acceptor);
    EXPECT_TRUE(co_await is_answered(a, "a"));
    EXPECT_TRUE(co_await is_answered(b, "b"));
    auto third = [&]() -> rn::task<> { EXPECT_TRUE(co_await is_answered(c, "c")); };
    rn::errgroup waiting;
    waiting.go(third);
    co_await test::let_others_run();
    EXPECT_EQ(running, 2);
    a.close();
    co_await waiting.wait();
    EXPECT_EQ(most, 2);
    server.cancel();
    co_await test::error_of_awaiting([&] { return server.wait(); });
  });
}

TEST_F(serve, a_server_that_stops_lets_its_sessions_end) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto acceptor = listener();
    rn::errgroup server;
    server.go([&]() -> rn::task<> { co_await rn::serve(acceptor, rn::drain(1h), echo); });
    auto client = co_await connected(acceptor);
    EXPECT_TRUE(co_await is_answered(client, "before"));
    server.cancel();
    co_await test::let_others_run();
    EXPECT_TRUE(co_await is_answered(client, "after"));
    client.close();
    co_await test::error_of_awaiting([&] { return server.wait(); });
  });
}

TEST_F(serve, who_connects_to_a_server_that_drains_is_refused) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto acceptor = listener();
    auto here = acceptor.local_endpoint();
    rn::errgroup server;
    server.go([&]() -> rn::task<> { co_await rn::serve(acceptor, rn::limit(1), rn::drain(1h), echo); });
    auto served = co_await connected(acceptor), queued = co_await connected(acceptor);
    EXPECT_TRUE(co_await is_answered(served, "before"));
    server.cancel();
    char byte;
    auto lost = co_await queued.async_read_some(asio::buffer(&byte, 1), rn::use_result);
    EXPECT_FALSE(lost.ok()) << "it waits in the queue of a server that accepts nobody";
    tcp::socket late(rn::this_executor());
    auto refused = co_await late.async_connect(here, rn::use_result);
    EXPECT_EQ(refused.error(), asio::error::connection_refused);
    EXPECT_TRUE(co_await is_answered(served, "while it drains"));
    tcp::acceptor next(rn::this_executor(), here);  // the address is free
    served.close();
    co_await test::error_of_awaiting([&] { return server.wait(); });
    EXPECT_FALSE(acceptor.is_open());
  });
}

TEST_F(serve, however_it_ends_its_acceptor_is_closed) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto killed = listener(), unheard = listener();
    std::atomic<int> alive = 0;
    auto session = [&](tcp::socket) -> rn::task<> { co_await rn::shield(test::park_for_ever(alive)); };
    auto server = rn::async([&]() -> rn::task<> { co_await rn::serve(killed, rn::drain(1h), session); });
    auto client = co_await connected(killed);
    co_await test::until([&] { return alive == 1; });
    (void)co_await server.shutdown(rn::kill);
    EXPECT_EQ(alive, 0);
    EXPECT_FALSE(killed.is_open());

    auto [stop, cancel] = rn::this_context().with_cancel();
    cancel();
    (void)co_await rn::as_result(rn::with_context(stop, rn::serve(unheard, echo)));
    EXPECT_FALSE(unheard.is_open()) << "it was over before it began";
  });
}

TEST_F(serve, sessions_that_do_not_end_in_time_are_cancelled) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto acceptor = listener();
    std::atomic<int> alive = 0;
    auto session = [&](tcp::socket) -> rn::task<> { co_await test::park_for_ever(alive); };
    rn::errgroup server;
    server.go([&]() -> rn::task<> { co_await rn::serve(acceptor, rn::limit(5), rn::drain(1ms), session); });
    auto client = co_await connected(acceptor);
    co_await test::until([&] { return alive == 1; });
    server.cancel();
    co_await test::error_of_awaiting([&] { return server.wait(); });
    EXPECT_EQ(alive, 0);
  });
}

TEST_F(serve, an_error_of_a_session_is_told_and_the_server_goes_on) {
  test::checked_runtime rt(2);
  rt.run([&]() -> rn::task<> {
    auto acceptor = listener();
    std::atomic<int> sessions = 0;
    auto session = [&](tcp::socket s) -> rn::task<> {
      if (++sessions == 1) throw std::runtime_error("the first");
      co_await echo(std::move(s));
    };
    rn::errgroup server;
    server.go([&]() -> rn::task<> { co_await rn::serve(acceptor, session); });
    auto first = co_await connected(acceptor);
    co_await test::until([&] { return sessions == 1; });
    auto second = co_await connected(acceptor);
    EXPECT_TRUE(co_await is_answered(second, "still there"));
    server.cancel();
    co_await test::error_of_awaiting([&] { return server.wait(); });
  });
  rt.shut_down();
  EXPECT_EQ(rt.unobserved(), std::vector<std::string>{"the first"});
}

TEST_F(serve, an_acceptor_that_is_closed_is_an_error) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto acceptor = listener();
    acceptor.close();
    EXPECT_NE(co_await test::error_of(rn::serve(acceptor, rn::drain(1h), echo)), "");
  });
}

TEST_F(serve, a_shutdown_that_is_out_of_patience_kills_the_sessions) {
  std::atomic<int> alive = 0;
  {
    rn::runtime_options options;
    options.grace(1ms);
    rn::runtime rt(rn::threads(2), options);
    auto session = [&](tcp::socket) -> rn::task<> { co_await rn::shield(test::park_for_ever(alive)); };
    std::atomic<int> port = 0;
    rt.go([&]() -> rn::task<> {
      auto acceptor = listener();
      port = acceptor.local_endpoint().port();
      co_await rn::serve(acceptor, rn::drain(1h), session);
    });
    rt.run([&]() -> rn::task<> {
      co_await test::until([&] { return port != 0; });
      tcp::socket client(rn::this_executor());
      co_await client.async_connect({asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)}, rn::use_task);
      co_await test::until([&] { return alive == 1; });
    });
  }
  EXPECT_EQ(alive, 0);
}

TEST_F(serve, a_drain_takes_no_negative_time) { EXPECT_THROW(rn::drain(-1s), rn::misuse_error); }

// ---- peer_closed, cancel_on ----

std::pair<stream, stream> connected_pair() {
  std::pair<stream, stream> pair{stream(rn::this_executor()), stream(rn::this_executor())};
  asio::local::connect_pair(pair.first, pair.second);
  return pair;
}

TEST_F(serve, peer_closed_leaves_what_has_come) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto pair = connected_pair();
    co_await asio::async_write(pair.second, asio::buffer("abc", 3), rn::use_task);
    std::atomic<bool> gone = false;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      co_await rn::peer_closed(pair.first);
      gone = true;
    });
    co_await test::let_others_run();
    EXPECT_FALSE(gone);
    pair.second.close();
    co_await g.wait();
    std::array<char, 10> bytes;
    EXPECT_EQ(co_await pair.first.async_read_some(asio::buffer(bytes), rn::use_task), 3u);
  });
}

TEST_F(serve, cancel_on_gives_up_work_when_the_peer_has_gone) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto pair = connected_pair();
    std::atomic<int> alive = 0;
    auto close_later = [&]() -> rn::task<> {
      co_await test::until([&] { return alive == 1; });
      pair.second.close();
    };
    rn::errgroup g;
    g.go(close_later);
    auto r = co_await rn::cancel_on(rn::peer_closed(pair.first), test::park_for_ever(alive));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(alive, 0);
    co_await g.wait();
  });
}

TEST_F(serve, cancel_on_returns_what_work_does) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    auto pair = connected_pair();
    std::atomic<int> alive = 0;
    auto work = []() -> rn::task<int> {
      co_await rn::yield();
      co_return 5;
    };
    auto fails = []() -> rn::task<int> {
      co_await rn::yield();
      throw std::runtime_error("broken");
    };
    auto r = co_await rn::cancel_on(rn::peer_closed(pair.first), work());
    EXPECT_EQ(std::move(r).value(), 5);
    auto failed = co_await rn::cancel_on(test::park_for_ever(alive), fails());
    EXPECT_EQ(rn::detail::what_of(failed.error()), "broken");
    auto event_fails = co_await rn::cancel_on(fails(), test::park_for_ever(alive));
    EXPECT_EQ(rn::detail::what_of(event_fails.error()), "broken");
    EXPECT_EQ(alive, 0);
  });
}

}  // namespace
