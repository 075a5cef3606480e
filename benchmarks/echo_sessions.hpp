// SPDX-License-Identifier: BSL-1.0
// One connection that sends back what comes: by callbacks of Asio, by asio::awaitable, by a goroutine,
// with the operations of Asio or those that try first.
#pragma once

#include <runnel.hpp>
#include <runnel/io.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <utility>

namespace bench {

namespace rn = runnel;
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using message = std::array<char, 64>;

class callback_session : public std::enable_shared_from_this<callback_session> {
 public:
  explicit callback_session(tcp::socket s) : x_socket(std::move(s)) {}
  void read() {
    x_socket.async_read_some(asio::buffer(x_bytes), [self = shared_from_this()](error_code e, std::size_t n) {
      if (!e) self->write(n);
    });
  }

 private:
  void write(std::size_t n) {
    x_socket.async_write_some(asio::buffer(x_bytes, n), [self = shared_from_this()](error_code e, std::size_t) {
      if (!e) self->read();
    });
  }
  tcp::socket x_socket;
  message x_bytes{};
};
inline void by_callbacks(rn::scheduler&, asio::io_context&, tcp::socket s) {
  std::make_shared<callback_session>(std::move(s))->read();
}

inline asio::awaitable<void> awaitable_session(tcp::socket s) {
  message bytes;
  try {
    for (;;) {
      std::size_t n = co_await s.async_read_some(asio::buffer(bytes), asio::use_awaitable);
      co_await s.async_write_some(asio::buffer(bytes, n), asio::use_awaitable);
    }
  } catch (const boost::system::system_error&) {  // the end of the stream
  }
}
inline void by_awaitable(rn::scheduler&, asio::io_context& io, tcp::socket s) {
  asio::co_spawn(io, awaitable_session(std::move(s)), asio::detached);
}

inline rn::task<> goroutine_session(tcp::socket s) {
  message bytes;
  for (;;) {
    auto read = co_await s.async_read_some(asio::buffer(bytes), rn::use_result);
    if (!read) co_return;
    co_await s.async_write_some(asio::buffer(bytes, read.value()), rn::use_task);
  }
}
inline void by_goroutines(rn::scheduler& sched, asio::io_context&, tcp::socket s) {
  sched.go(goroutine_session, std::move(s));
}

// The same by the operations that try first.
inline rn::task<> trying_session(tcp::socket s) {
  message bytes;
  for (;;) {
    auto read = co_await rn::read_some(s, asio::buffer(bytes), rn::use_result);
    if (!read) co_return;
    co_await rn::write_some(s, asio::buffer(bytes, read.value()));
  }
}
inline void by_goroutines_that_try(rn::scheduler& sched, asio::io_context&, tcp::socket s) {
  sched.go(trying_session, std::move(s));
}

}  // namespace bench
