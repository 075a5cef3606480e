// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_attempt.hpp: bytes that go to a plain socket, or come from it, without waiting.
// Layer: L11
#pragma once

#include <runnel/detail/goroutine.hpp>

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/error_code.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

#include <sys/socket.h>
#include <sys/uio.h>

namespace runnel::detail {

// The system call itself, on the socket's handle, because the synchronous operation of Asio waits for a socket that is
// not ready, unless the user has called non_blocking(true): which would be seen by what else the program does with it.
// MSG_DONTWAIT changes nothing of the socket. To Asio's reactor it is as if the bytes had been transferred elsewhere:
// its own operation that follows tries again, or waits for an edge that comes after the failure here.
#if defined(MSG_DONTWAIT)
inline constexpr bool sockets_can_try = true;
#if defined(MSG_NOSIGNAL)
inline constexpr int without_waiting = MSG_DONTWAIT | MSG_NOSIGNAL;
#else
inline constexpr int without_waiting = MSG_DONTWAIT;  // Asio has set SO_NOSIGPIPE where that is so
#endif
#else
inline constexpr bool sockets_can_try = false;
inline constexpr int without_waiting = 0;
#endif

// Asio's own sockets of a stream, and nothing that is made of one or derived from it: that may do more than transfer.
template <class Stream> inline constexpr bool can_try = false;
template <class Protocol, class Executor>
inline constexpr bool can_try<boost::asio::basic_stream_socket<Protocol, Executor>> = sockets_can_try;

// The first of a sequence's buffers that are not empty, as the system wants them.
class io_vector {
 public:
  static constexpr std::size_t most = 16;

  template <class Buffers> explicit io_vector(const Buffers& buffers) {
    auto end = boost::asio::buffer_sequence_end(buffers);
    for (auto at = boost::asio::buffer_sequence_begin(buffers); at != end && x_count < most; ++at) add(*at);
  }
  bool empty() const noexcept { return x_count == 0; }
  // send(), or recv(), of one buffer costs the system less than sendmsg().
  bool is_one() const noexcept { return x_count == 1; }
  const iovec& first() const noexcept { return x_parts[0]; }
  msghdr message() noexcept {
    msghdr m{};
    m.msg_iov = x_parts.data();
    m.msg_iovlen = static_cast<decltype(m.msg_iovlen)>(x_count);
    return m;
  }

