// SPDX-License-Identifier: BSL-1.0
// read, write and their _some forms: at once where that can be, as Asio's own operations where not.
#include <runnel/io/transfer.hpp>

#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/select.hpp>
#include <runnel/test.hpp>
#include <runnel/with_context.hpp>

#include "support/checked_runtime.hpp"
#include "support/conserves_frames.hpp"
#include "support/memory_stream.hpp"

#include <gtest/gtest.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/strand.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using runnel_test::memory_stream;
using stream = asio::local::stream_protocol::socket;

class transfer : public runnel_test::conserves_frames {};

struct connection {
  explicit connection(const asio::any_io_executor& ex) : near(ex), far(ex) { asio::local::connect_pair(near, far); }
  connection() : connection(rn::this_executor()) {}
  stream near, far;
};

std::string pattern(std::size_t n) {
  std::string s(n, ' ');
  for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>('a' + i * 7 % 26 + i / 1000 % 3);
  return s;
}
// Until it takes no more; how many bytes that are.
std::size_t fill(stream& s) {
  const std::string bytes(4096, 'x');
  std::size_t n = 0;
  boost::system::error_code error;
  s.non_blocking(true);
  while (!error) n += s.write_some(asio::buffer(bytes), error);
  s.non_blocking(false);
  return n;
}
// How many bytes wait, at most so many.
std::size_t drain(stream& s, std::size_t most) {
  std::string bytes(most, ' ');
  boost::system::error_code error;
  s.non_blocking(true);
  std::size_t n = 0;
  while (!error && n < most) n += s.read_some(asio::buffer(&bytes[n], most - n), error);
  s.non_blocking(false);
  return n;
}

// Runs app on one thread, where another goroutine says by `others` whether app has suspended since it was cleared.
template <class App> void on_one_thread(App app) {
  test::checked_runtime rt(1);
  rt.run([&]() -> rn::task<> {
    bool others = false, over = false;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      while (!over) {
        others = true;
        co_await rn::yield();
      }
    });
    co_await app(others);
    over = true;
    co_await g.wait();
  });
}

TEST_F(transfer, what_a_socket_takes_is_written_at_once) {
  on_one_thread([](bool& others) -> rn::task<> {
    connection c;
    others = false;
    EXPECT_EQ(co_await rn::write_some(c.near, asio::buffer("abc", 3)), 3u);
    auto r = co_await rn::write(c.near, asio::buffer("def", 3), rn::use_result);
    EXPECT_EQ(r.value(), 3u);
    EXPECT_FALSE(others);
    std::array<char, 6> bytes;
    EXPECT_EQ(co_await rn::read(c.far, asio::buffer(bytes)), 6u);
    EXPECT_EQ(std::string(bytes.begin(), bytes.end()), "abcdef");
  });
}

// A read that filled its buffer says that more may be there.
TEST_F(transfer, what_is_left_of_a_full_read_is_read_at_once) {
  on_one_thread([](bool& others) -> rn::task<> {
    connection c;
    std::array<char, 4> bytes;
    c.far.write_some(asio::buffer("0123456789", 10));
    EXPECT_EQ(co_await rn::read_some(c.near, asio::buffer(bytes)), 4u);
    others = false;
    EXPECT_EQ(co_await rn::read_some(c.near, asio::buffer(bytes)), 4u);
    EXPECT_EQ(co_await rn::read_some(c.near, asio::buffer(bytes)), 2u);
    EXPECT_FALSE(others);
    EXPECT_EQ(bytes[1], '9');
    c.far.write_some(asio::buffer("x", 1));  // the last came short: the next is not tried
    EXPECT_EQ(co_await rn::read_some(c.near, asio::buffer(bytes)), 1u);
    EXPECT_TRUE(others);
  });
}

// Each read fills its buffer, and its byte comes later.
rn::task<> read_in_vain(connection& c, int times) {
  char byte = 0;
  for (int i = 0; i < times; ++i) {
    rn::errgroup g;
    co_await g.go([&] { c.far.write_some(asio::buffer("b", 1)); });  // later, on this one thread
    co_await rn::read_some(c.near, asio::buffer(&byte, 1));
    co_await g.wait();
    EXPECT_EQ(byte, 'b');
  }
}
int vain_tries() { return rn::detail::current_goroutine()->vain_tries; }

