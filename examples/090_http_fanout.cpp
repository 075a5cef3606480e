// SPDX-License-Identifier: BSL-1.0
// An HTTP service of the everyday kind, over TCP or TLS: it answers a request with what its backends say to it, asked
// all at once under a deadline. The first that fails ends the others (502), the deadline ends all (504), and so does
// the client that goes away. When too many requests are in flight others are turned away (503). SIGTERM lets those in
// flight end, within a grace time.
//
//     http_fanout --listen 8080 --backends 10.0.0.1:80,10.0.0.2:80    and curl localhost:8080/debug/goroutines
//
// Without a port it serves itself a few requests, from backends of its own, and stops.
#include "http_fanout/backends.hpp"
#include "http_fanout/certificate.hpp"
#include "http_fanout/demo.hpp"
#include "http_fanout/options.hpp"

#include <runnel.hpp>
#include <runnel/dump.hpp>
#include <runnel/io.hpp>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace rn = runnel;
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using namespace std::chrono_literals;
using request = http::request<http::string_body>;
using response = http::response<http::string_body>;

constexpr std::size_t most_of_head = 8 * 1024, most_of_body = 64 * 1024;

struct service {
  explicit service(const options& o, std::vector<tcp::endpoint> b) : given(o), backends(std::move(b)) {}
  const options& given;
  std::vector<tcp::endpoint> backends;
  rn::semaphore in_flight{given.limit};
  rn::context stopping = rn::this_context();  // done when the service is to stop
  asio::ssl::context tls = tls_server_with_certificate();
};

// ---- A request ----

response reply(http::status status, std::string text = "") {
  response r(status, 11);
  r.set(http::field::content_type, "text/plain");
  if (status == http::status::service_unavailable) r.set(http::field::retry_after, "1");
  if (status == http::status::method_not_allowed) r.set(http::field::allow, "GET, POST");
  r.body() = std::move(text);
  return r;
}

rn::task<std::string> ask(const tcp::endpoint& backend, const request& asked) {
  tcp::socket socket(rn::this_executor());
  co_await socket.async_connect(backend, rn::use_task);
  http::request<http::empty_body> question(http::verb::get, asked.target(), 11);
  question.set(http::field::host, backend.address().to_string());
  question.set("X-Request-Id", asked["X-Request-Id"]);
  question.keep_alive(false);
  co_await http::async_write(socket, question, rn::use_task);
  beast::flat_buffer buffer(most_of_head);
  http::response_parser<http::string_body> answer;
  answer.body_limit(most_of_body);
  co_await http::async_read(socket, buffer, answer, rn::use_task);
  if (answer.get().result() != http::status::ok) throw std::runtime_error("it did not say 200");
  co_return std::move(answer.get().body());
}

// Which one failed is what one wants to know at night: fan_out writes it down. Of others that fail at the same time the
// runtime does (runtime_options::on_unobserved_error).
rn::task<std::string> ask_by_name(const tcp::endpoint& backend, const request& asked) {
  try {
    co_return co_await ask(backend, asked);
  } catch (const std::exception& error) {
    std::ostringstream text;
    text << "backend " << backend << ": " << error.what();
    throw std::runtime_error(text.str());
  }
}

rn::task<std::string> ask_all(const service& s, const request& asked) {
  std::vector<rn::task<std::string>> questions;
  for (auto& backend : s.backends) questions.push_back(ask_by_name(backend, asked));
  auto answers = co_await rn::all(std::move(questions));
  std::string text;
  for (auto& answer : answers) text += answer + "\n";
  co_return text;
}

rn::task<response> fan_out(service& s, const request& asked) {
  rn::permit slot = s.in_flight.try_acquire();
  if (!slot) co_return reply(http::status::service_unavailable);
  try {
    auto text = co_await rn::with_timeout(s.given.deadline, ask_all(s, asked));
    co_return reply(http::status::ok, std::move(text));
  } catch (const rn::deadline_exceeded&) {
    co_return reply(http::status::gateway_timeout);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    co_return reply(http::status::bad_gateway);
  }
}

rn::task<response> answer(service& s, const request& asked) {
  if (asked.method() != http::verb::get && asked.method() != http::verb::post)
    co_return reply(http::status::method_not_allowed);
  if (asked.target() == "/healthz") {
    if (s.stopping.is_done()) co_return reply(http::status::service_unavailable, "stopping\n");
    co_return reply(http::status::ok, "ok\n");
  }
  if (asked.target() == "/debug/goroutines") {
    std::ostringstream text;
    rn::dump(text);
    co_return reply(http::status::ok, std::move(text).str());
  }
  co_return co_await fan_out(s, asked);
}

// ---- A connection ----

// What to say to a request that cannot be read: nothing (unknown) when the client has gone.
http::status refusal(const boost::system::error_code& error) {
  if (error == http::error::end_of_stream || error == http::error::partial_message) return http::status::unknown;
  if (error == http::error::header_limit || error == http::error::buffer_overflow)
    return http::status::request_header_fields_too_large;
  if (error == http::error::body_limit) return http::status::payload_too_large;
  if (error.category() == make_error_code(http::error::bad_method).category()) return http::status::bad_request;
  return http::status::unknown;
}

