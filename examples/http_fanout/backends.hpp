// SPDX-License-Identifier: BSL-1.0
// What the example http_fanout asks: the addresses of its backends, and three to try it with.
#pragma once

#include <runnel.hpp>
#include <runnel/io.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Looks up each HOST:PORT. Throws: boost::system::system_error.
inline runnel::task<std::vector<boost::asio::ip::tcp::endpoint>> resolved(std::vector<std::string> names) {
  std::vector<boost::asio::ip::tcp::endpoint> found;
  boost::asio::ip::tcp::resolver resolver(runnel::this_executor());
  for (auto& name : names) {
    auto colon = name.rfind(':');
    auto all = co_await resolver.async_resolve(name.substr(0, colon), name.substr(colon + 1), runnel::use_task);
    found.push_back(all.begin()->endpoint());
  }
  co_return found;
}

/// Three servers, a, b and c, in a runtime of their own, as if they were another program: they still answer when this
/// one is about to stop. Each says its name, the target, and the id of the request. To /hang they say nothing; in the
/// middle of /broken b breaks the connection.
class own_backends {
 public:
  own_backends() {
    for (char name : {'a', 'b', 'c'}) {
      tcp::acceptor acceptor(x_runtime.get_executor(), {boost::asio::ip::address_v4::loopback(), 0});
      x_names.push_back("127.0.0.1:" + std::to_string(acceptor.local_endpoint().port()));
      x_runtime.go(serve, std::move(acceptor), name);
    }
  }
  const std::vector<std::string>& names() const noexcept { return x_names; }

 private:
  using tcp = boost::asio::ip::tcp;

  static runnel::task<> serve(tcp::acceptor acceptor, char name) {
    co_await runnel::serve(acceptor, [name](tcp::socket socket) { return session(std::move(socket), name); });
  }
  static runnel::task<> session(tcp::socket socket, char name) {
    namespace http = boost::beast::http;
    boost::beast::flat_buffer buffer;
    http::request<http::empty_body> asked;
    auto read = co_await http::async_read(socket, buffer, asked, runnel::use_result);
    if (!read) co_return;
    std::string_view target = asked.target();
    if (target == "/hang") co_return co_await runnel::peer_closed(socket);
    if (target == "/broken" && name == 'b') {
      std::string_view half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of";
      (void)co_await boost::asio::async_write(socket, boost::asio::buffer(half), runnel::use_result);
      co_return;
    }
    http::response<http::string_body> answer(http::status::ok, 11);
    answer.body() = std::string(1, name) + " " + std::string(target) + " " + std::string(asked["X-Request-Id"]);
    answer.keep_alive(false);
    answer.prepare_payload();
    (void)co_await http::async_write(socket, answer, runnel::use_result);
  }

  std::vector<std::string> x_names;
  runnel::runtime x_runtime{runnel::threads(1)};
};
