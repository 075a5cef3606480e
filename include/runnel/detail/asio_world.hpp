// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_world.hpp: where a goroutine's operations of Asio run.
// Layer: L2
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/system/error_code.hpp>

namespace runnel::detail {

class asio_deferral;
struct deferred_read;
struct goroutine;

// Of an operation that test::fail_everywhere lets fail.
inline boost::system::error_code injected_error() noexcept { return boost::asio::error::connection_reset; }

// The part of a scheduler's world that operations of Asio need: a pool's, or a test's.
class asio_world {
 public:
  virtual boost::asio::any_io_executor get_executor() const = 0;
  // A goroutine goes on whose operation has completed, on any thread. `in_handler`: the calling handler has nothing
  // left to do, and is on no strand, so that if its thread is of this pool it can become the pump.
  virtual void go_on(goroutine& g, bool in_handler) noexcept = 0;
  // Of a world that watches, a test's: an operation begins on an object of that context, null if the object has none.
  // True: it is to fail, which it can. Throws if it cannot complete in this world.
  virtual bool begins(const boost::asio::execution_context*, bool) { return false; }
  const bool watches;
  // Reads are put off, if there is one (detail/asio_deferral.hpp), by this; it may be over when this returns.
  asio_deferral* const deferral;
  virtual void defer(deferred_read&) noexcept {}

 protected:
  explicit asio_world(bool w, asio_deferral* d = nullptr) noexcept : watches(w), deferral(d) {}
  ~asio_world() = default;
};

}  // namespace runnel::detail