template <class Stream> rn::task<> read_some(Stream& stream, beast::flat_buffer& buffer) {
  auto read = co_await stream.async_read_some(buffer.prepare(1024), rn::use_result);
  buffer.commit(read.partial());
}

template <class Stream>
rn::task<http::status> read_request(service& s, Stream& stream, beast::flat_buffer& buffer, request& into) {
  http::request_parser<http::string_body> parser;
  parser.header_limit(most_of_head);
  parser.body_limit(most_of_body);
  try {
    auto read = co_await rn::with_timeout(s.given.patience, http::async_read(stream, buffer, parser, rn::use_result));
    if (!read) co_return refusal(read.error());
  } catch (const rn::deadline_exceeded&) {
    co_return http::status::request_timeout;
  }
  into = parser.release();
  co_return http::status::ok;
}

// Requests are answered one after the other, in order; what a client sends ahead waits in the socket and the buffer.
template <class Stream> rn::task<> session(service& s, Stream& stream) {
  beast::flat_buffer buffer(most_of_head + 1024);
  for (bool more = true; more;) {
    // Between two requests the client may be idle; then the service may stop. Of a request that has come nothing is lost.
    if (buffer.size() == 0)
      (void)co_await rn::cancel_on(s.stopping.done(), rn::with_timeout(s.given.idle, read_some(stream, buffer)));
    if (buffer.size() == 0) co_return;

    request asked;
    http::status status = co_await read_request(s, stream, buffer, asked);
    if (status == http::status::unknown) co_return;
    response answered = reply(status);
    if (status == http::status::ok) {
      auto outcome = co_await rn::cancel_on(rn::peer_closed(beast::get_lowest_layer(stream)), answer(s, asked));
      if (outcome.canceled()) co_return;  // nobody waits for it any more: it has closed, if only its sending side
      answered = std::move(outcome).value();
    }
    more = status == http::status::ok && asked.keep_alive() && !s.stopping.is_done();
    answered.version(asked.version());
    answered.keep_alive(more);
    answered.prepare_payload();
    auto written =
        co_await rn::as_result(rn::with_timeout(s.given.patience, http::async_write(stream, answered, rn::use_task)));
    if (!written) co_return;
  }
}

// Who closes a socket with bytes in it that nobody has read breaks the connection, and the client may not see the last
// answer: so the client is to close first, if it does so soon.
rn::task<> read_to_the_end(tcp::socket& socket) {
  boost::system::error_code gone;
  socket.shutdown(tcp::socket::shutdown_send, gone);
  std::array<char, 1024> rest;
  for (;;) {
    auto read = co_await socket.async_read_some(asio::buffer(rest), rn::use_result);
    if (!read) co_return;
  }
}

rn::task<> plain_session(service& s, tcp::socket socket) {
  co_await session(s, socket);
  (void)co_await rn::as_result(rn::with_timeout(1s, read_to_the_end(socket)));
}

rn::task<> tls_session(service& s, tcp::socket socket) {
  asio::ssl::stream<tcp::socket> stream(std::move(socket), s.tls);
  auto shaken = co_await rn::as_result(
      rn::with_timeout(s.given.patience, stream.async_handshake(asio::ssl::stream_base::server, rn::use_task)));
  if (!shaken) co_return;
  co_await session(s, stream);
  (void)co_await rn::as_result(rn::with_timeout(1s, stream.async_shutdown(rn::use_task)));
  (void)co_await rn::as_result(rn::with_timeout(1s, read_to_the_end(stream.next_layer())));
}

// ---- The service ----

rn::task<> serve(tcp::acceptor& acceptor, const options& given, std::vector<tcp::endpoint> backends) {
  service s(given, std::move(backends));
  co_await rn::serve(acceptor, rn::limit(given.connections), rn::drain(given.grace), [&](tcp::socket socket) {
    return given.tls ? tls_session(s, std::move(socket)) : plain_session(s, std::move(socket));
  });
}

rn::task<> app(const options& given) {
  auto backends = co_await resolved(given.backends);
  tcp::acceptor acceptor(rn::this_executor(), {asio::ip::address_v4::loopback(), given.port});
  if (given.serves) {
    std::printf("serving port %u\n", acceptor.local_endpoint().port());
    std::fflush(stdout);
    co_await serve(acceptor, given, backends);
  }
  rn::errgroup server;
  server.go(serve, std::ref(acceptor), std::cref(given), backends);
  co_await show(acceptor.local_endpoint());
  server.cancel();
  (void)co_await rn::as_result(server.wait());
  std::puts("stopped");
}

int main(int argc, char** argv) {
  options given;
  if (!given.read(argc, argv)) return std::fputs(options::usage, stderr), 2;
  std::optional<own_backends> own;
  if (given.backends.empty()) given.backends = own.emplace().names();
  return rn::run(rn::dump_on_quit, app, std::cref(given));
}