 private:
  void add(const boost::asio::mutable_buffer& b) noexcept {
    if (b.size() != 0) x_parts[x_count++] = {b.data(), b.size()};
  }
  void add(const boost::asio::const_buffer& b) noexcept {
    if (b.size() != 0) x_parts[x_count++] = {const_cast<void*>(b.data()), b.size()};  // sendmsg() only reads
  }
  std::array<iovec, most> x_parts;
  std::size_t x_count = 0;
};

// Calls f, which returns how many bytes it has transferred, or -1. False: it would have had to wait.
template <class F> bool attempt_call(F&& f, boost::system::error_code& error, std::size_t& n) noexcept {
  ssize_t got;
  do got = f();
  while (got < 0 && errno == EINTR);
  if (got >= 0) return n = static_cast<std::size_t>(got), true;
  if (errno == EWOULDBLOCK || errno == EAGAIN) return false;
  error.assign(errno, boost::asio::error::get_system_category());
  return true;
}

// Reads, or writes, some bytes as Asio's operation would. False: that is to be started.
template <class Socket, class Buffers>
bool attempt_write(Socket& s, const Buffers& buffers, boost::system::error_code& error, std::size_t& n) {
  io_vector parts(buffers);
  if (parts.empty()) return true;
  if (!s.is_open()) return false;
  auto send = [&, fd = s.native_handle()] {
    if (parts.is_one()) return ::send(fd, parts.first().iov_base, parts.first().iov_len, without_waiting);
    msghdr m = parts.message();
    return ::sendmsg(fd, &m, without_waiting);
  };
  return attempt_call(send, error, n);
}
template <class Socket, class Buffers>
bool attempt_read(Socket& s, const Buffers& buffers, boost::system::error_code& error, std::size_t& n) {
  io_vector parts(buffers);
  if (parts.empty()) return true;
  if (!s.is_open()) return false;
  auto receive = [&, fd = s.native_handle()] {
    if (parts.is_one()) return ::recv(fd, parts.first().iov_base, parts.first().iov_len, without_waiting);
    msghdr m = parts.message();
    return ::recvmsg(fd, &m, without_waiting);
  };
  if (!attempt_call(receive, error, n)) return false;
  if (!error && n == 0) error = boost::asio::error::eof;
  return true;
}

// The initiation (detail/asio_operation.hpp) of an operation of one step on a socket, which first tries.
template <class Socket, class Buffers> class attempting {
 public:
  static constexpr bool is_single_step = true;
  using executor_type = typename Socket::executor_type;
  const executor_type& get_executor() const noexcept { return x_socket->get_executor(); }

 protected:
  attempting(Socket& s, Buffers buffers) : x_socket(&s), x_buffers(std::move(buffers)) {}
  // A system call takes as long as many operations of a channel.
  static void spend_more_budget(goroutine& g) noexcept {
    constexpr std::uint8_t more = 7;
    g.budget = static_cast<std::uint8_t>(g.budget > more + 1 ? g.budget - more : 1);
  }

  Socket* x_socket;
  Buffers x_buffers;
};

// `tries`: that it would have to wait is not known already.
template <class Socket, class Buffers> class attempting_write : public attempting<Socket, Buffers> {
 public:
  attempting_write(Socket& s, Buffers buffers, bool tries)
      : attempting<Socket, Buffers>(s, std::move(buffers)), x_tries(tries) {}

  template <class Completion> bool attempt(goroutine& g, std::optional<Completion>& out) {
    boost::system::error_code error;
    std::size_t n = 0;
    if (!x_tries || !attempt_write(*this->x_socket, this->x_buffers, error, n)) return false;
    out.emplace(error, n);
    this->spend_more_budget(g);
    return true;
  }
  template <class Completion> void ended(const Completion&) const noexcept {}
  void not_begun() const noexcept {}
  template <class Handler> void operator()(Handler&& handler) && {
    this->x_socket->async_write_some(std::move(this->x_buffers), std::forward<Handler>(handler));
  }

 private:
  bool x_tries;
};

// A read mostly comes before what it reads, and then a try is a system call in vain. It is tried only if the last read
// of this goroutine, which mostly has one connection, filled its buffer, so that more may be there; and, as messages
// may always fill it, after n tries in vain in a row only one read of 2^n. A wrong guess costs that call, or a detour
// by Asio's queue. Behind the end, or an error, it is tried, too: Asio's reactor may wait for ever for what is not
// said twice.
template <class Socket, class Buffers> class attempting_read : public attempting<Socket, Buffers> {
 public:
  attempting_read(Socket& s, Buffers buffers) : attempting<Socket, Buffers>(s, std::move(buffers)) {}

  template <class Completion> bool attempt(goroutine& g, std::optional<Completion>& out) {
    x_reader = &g;
    x_size = boost::asio::buffer_size(this->x_buffers);
    if (!g.reads_fill) return false;
    if (g.vain_tries != 0 && g.proc->next_random() >> (64 - g.vain_tries) != 0) return false;
    boost::system::error_code error;
    std::size_t n = 0;
    if (!attempt_read(*this->x_socket, this->x_buffers, error, n)) {
      if (g.vain_tries < goroutine::most_vain_tries) ++g.vain_tries;
      return false;
    }
    g.vain_tries = 0;
    out.emplace(error, n);
    this->spend_more_budget(g);
    return true;
  }
  // After it has been put off.
  template <class Completion> bool attempt_again(std::optional<Completion>& out) {
    boost::system::error_code error;
    std::size_t n = 0;
    if (!attempt_read(*this->x_socket, this->x_buffers, error, n)) return false;
    out.emplace(error, n);
    return true;
  }
  template <class Completion> void ended(const Completion& c) noexcept {
    goroutine* reader = std::exchange(x_reader, nullptr);  // another one may use the operation next, as a case
    if (!reader) return;
    reader->reads_fill = c.error || std::get<0>(c.values) == x_size;
    if (c.error) reader->vain_tries = 0;
  }
  void not_begun() noexcept { x_reader = nullptr; }
  template <class Handler> void operator()(Handler&& handler) && {
    this->x_socket->async_read_some(std::move(this->x_buffers), std::forward<Handler>(handler));
  }

 private:
  goroutine* x_reader = nullptr;  // if it may be tried at all: not on a strand
  std::size_t x_size = 0;
};

}  // namespace runnel::detail