TEST_F(transfer, the_more_tries_were_in_vain_the_fewer_are_made) {
  on_one_thread([](bool&) -> rn::task<> {
    connection c;
    co_await read_in_vain(c, 1);  // nothing had been read: it was not tried
    EXPECT_EQ(vain_tries(), 0);
    co_await read_in_vain(c, 1);
    EXPECT_EQ(vain_tries(), 1);
    co_await read_in_vain(c, 11);
    EXPECT_LT(vain_tries(), 8);  // all would be 8
    co_await read_in_vain(c, 400);
    EXPECT_GE(vain_tries(), 5);  // after 31 reads on average
  });
}

TEST_F(transfer, after_a_try_that_was_not_in_vain_each_is_made_again) {
  on_one_thread([](bool& others) -> rn::task<> {
    connection c;
    co_await read_in_vain(c, 3);
    EXPECT_GE(vain_tries(), 1);
    char byte = 0;
    std::string how;  // each went: at once, or after others had their turn
    for (int i = 0; i < 200; ++i) {
      c.far.write_some(asio::buffer("c", 1));
      others = false;
      co_await rn::read_some(c.near, asio::buffer(&byte, 1));
      how += others ? 'o' : 'a';
      if (i % 10 == 9) co_await rn::yield();  // a new budget
    }
    EXPECT_NE(how.find('a'), how.npos);
    EXPECT_EQ(how.find('o', how.find('a')), how.npos) << how;
    EXPECT_EQ(vain_tries(), 0);
    EXPECT_EQ(byte, 'c');
  });
}

// Whether it went at once or had to wait: of the goroutine that awaited it nothing is remembered.
TEST_F(transfer, a_read_that_was_awaited_is_no_case_any_more) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    connection c;
    std::array<char, 4> bytes;
    for (const bool goes_at_once : {false, true}) {
      auto read = rn::read_some(c.near, asio::buffer(bytes), rn::use_result);
      c.far.write_some(asio::buffer("0123456789ab", goes_at_once ? 12 : 4));
      auto reader = [&]() -> rn::task<> {
        std::array<char, 4> first;
        if (goes_at_once) co_await rn::read_some(c.near, asio::buffer(first));  // fills the buffer: more is likely
        auto r = co_await std::move(read);
        EXPECT_EQ(r.partial(), 4u);
      };
      auto body = [&](rn::errgroup& g) -> rn::task<> { co_await g.go(std::ref(reader)); };
      co_await rn::with_errgroup(body);  // the goroutine that read is gone
      auto select_again = [&]() -> rn::task<> { co_await rn::select(rn::on(read, [] {})); };
      auto r = co_await rn::as_result(select_again());
      EXPECT_EQ(rn::what(r.error()), "runnel: this operation of Asio has been awaited: it is no case any more");
    }
  });
}

TEST_F(transfer, on_a_strand_it_goes_by_way_of_the_strand) {
  on_one_thread([](bool& others) -> rn::task<> {
    connection c(asio::make_strand(rn::this_executor()));
    others = false;
    EXPECT_EQ(co_await rn::write(c.near, asio::buffer("abc", 3)), 3u);
    EXPECT_TRUE(others);
    std::array<char, 3> bytes;
    EXPECT_EQ(co_await rn::read(c.far, asio::buffer(bytes)), 3u);
  });
}

// GEN-02: what goes at once counts against the budget.
TEST_F(transfer, writes_that_go_at_once_starve_nobody) {
  test::checked_runtime rt(1);
  rt.run([]() -> rn::task<> {
    connection c;
    std::atomic<bool> over = false;
    rn::go([&] { over = true; });
    int n = 0;
    for (; !over; ++n) {
      co_await rn::write_some(c.near, asio::buffer("x", 1));
      drain(c.far, 1);
    }
    EXPECT_LT(n, 30);  // a call counts as several operations
  });
}

TEST_F(transfer, what_does_not_go_at_once_waits_for_the_other_end) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    connection c;
    std::size_t filled = fill(c.near);
    std::atomic<bool> written = false;
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      EXPECT_EQ(co_await rn::write_some(c.near, asio::buffer("abc", 3)), 3u);
      written = true;
    });
    co_await test::let_others_run();
    EXPECT_FALSE(written);
    std::string bytes(filled, ' ');
    EXPECT_EQ(co_await rn::read(c.far, asio::buffer(bytes)), filled);
    co_await g.wait();
    EXPECT_TRUE(written);
    EXPECT_EQ(drain(c.far, 10), 3u);
  });
}

