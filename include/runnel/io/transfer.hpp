// SPDX-License-Identifier: BSL-1.0
// runnel/io/transfer.hpp: read, write, read_some and write_some: the bytes of a stream, at once where that can be.
// Layer: L11
#pragma once

#include <runnel/compiler.hpp>
#include <runnel/detail/asio_attempt.hpp>
#include <runnel/detail/asio_operation.hpp>
#include <runnel/io/io_result.hpp>
#include <runnel/io/use_task.hpp>
#include <runnel/task.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace runnel {

namespace detail {

template <class Token>
concept transfer_token = std::same_as<Token, use_task_t> || std::same_as<Token, use_result_t>;
template <class Token>
using policy_of = std::conditional_t<std::same_as<Token, use_task_t>, throwing_policy, result_policy>;
template <class Token>
using transferred = std::conditional_t<std::same_as<Token, use_task_t>, std::size_t, io_result<std::size_t>>;
template <class Policy, class Init>
using transfer_operation = asio_operation<Policy, completion<boost::system::error_code, std::size_t>, Init>;

template <class Token, class Stream, class Buffers>
auto start_write(Stream& stream, Buffers buffers, [[maybe_unused]] bool tries) {
  if constexpr (can_try<Stream>) {
    using init = attempting_write<Stream, Buffers>;
    return transfer_operation<policy_of<Token>, init>(std::in_place, init(stream, std::move(buffers), tries));
  } else {
    return stream.async_write_some(buffers, Token());
  }
}
template <class Token, class Stream, class Buffers> auto start_read(Stream& stream, Buffers buffers) {
  if constexpr (can_try<Stream>) {
    using init = attempting_read<Stream, Buffers>;
    return transfer_operation<policy_of<Token>, init>(std::in_place, init(stream, std::move(buffers)));
  } else {
    return stream.async_read_some(buffers, Token());
  }
}

// Of a sequence of many buffers, what is behind its first bytes, as far as one operation transfers it.
template <class Buffer> class some_buffers {
 public:
  using value_type = Buffer;
  using const_iterator = const Buffer*;

  template <class Buffers> some_buffers(const Buffers& all, std::size_t skip) {
    auto end = boost::asio::buffer_sequence_end(all);
    for (auto at = boost::asio::buffer_sequence_begin(all); at != end && x_count < x_parts.size(); ++at) {
      Buffer part = *at;
      std::size_t passed = std::min(skip, part.size());
      skip -= passed;
      part += passed;
      if (part.size() != 0) x_parts[x_count++] = part;
    }
  }
  const_iterator begin() const noexcept { return x_parts.data(); }
  const_iterator end() const noexcept { return x_parts.data() + x_count; }

 private:
  std::array<Buffer, io_vector::most> x_parts;
  std::size_t x_count = 0;
};
template <class Buffer, class Buffers> auto buffers_behind(const Buffers& all, std::size_t skip) {
  if constexpr (std::convertible_to<const Buffers&, Buffer>)
    return Buffer(all) + skip;
  else
    return some_buffers<Buffer>(all, skip);
}

template <class Token> transferred<Token> transfer_outcome(boost::system::error_code error, std::size_t n) {
  if constexpr (std::same_as<Token, use_result_t>) {
    return {error, n};
  } else {
    if (error) throw boost::system::system_error(error);
    return n;
  }
}

// As asio::async_write and async_read do, an operation that transfers nothing is the end. The first comes in any case:
// it looks at the context.
template <class Token, class Stream, class Buffers>
task<transferred<Token>> write_all(Stream& stream, Buffers buffers) {
  const std::size_t all = boost::asio::buffer_size(buffers);
  std::size_t done = 0;
  for (bool tries = true;;) {
    auto part = buffers_behind<boost::asio::const_buffer>(buffers, done);
    auto r = co_await start_write<use_result_t>(stream, part, tries);
    done += r.partial();
    if (!r || done == all || r.partial() == 0) co_return transfer_outcome<Token>(r.error(), done);
    tries = r.partial() == boost::asio::buffer_size(part);  // where not all went, nothing more would
  }
}
template <class Token, class Stream, class Buffers> task<transferred<Token>> read_all(Stream& stream, Buffers buffers) {
  const std::size_t all = boost::asio::buffer_size(buffers);
  for (std::size_t done = 0;;) {
    auto part = buffers_behind<boost::asio::mutable_buffer>(buffers, done);
    auto r = co_await start_read<use_result_t>(stream, part);
    done += r.partial();
    if (!r || done == all || r.partial() == 0) co_return transfer_outcome<Token>(r.error(), done);
  }
}

}  // namespace detail

