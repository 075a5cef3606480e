// SPDX-License-Identifier: BSL-1.0
// Asio's own I/O objects in goroutines, each against the system: what they carry, a wait that is cancelled, the other
// side's end, an object that is closed.
#include <runnel/io/transfer.hpp>
#include <runnel/io/use_task.hpp>

#include <runnel/as_result.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/with_context.hpp>

#include "support/checked_runtime.hpp"
#include "support/conserves_frames.hpp"

#include <gtest/gtest.h>
#include <boost/asio/connect_pipe.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/datagram_protocol.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/readable_pipe.hpp>
#include <boost/asio/serial_port.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/writable_pipe.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <utility>

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using boost::system::error_code;

class io_objects : public runnel_test::conserves_frames {};

const std::string late = "runnel: deadline exceeded";
const error_code bad_descriptor = asio::error::bad_descriptor;

// Awaits what make() returns, an io_result, for a moment; what it says then.
template <class Make> rn::task<std::string> cut_short(Make make) {
  auto wait = [&]() -> rn::task<> { (void)co_await make(); };
  co_return co_await test::error_of_awaiting([&] { return rn::with_timeout(1ms, wait()); });
}

// Of two ends of a stream of bytes.
template <class In, class Out> rn::task<> carries_bytes(In& in, Out& out) {
  std::array<char, 8> bytes;
  EXPECT_EQ(co_await out.async_write_some(asio::buffer("abc", 3), rn::use_task), 3u);
  EXPECT_EQ(co_await in.async_read_some(asio::buffer(bytes), rn::use_task), 3u);
  EXPECT_EQ(std::string(bytes.data(), 3), "abc");
  auto read = [&] { return in.async_read_some(asio::buffer(bytes), rn::use_result); };
  EXPECT_EQ(co_await cut_short(read), late);
  EXPECT_EQ(co_await rn::write(out, asio::buffer("defgh", 5)), 5u);  // whole after that
  EXPECT_EQ(co_await rn::read(in, asio::buffer(bytes, 5)), 5u);
  EXPECT_EQ(std::string(bytes.data(), 5), "defgh");
}
// A write that the other end does not take.
template <class Out> rn::task<> waits_when_full(Out& out) {
  const std::string many(16 * 1024 * 1024, 'x');
  auto write = [&] { return rn::write(out, asio::buffer(many), rn::use_result); };
  EXPECT_EQ(co_await cut_short(write), late);
}
template <class Closed> rn::task<> is_closed_for_reading(Closed& object) {
  std::array<char, 8> bytes;
  auto r = co_await rn::read_some(object, asio::buffer(bytes), rn::use_result);
  EXPECT_EQ(r.error(), bad_descriptor);
}
template <class Closed> rn::task<> is_closed_for_writing(Closed& object) {
  auto r = co_await rn::write_some(object, asio::buffer("abc", 3), rn::use_result);
  EXPECT_EQ(r.error(), bad_descriptor);
}
template <class In> rn::task<error_code> error_of_reading(In& in) {
  std::array<char, 8> bytes;
  auto r = co_await rn::read_some(in, asio::buffer(bytes), rn::use_result);
  co_return r.error();
}

// Writing to what nobody reads any more is a signal, unless the object is a socket.
class no_sigpipe {
 public:
  no_sigpipe() : x_before(std::signal(SIGPIPE, SIG_IGN)) {}
  no_sigpipe(const no_sigpipe&) = delete;
  no_sigpipe& operator=(const no_sigpipe&) = delete;
  ~no_sigpipe() { std::signal(SIGPIPE, x_before); }

 private:
  void (*x_before)(int);
};

TEST_F(io_objects, local_stream_sockets) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    using socket = asio::local::stream_protocol::socket;
    socket a(rn::this_executor()), b(rn::this_executor());
    asio::local::connect_pair(a, b);
    co_await carries_bytes(a, b);
    co_await carries_bytes(b, a);
    co_await waits_when_full(a);
    b.close();
    EXPECT_TRUE(co_await error_of_reading(a));
    co_await is_closed_for_reading(b);
    co_await is_closed_for_writing(b);
  });
}