// More than the socket holds: parts at once, parts not.
TEST_F(transfer, a_large_write_arrives_whole) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    connection c;
    const std::string sent = pattern(1'000'000);
    std::string got(sent.size(), ' ');
    auto send = [&]() -> rn::task<> {
      std::size_t n = co_await rn::write(c.near, asio::buffer(sent));
      EXPECT_EQ(n, sent.size());
    };
    auto receive = [&]() -> rn::task<> {
      std::size_t at = 0;
      for (std::size_t piece = 1; at < got.size(); piece = piece * 3 % 70'001) {
        std::size_t n = std::min(piece, got.size() - at);
        at += co_await rn::read(c.far, asio::buffer(&got[at], n));
      }
    };
    co_await rn::all(send(), receive());
    EXPECT_TRUE(got == sent);
  });
}

TEST_F(transfer, many_buffers_are_written_and_read_in_order) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    connection c;
    const std::string sent = pattern(400'000);
    std::string got(sent.size(), ' ');
    std::vector<asio::const_buffer> from;
    std::vector<asio::mutable_buffer> into;
    for (std::size_t at = 0, n = 0; at < sent.size(); at += n) {  // of 0 to 19,999 bytes, and one of what is left
      n = std::min(from.size() * 7919 % 20'000, sent.size() - at);
      from.push_back(asio::buffer(&sent[at], n));
    }
    for (std::size_t at = 0, n = 0; at < got.size(); at += n) {
      n = std::min(into.size() * 104'729 % 5'000, got.size() - at);
      into.push_back(asio::buffer(&got[at], n));
    }
    EXPECT_GT(from.size(), 32u);
    auto send = [&]() -> rn::task<> { EXPECT_EQ(co_await rn::write(c.near, from), sent.size()); };
    auto receive = [&]() -> rn::task<> { EXPECT_EQ(co_await rn::read(c.far, into), sent.size()); };
    co_await rn::all(send(), receive());
    EXPECT_TRUE(got == sent);
    std::array<asio::const_buffer, 3> three{asio::buffer("", 0), asio::buffer("ab", 2), asio::buffer("c", 1)};
    EXPECT_EQ(co_await rn::write_some(c.near, three), 3u);
    std::array<char, 4> bytes;
    std::array<asio::mutable_buffer, 2> two{asio::buffer(&bytes[2], 2), asio::buffer(&bytes[0], 2)};
    EXPECT_EQ(co_await rn::read_some(c.far, two), 3u);
    EXPECT_EQ(bytes[2], 'a');
    EXPECT_EQ(bytes[0], 'c');
  });
}

TEST_F(transfer, nothing_is_written_and_read_at_once) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    connection c;
    EXPECT_EQ(co_await rn::write(c.near, asio::const_buffer()), 0u);
    EXPECT_EQ(co_await rn::write(c.near, std::vector<asio::const_buffer>()), 0u);
    EXPECT_EQ(co_await rn::write_some(c.near, asio::const_buffer()), 0u);
    EXPECT_EQ(co_await rn::read(c.near, asio::mutable_buffer()), 0u);
    auto r = co_await rn::read_some(c.near, asio::mutable_buffer(), rn::use_result);
    EXPECT_TRUE(r.ok());
  });
}

// ---- Errors ----

TEST_F(transfer, the_end_of_the_stream_tells_what_came_before_it) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    connection c;
    co_await rn::write(c.far, asio::buffer("abcde", 5));
    c.far.close();
    std::array<char, 4> bytes;
    EXPECT_EQ(co_await rn::read(c.near, asio::buffer(bytes)), 4u);
    auto r = co_await rn::read(c.near, asio::buffer(bytes), rn::use_result);
    EXPECT_EQ(r.error(), asio::error::eof);
    EXPECT_EQ(r.partial(), 1u);
    auto again = co_await rn::read_some(c.near, asio::buffer(bytes), rn::use_result);
    EXPECT_EQ(again.error(), asio::error::eof);
    bool thrown = false;
    try {
      co_await rn::read(c.near, asio::buffer(bytes));
    } catch (const boost::system::system_error& e) {
      thrown = e.code() == asio::error::eof;
    }
    EXPECT_TRUE(thrown);
  });
}

