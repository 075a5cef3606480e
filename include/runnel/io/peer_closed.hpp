// SPDX-License-Identifier: BSL-1.0
// runnel/io/peer_closed.hpp: peer_closed, which waits until the other end of a stream has gone, and reads nothing.
// Layer: L11
#pragma once

#include <runnel/io/use_task.hpp>
#include <runnel/sleep.hpp>
#include <runnel/task.hpp>

#include <algorithm>
#include <chrono>

#include <poll.h>

namespace runnel {

namespace detail {

#if defined(POLLRDHUP)
inline constexpr short poll_for_peer = POLLRDHUP;
#else
inline constexpr short poll_for_peer = 0;  // then only a reset is seen
#endif

inline bool peer_has_gone(int socket) noexcept {
  pollfd look{socket, poll_for_peer, 0};
  return ::poll(&look, 1, 0) == 1;  // also by POLLHUP and POLLERR, which are always looked for
}

template <class Socket> task<> wait_for_peer_to_close(Socket& socket) {
  using namespace std::chrono_literals;
  for (auto pause = 1ms;; pause = std::min(2 * pause, 64ms)) {
    co_await socket.async_wait(Socket::wait_read, use_task);
    if (peer_has_gone(socket.native_handle())) co_return;
    co_await sleep(pause);  // what has come is not for us, and makes the socket readable as long as nobody reads it
  }
}

}  // namespace detail

/// Waits until the other end has closed a socket of a stream, for writing at least, or the connection is broken. It
/// reads nothing: bytes that have come meanwhile, a request that was sent ahead say, stay there.
///
/// Suspends: until then. While bytes wait that nobody reads it looks again after 1 ms, and ever later, up to 64 ms.
/// Cancel-safety: nothing is lost. Throws: boost::system::system_error, if the socket is closed on this side.
/// Thread-safety: it uses the socket, as a read does: whoever reads from it, or closes it, meanwhile, needs a strand.
/// Lifetime: the socket outlives it.
template <class Socket> [[nodiscard("co_await it")]] task<> peer_closed(Socket& socket) {
  return detail::wait_for_peer_to_close(socket);
}

}  // namespace runnel