TEST_F(io_objects, tcp_sockets) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    using asio::ip::tcp;
    tcp::acceptor acceptor(rn::this_executor(), {asio::ip::address_v4::loopback(), 0});
    tcp::socket a(rn::this_executor());
    co_await a.async_connect(acceptor.local_endpoint(), rn::use_task);
    tcp::socket b = co_await acceptor.async_accept(rn::use_task);
    auto accept = [&] { return acceptor.async_accept(rn::use_result); };
    EXPECT_EQ(co_await cut_short(accept), late);
    co_await carries_bytes(a, b);
    co_await carries_bytes(b, a);
    co_await waits_when_full(a);
    b.shutdown(tcp::socket::shutdown_send);
    EXPECT_EQ(co_await error_of_reading(a), asio::error::eof);
    b.close();
    co_await is_closed_for_reading(b);
    acceptor.close();
    auto refused = co_await accept();
    EXPECT_EQ(refused.error(), bad_descriptor);
    auto nobody = co_await tcp::socket(rn::this_executor()).async_connect(a.local_endpoint(), rn::use_result);
    EXPECT_FALSE(nobody.ok());
  });
}

TEST_F(io_objects, pipes) {
  no_sigpipe guard;
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    asio::readable_pipe in(rn::this_executor());
    asio::writable_pipe out(rn::this_executor());
    asio::connect_pipe(in, out);
    co_await carries_bytes(in, out);
    co_await waits_when_full(out);
    in.close();
    auto gone = co_await rn::write(out, asio::buffer("abc", 3), rn::use_result);
    EXPECT_EQ(gone.error(), asio::error::broken_pipe);
    co_await is_closed_for_reading(in);
    out.close();
    co_await is_closed_for_writing(out);
    asio::connect_pipe(in, out);
    out.close();
    EXPECT_EQ(co_await error_of_reading(in), asio::error::eof);
  });
}

TEST_F(io_objects, descriptors_of_the_system) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    asio::posix::stream_descriptor in(rn::this_executor(), ends[0]), out(rn::this_executor(), ends[1]);
    co_await carries_bytes(in, out);
    co_await waits_when_full(out);
    out.close();
    co_await is_closed_for_writing(out);
    in.close();
    co_await is_closed_for_reading(in);
  });
}

// A terminal of the system, whose other side is in this program.
TEST_F(io_objects, serial_ports) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    int master = ::posix_openpt(O_RDWR | O_NOCTTY);
    EXPECT_GE(master, 0);
    EXPECT_TRUE(::grantpt(master) == 0 && ::unlockpt(master) == 0);
    asio::posix::stream_descriptor far(rn::this_executor(), master);
    asio::serial_port port(rn::this_executor(), ::ptsname(master));  // raw, as Asio opens it
    port.set_option(asio::serial_port::baud_rate(9600));
    co_await carries_bytes(port, far);
    co_await carries_bytes(far, port);
    far.close();
    EXPECT_TRUE(co_await error_of_reading(port));
    port.close();
    co_await is_closed_for_reading(port);
    co_await is_closed_for_writing(port);
  });
}

template <class Socket> rn::task<> carries_datagrams(Socket& a, Socket& b) {
  std::array<char, 8> bytes;
  EXPECT_EQ(co_await a.async_send(asio::buffer("abc", 3), rn::use_task), 3u);
  EXPECT_EQ(co_await a.async_send(asio::buffer("de", 2), rn::use_task), 2u);
  EXPECT_EQ(co_await b.async_receive(asio::buffer(bytes), rn::use_task), 3u);
  EXPECT_EQ(co_await b.async_receive(asio::buffer(bytes), rn::use_task), 2u);
  auto receive = [&] { return b.async_receive(asio::buffer(bytes), rn::use_result); };
  EXPECT_EQ(co_await cut_short(receive), late);
  EXPECT_EQ(co_await a.async_send(asio::buffer("f", 1), rn::use_task), 1u);
  EXPECT_EQ(co_await b.async_receive(asio::buffer(bytes), rn::use_task), 1u);
}