TEST_F(transfer, the_end_that_comes_right_after_a_full_read_is_seen_at_once) {
  on_one_thread([](bool& others) -> rn::task<> {
    connection c;
    std::array<char, 4> bytes;
    co_await rn::write(c.far, asio::buffer("abcd", 4));
    c.far.close();
    EXPECT_EQ(co_await rn::read_some(c.near, asio::buffer(bytes)), 4u);
    others = false;
    auto r = co_await rn::read_some(c.near, asio::buffer(bytes), rn::use_result);
    EXPECT_EQ(r.error(), asio::error::eof);
    EXPECT_FALSE(others);
  });
}

TEST_F(transfer, a_write_to_an_end_that_is_gone_is_an_error_and_no_signal) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    connection c;
    c.far.close();
    auto some = co_await rn::write_some(c.near, asio::buffer("abc", 3), rn::use_result);
    EXPECT_EQ(some.error(), asio::error::broken_pipe);
    auto all = co_await rn::write(c.near, asio::buffer("abc", 3), rn::use_result);
    EXPECT_EQ(all.error(), asio::error::broken_pipe);
    EXPECT_EQ(all.partial(), 0u);
    std::array<asio::const_buffer, 2> two{asio::buffer("ab", 2), asio::buffer("c", 1)};
    auto many = co_await rn::write_some(c.near, two, rn::use_result);
    EXPECT_EQ(many.error(), asio::error::broken_pipe);
    EXPECT_NE(co_await test::error_of_awaiting([&] { return rn::write(c.near, asio::buffer("abc", 3)); }), "");
  });
}

// The end that goes away while a large write waits for it.
TEST_F(transfer, a_write_that_fails_on_its_way_tells_how_many_bytes_went) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    connection c;
    const std::string large(4'000'000, 'x');
    auto send = [&]() -> rn::task<rn::io_result<std::size_t>> {
      co_return co_await rn::write(c.near, asio::buffer(large), rn::use_result);
    };
    auto leave = [&]() -> rn::task<> {
      std::string some(100'000, ' ');
      co_await rn::read(c.far, asio::buffer(some));
      c.far.close();
    };
    auto both = co_await rn::all(send(), leave());
    const auto& r = std::get<0>(both);
    EXPECT_FALSE(r.ok());
    EXPECT_GE(r.partial(), 100'000u);
    EXPECT_LT(r.partial(), large.size());
  });
}

TEST_F(transfer, sockets_that_are_closed_or_not_connected_say_what_asios_own_operations_say) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    std::array<char, 4> bytes{};
    for (bool open : {false, true}) {  // a socket for each: Asio's reactor tells some errors once
      auto make = [&] {
        asio::ip::tcp::socket s(rn::this_executor());
        if (open) s.open(asio::ip::tcp::v4());
        return s;
      };
      auto a = make(), b = make(), c = make(), d = make();
      auto they_write = co_await a.async_write_some(asio::buffer(bytes), rn::use_result);
      auto we_write = co_await rn::write_some(b, asio::buffer(bytes), rn::use_result);
      EXPECT_EQ(we_write.error(), they_write.error());
      EXPECT_FALSE(we_write.ok());
      auto they_read = co_await c.async_read_some(asio::buffer(bytes), rn::use_result);
      auto we_read = co_await rn::read_some(d, asio::buffer(bytes), rn::use_result);
      EXPECT_EQ(we_read.error(), they_read.error());
      auto again = co_await rn::read_some(d, asio::buffer(bytes), rn::use_result);
      EXPECT_EQ(again.error(), we_read.error());
    }
  });
}

// ---- Cancellation ----

TEST_F(transfer, a_context_that_is_done_keeps_it_from_starting) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    connection c;
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    auto some = [&]() -> rn::task<> { co_await rn::write_some(c.near, asio::buffer("abc", 3)); };
    auto all = [&]() -> rn::task<> { co_await rn::write(c.near, asio::buffer("abc", 3)); };
    auto nothing = [&]() -> rn::task<> { co_await rn::write(c.near, asio::const_buffer()); };
    auto r = co_await rn::as_result(rn::with_context(ctx, some()));
    EXPECT_TRUE(r.canceled());
    r = co_await rn::as_result(rn::with_context(ctx, all()));
    EXPECT_TRUE(r.canceled());
    r = co_await rn::as_result(rn::with_context(ctx, nothing()));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(drain(c.far, 10), 0u);
  });
}

