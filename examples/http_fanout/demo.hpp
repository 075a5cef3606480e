// SPDX-License-Identifier: BSL-1.0
// The requests that the example http_fanout sends to itself.
#pragma once

#include <runnel.hpp>
#include <runnel/io.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <cstdio>
#include <string>

/// Sends bytes, as they are, on a connection of their own, and prints the answers, so many as are said to come.
inline runnel::task<> show(boost::asio::ip::tcp::endpoint server, const char* what, std::string bytes, int answers) {
  namespace http = boost::beast::http;
  boost::asio::ip::tcp::socket socket(runnel::this_executor());
  co_await socket.async_connect(server, runnel::use_task);
  co_await boost::asio::async_write(socket, boost::asio::buffer(bytes), runnel::use_task);
  boost::beast::flat_buffer buffer;
  std::printf("%s\n", what);
  for (int i = 0; i < answers; ++i) {
    http::response<http::string_body> answer;
    co_await http::async_read(socket, buffer, answer, runnel::use_task);
    std::printf("  %u %s\n", answer.result_int(), std::string(answer.reason()).c_str());
    if (answer.result() == http::status::ok) std::printf("%s", answer.body().c_str());
  }
}

inline runnel::task<> show(boost::asio::ip::tcp::endpoint server) {
  auto get = [](std::string target, std::string id) {
    return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: " + id + "\r\n\r\n";
  };
  co_await show(server, "is it well?", get("/healthz", "1"), 1);
  co_await show(server, "three requests, sent ahead on one connection",
                get("/x", "2") + get("/broken", "3") + get("/y", "4"), 3);
  co_await show(server, "backends that do not answer", get("/hang", "5"), 1);
  co_await show(server, "a header without an end", "GET / HTTP/1.1\r\nX: " + std::string(20'000, 'x'), 1);
  co_await show(server, "a large body", "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 1);
  co_await show(server, "no HTTP at all", "EHLO localhost\r\n\r\n", 1);
}
