// SPDX-License-Identifier: BSL-1.0
// An echo server with a goroutine for each connection: at most a thousand of them, and five seconds to go on when it
// stops. `echo 7000` serves port 7000 until Ctrl-C; without a port it serves itself three clients, and stops.
#include <runnel.hpp>
#include <runnel/io.hpp>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

namespace rn = runnel;
namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;

rn::task<> session(tcp::socket socket) {
  std::array<char, 4096> bytes;
  for (;;) {
    auto read = co_await rn::read_some(socket, asio::buffer(bytes), rn::use_result);
    if (!read) co_return;  // the client has gone
    co_await rn::write(socket, asio::buffer(bytes, read.value()));
  }
}

rn::task<> serve(tcp::acceptor& acceptor) {
  co_await rn::serve(acceptor, rn::limit(1000), rn::drain(5s), session);
}

rn::task<std::string> ask(tcp::endpoint server, std::string text) {
  tcp::socket socket(rn::this_executor());
  co_await socket.async_connect(server, rn::use_task);
  co_await asio::async_write(socket, asio::buffer(text), rn::use_task);
  std::string answer(text.size(), ' ');
  co_await asio::async_read(socket, asio::buffer(answer), rn::use_task);
  co_return answer;
}

rn::task<> app(unsigned short port) {
  tcp::acceptor acceptor(rn::this_executor(), {asio::ip::address_v4::loopback(), port});
  if (port != 0) {
    std::printf("serving port %u\n", port);
    co_await serve(acceptor);
  }
  rn::errgroup server;
  server.go(serve, std::ref(acceptor));
  tcp::endpoint here = acceptor.local_endpoint();
  auto answers = co_await rn::all(ask(here, "one"), ask(here, "two"), ask(here, "three"));
  std::printf("%s %s %s\n", std::get<0>(answers).c_str(), std::get<1>(answers).c_str(), std::get<2>(answers).c_str());
  server.cancel();
  (void)co_await rn::as_result(server.wait());
  std::puts("stopped");
}

int main(int argc, char** argv) {
  int port = argc > 1 ? std::atoi(argv[1]) : 0;
  if (port < 0 || port > 65535 || (argc > 1 && port == 0)) {
    std::fputs("usage: echo [PORT]\n", stderr);
    return 2;
  }
  // Each socket belongs to its goroutine, which contexts cancel: so its reads may wait until many have come.
  return rn::run(rn::runtime_options().deferred_reads(), app, static_cast<unsigned short>(port));
}