TEST_F(transfer, what_waits_is_cancelled_and_the_socket_is_whole) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    connection c;
    std::size_t filled = fill(c.near);
    std::array<char, 4> bytes;
    auto write_some = [&] { return rn::with_timeout(1ms, rn::write_some(c.near, asio::buffer("abc", 3))); };
    auto write = [&] { return rn::with_timeout(1ms, rn::write(c.near, asio::buffer("abc", 3))); };
    auto read_some = [&] { return rn::with_timeout(1ms, rn::read_some(c.near, asio::buffer(bytes))); };
    auto read = [&] { return rn::with_timeout(1ms, rn::read(c.near, asio::buffer(bytes))); };
    const std::string late = "runnel: deadline exceeded";
    EXPECT_EQ(co_await test::error_of_awaiting(write_some), late);
    EXPECT_EQ(co_await test::error_of_awaiting(write), late);
    EXPECT_EQ(co_await test::error_of_awaiting(read_some), late);
    EXPECT_EQ(co_await test::error_of_awaiting(read), late);
    EXPECT_EQ(drain(c.far, filled + 10), filled);
    EXPECT_EQ(co_await rn::write(c.near, asio::buffer("abc", 3)), 3u);
    EXPECT_EQ(co_await rn::write(c.far, asio::buffer("defg", 4)), 4u);
    EXPECT_EQ(co_await rn::read(c.near, asio::buffer(bytes)), 4u);
  });
}

// ---- Streams of other kinds, and tests ----

TEST_F(transfer, sockets_with_a_default_token_are_sockets) {
  using socket = rn::use_task_t::as_default_on_t<asio::ip::tcp::socket>;
  static_assert(rn::detail::can_try<socket>);
  static_assert(!rn::detail::can_try<memory_stream>);
  struct counting : stream {
    using stream::stream;
  };
  static_assert(!rn::detail::can_try<counting>, "what is made of a socket may do more");
  on_one_thread([](bool& others) -> rn::task<> {
    auto acceptor =
        rn::use_task.as_default_on(asio::ip::tcp::acceptor(rn::this_executor(), {asio::ip::address_v4::loopback(), 0}));
    socket near(rn::this_executor());
    auto accept = [&]() -> rn::task<socket> { co_return socket(co_await acceptor.async_accept()); };
    auto connect = [&]() -> rn::task<> { co_await near.async_connect(acceptor.local_endpoint()); };
    auto both = co_await rn::all(accept(), connect());
    others = false;
    co_await rn::write(near, asio::buffer("abc", 3));
    EXPECT_FALSE(others);
    std::array<char, 3> bytes;
    EXPECT_EQ(co_await rn::read(std::get<0>(both), asio::buffer(bytes)), 3u);
  });
}

// A conversation in memory: each line is answered with the same.
rn::task<> talk() {
  memory_stream client(rn::this_executor()), server(rn::this_executor());
  client.connect(server);
  auto ask = [](memory_stream& io) -> rn::task<> {
    const std::string said = "hello, world";
    std::string answer(said.size(), ' ');
    co_await rn::write(io, asio::buffer(said));
    co_await rn::read(io, asio::buffer(answer));
    EXPECT_EQ(answer, said);
    io.close();
  };
  auto echo = [](memory_stream& io) -> rn::task<> {
    std::array<char, 100> bytes;
    for (;;) {
      auto r = co_await rn::read_some(io, asio::buffer(bytes), rn::use_result);
      if (r.error() == asio::error::eof) co_return;
      co_await rn::write(io, asio::buffer(bytes, r.value()));
    }
  };
  co_await rn::all(ask(client), echo(server));
}

TEST_F(transfer, a_conversation_in_memory_is_cancelled_and_fails_at_every_place) {
  EXPECT_EQ(rn::test::explore(50, talk), 50u);
  EXPECT_GT(rn::test::cancel_everywhere(talk), 20u);
  EXPECT_GT(rn::test::fail_everywhere(talk), 8u);
}

TEST_F(transfer, a_real_socket_is_refused_under_test_run) {
  asio::io_context io;
  connection c(io.get_executor());
  rn::test::run([&]() -> rn::task<> {
    auto message = co_await test::error_of_awaiting([&] { return rn::write(c.near, asio::buffer("abc", 3)); });
    EXPECT_NE(message.find("test::run"), std::string::npos) << message;
  });
  EXPECT_EQ(drain(c.far, 10), 0u);
}

}  // namespace