/// Writes some bytes to a stream: `std::size_t n = co_await rn::write_some(socket, asio::buffer(text));`
///
/// A plain socket (basic_stream_socket), whose executor is a pool's, is written to at once, by a system call in the
/// goroutine itself; where that would have to wait, and on every other stream, this is the stream's async_write_some.
///
/// Returns: how many bytes; with rn::use_result as the last argument, an io_result of that.
/// Suspends: until at least one byte is written; not if the socket takes some at once. Such a call counts against the
/// goroutine's budget as several operations do, so that others get their turn.
/// Cancel-safety: as with use_task. What was written at once is told, also if a cancellation comes meanwhile.
/// Throws: boost::system::system_error; the rest as with use_task.
/// Thread-safety: it uses the stream where the goroutine runs; on a strand, on the strand.
/// Lifetime: the stream and the bytes outlive it.
template <class Stream, class Buffers, detail::transfer_token Token = use_task_t>
[[nodiscard("co_await it")]] auto write_some(Stream& stream, Buffers&& buffers, Token = {}) {
  detail::refuse_hazardous<Buffers>();
  return detail::start_write<Token, Stream, std::decay_t<Buffers>>(stream, std::forward<Buffers>(buffers), true);
}

/// Reads some bytes of a stream: `auto r = co_await rn::read_some(socket, asio::buffer(bytes), rn::use_result);`
///
/// As write_some, but that a plain socket is tried at once only where bytes are likely to be there: when the last read
/// of this goroutine has filled its buffer. Else it is left to Asio, which is told when they come; or, with
/// runtime_options::deferred_reads, tried a moment later, by a handler on any thread that runs the context.
///
/// Returns: how many bytes, at least one unless there is no room. Throws: asio::error::eof at the end of the stream.
template <class Stream, class Buffers, detail::transfer_token Token = use_task_t>
[[nodiscard("co_await it")]] auto read_some(Stream& stream, Buffers&& buffers, Token = {}) {
  detail::refuse_hazardous<Buffers>();
  return detail::start_read<Token, Stream, std::decay_t<Buffers>>(stream, std::forward<Buffers>(buffers));
}

/// Writes all of the bytes, as asio::async_write does: `co_await rn::write(socket, asio::buffer(text));`
///
/// Returns: how many that were; with rn::use_result an io_result, whose partial() is how many were written before the
/// error. Suspends: until all are written.
/// Cancel-safety: cancelled meanwhile, nobody knows how many have been written. The rest as for write_some.
template <class Stream, class Buffers, detail::transfer_token Token = use_task_t>
[[nodiscard("co_await it")]] auto write(Stream& stream, Buffers&& buffers, Token = {})
    -> task<detail::transferred<Token>> {
  detail::refuse_hazardous<Buffers>();
  return detail::write_all<Token, Stream, std::decay_t<Buffers>>(stream, std::forward<Buffers>(buffers));
}

/// Reads until the buffers are full, as asio::async_read does: `co_await rn::read(socket, asio::buffer(header));`
///
/// Returns: how many bytes that were; with rn::use_result an io_result, whose partial() is how many were read before
/// the error. Throws: asio::error::eof if the stream ends before they are full. The rest as for read_some and write.
template <class Stream, class Buffers, detail::transfer_token Token = use_task_t>
[[nodiscard("co_await it")]] auto read(Stream& stream, Buffers&& buffers, Token = {})
    -> task<detail::transferred<Token>> {
  detail::refuse_hazardous<Buffers>();
  return detail::read_all<Token, Stream, std::decay_t<Buffers>>(stream, std::forward<Buffers>(buffers));
}

}  // namespace runnel
