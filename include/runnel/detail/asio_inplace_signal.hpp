// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_inplace_signal.hpp: a cancellation signal in which the handler lies.
// Layer: L11
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace runnel::detail {

class inplace_slot;

// As boost::asio::cancellation_signal, for one operation of one of Asio's own objects. What that leaves in the slot is
// a few words to find itself by, with nothing to destroy, so they lie here: Asio's signal would fetch memory from a
// cache of the thread's for each operation, and take it back. A handler that is more than that goes to Asio's signal.
class inplace_signal {
 public:
  inplace_signal() noexcept {}
  inplace_signal(const inplace_signal&) = delete;
  inplace_signal& operator=(const inplace_signal&) = delete;
  inline inplace_slot slot() noexcept;
  void emit(boost::asio::cancellation_type_t type) {
    if (x_call)
      x_call(x_place, type);
    else
      x_other.emit(type);
  }

 private:
  friend inplace_slot;
  alignas(void*) std::byte x_place[4 * sizeof(void*)];
  void (*x_call)(void*, boost::asio::cancellation_type_t) = nullptr;  // of the handler in x_place, if there is one
  boost::asio::cancellation_signal x_other;
};

class inplace_slot {
 public:
  explicit inplace_slot(inplace_signal& s) noexcept : x_signal(&s) {}

  template <class H, class... A> H& emplace(A&&... a) {
    clear();
    if constexpr (fits<H>) {
      H* handler = new (x_signal->x_place) H(std::forward<A>(a)...);
      x_signal->x_call = [](void* h, boost::asio::cancellation_type_t type) { (*static_cast<H*>(h))(type); };
      return *handler;
    } else {
      return x_signal->x_other.slot().template emplace<H>(std::forward<A>(a)...);
    }
  }
  template <class H> std::decay_t<H>& assign(H&& h) { return emplace<std::decay_t<H>>(std::forward<H>(h)); }
  void clear() {
    x_signal->x_call = nullptr;
    x_signal->x_other.slot().clear();
  }
  bool is_connected() const noexcept { return true; }
  bool has_handler() const noexcept { return x_signal->x_call || x_signal->x_other.slot().has_handler(); }
  bool operator==(const inplace_slot&) const noexcept = default;

 private:
  template <class H>
  static constexpr bool fits = sizeof(H) <= sizeof(inplace_signal::x_place) && alignof(H) <= alignof(void*) &&
                               std::is_trivially_destructible_v<H>;
  inplace_signal* x_signal;
};

inline inplace_slot inplace_signal::slot() noexcept { return inplace_slot(*this); }

}  // namespace runnel::detail
