// SPDX-License-Identifier: BSL-1.0
// A request and all that it starts: one deadline, one cancellation, and the client who hangs up.
#include <runnel.hpp>
#include <runnel/io.hpp>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace rn = runnel;
namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;

rn::task<std::string> backend(std::string name) {
  if (name == "broken") throw std::runtime_error("backend broken");
  if (name == "slow") co_await rn::sleep(1h);
  co_return "<" + name + ">";
}

// Go: an errgroup under the request's context. All of it or an error, and nothing is left running.
rn::task<std::string> whole_page(std::string who) {
  auto parts = co_await rn::all(backend("head"), backend(who), backend("foot"));
  co_return std::get<0>(parts) + std::get<1>(parts) + std::get<2>(parts);
}

// Elixir: async_stream with a timeout. What is broken or slow is left out, and the others do not hear of it.
rn::task<std::string> what_there_is(std::string who) {
  std::vector<std::string> names{"head", std::move(who), "foot"};
  std::string page;
  auto parts = rn::async_stream(names, rn::max_concurrency(8), rn::timeout(20ms), rn::kill_on_timeout, backend);
  while (auto part = co_await parts.next()) page += part->ok() ? part->value() : "<>";
  co_return page;
}

// The handler: a second for all of it, whatever it calls; and if the client hangs up, nobody works for it any more.
struct progress {
  rn::event begun, given_up;
};
struct reporter {
  explicit reporter(progress& p) : of(p) { of.begun.set(); }
  ~reporter() {
    if (rn::unwinding()) of.given_up.set();
  }
  progress& of;
};
rn::task<std::string> page(std::string kind, std::string who, progress& p) {
  reporter r(p);
  if (kind == "some") co_return co_await what_there_is(who);
  co_return co_await whole_page(who);
}

rn::task<> session(tcp::socket socket, progress& p) {
  std::string line;
  co_await asio::async_read_until(socket, asio::dynamic_buffer(line), '\n', rn::use_task);
  auto space = line.find(' ');
  std::string kind = line.substr(0, space), who = line.substr(space + 1, line.size() - space - 2), reply;
  auto limit = kind == "late" ? 20ms : 10s;
  auto work = rn::with_timeout(limit, page(kind, who, p));
  auto r = co_await rn::cancel_on(rn::peer_closed(socket), std::move(work));
  if (r.canceled()) co_return;  // nobody listens
  try {
    reply = "200 " + r.value();
  } catch (const rn::timeout_error&) {
    reply = "504 out of time";
  } catch (const std::exception& error) {
    reply = std::string("500 ") + error.what();
  }
  co_await asio::async_write(socket, asio::buffer(reply), rn::use_task);
}

rn::task<tcp::socket> request(tcp::endpoint server, std::string line) {
  tcp::socket socket(rn::this_executor());
  co_await socket.async_connect(server, rn::use_task);
  line += '\n';
  co_await asio::async_write(socket, asio::buffer(line), rn::use_task);
  co_return std::move(socket);
}

rn::task<> get(tcp::endpoint server, std::string line) {
  auto socket = co_await request(server, line);
  std::string reply;
  (void)co_await asio::async_read(socket, asio::dynamic_buffer(reply), rn::use_result);  // to the end of the stream
  std::printf("  %s: %s\n", line.c_str(), reply.c_str());
}

rn::task<> app() {
  tcp::acceptor acceptor(rn::this_executor(), {asio::ip::address_v4::loopback(), 0});
  auto here = acceptor.local_endpoint();
  progress p;
  auto one = [&](tcp::socket s) { return session(std::move(s), p); };
  auto server = rn::async([&]() -> rn::task<> { co_await rn::serve(acceptor, rn::limit(100), rn::drain(5s), one); });

  for (const char* line : {"all body", "all broken", "late slow", "some body", "some broken", "some slow"})
    co_await get(here, line);
  p.begun.reset();
  p.given_up.reset();
  auto client = co_await request(here, "all slow");
  co_await p.begun.wait();
  client.close();
  co_await p.given_up.wait();
  std::puts("  all slow: the client has hung up, and its work is unwound");
  (void)co_await server.shutdown();
}

int main() {
  std::puts("requests:");
  return rn::run(app);
}