TEST_F(io_objects, local_datagram_sockets) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    using socket = asio::local::datagram_protocol::socket;
    socket a(rn::this_executor()), b(rn::this_executor());
    asio::local::connect_pair(a, b);
    co_await carries_datagrams(a, b);
    b.close();
    auto sent = co_await a.async_send(asio::buffer("abc", 3), rn::use_result);
    EXPECT_FALSE(sent.ok());
    std::array<char, 8> bytes;
    auto received = co_await b.async_receive(asio::buffer(bytes), rn::use_result);
    EXPECT_EQ(received.error(), bad_descriptor);
  });
}

TEST_F(io_objects, udp_sockets) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    using asio::ip::udp;
    const udp::endpoint any(asio::ip::address_v4::loopback(), 0);
    udp::socket a(rn::this_executor(), any), b(rn::this_executor(), any);
    std::array<char, 8> bytes;
    udp::endpoint from;
    auto receive = [&] { return b.async_receive_from(asio::buffer(bytes), from, rn::use_result); };
    EXPECT_EQ(co_await cut_short(receive), late);
    EXPECT_EQ(co_await a.async_send_to(asio::buffer("abc", 3), b.local_endpoint(), rn::use_task), 3u);
    auto got = co_await receive();
    EXPECT_EQ(got.value(), 3u);
    EXPECT_EQ(from, a.local_endpoint());
    co_await a.async_connect(b.local_endpoint(), rn::use_task);
    co_await carries_datagrams(a, b);
    b.close();
    auto closed = co_await receive();
    EXPECT_EQ(closed.error(), bad_descriptor);
  });
}

TEST_F(io_objects, signals) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    asio::signal_set signals(rn::this_executor(), SIGUSR1);
    auto wait = [&] { return signals.async_wait(rn::use_result); };
    EXPECT_EQ(co_await cut_short(wait), late);
    std::raise(SIGUSR1);
    auto first = co_await wait();
    EXPECT_EQ(first.value(), SIGUSR1);
    rn::errgroup g;
    g.go([&]() -> rn::task<> {
      auto ended = co_await wait();
      EXPECT_EQ(ended.error(), asio::error::operation_aborted);  // by signals.cancel(): nobody cancelled the goroutine
    });
    co_await test::let_others_run();
    while (g.live() != 0) {
      signals.cancel();
      co_await rn::yield();
    }
    co_await g.wait();
  });
}

TEST_F(io_objects, resolvers) {
  test::on_1_2_and_4_threads([]() -> rn::task<> {
    using asio::ip::tcp;
    tcp::resolver resolver(rn::this_executor());
    const auto numeric = tcp::resolver::numeric_host | tcp::resolver::numeric_service;
    auto found = co_await resolver.async_resolve("127.0.0.1", "80", numeric, rn::use_task);
    EXPECT_EQ(found.begin()->endpoint(), tcp::endpoint(asio::ip::address_v4::loopback(), 80));
    auto unknown = co_await resolver.async_resolve("not a number", "80", numeric, rn::use_result);
    EXPECT_FALSE(unknown.ok());
    // A resolver does not listen to cancellation: whatever comes is delivered, or an abort unwinds.
    auto resolve = [&] { return resolver.async_resolve("127.0.0.1", "80", numeric, rn::use_result); };
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    auto work = [&]() -> rn::task<> { (void)co_await resolve(); };
    auto r = co_await rn::as_result(rn::with_context(ctx, work()));
    EXPECT_TRUE(r.canceled());
    auto again = co_await resolve();
    EXPECT_TRUE(again.ok());
  });
}

}  // namespace
