// SPDX-License-Identifier: BSL-1.0
// runnel/detail/promise.hpp: what every frame has, how frames are linked, and how control passes between them.
// Layer: L2
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/frame_pool.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace runnel::detail {

struct promise_base;
struct goroutine;
struct scope_base;
struct link;
struct fork_child_base;

// What the end of a frame means when it is not simply "resume the awaiter".
struct link_ops {
  // The frame has run to its end and is destroyed; its result is in the link. Returns what to resume.
  std::coroutine_handle<> (*finished)(link&) noexcept;
  // The frame was unwound and is destroyed. Returns the frame at which unwinding goes on (`keep_unwinding` left
  // true), or the frame to resume (`keep_unwinding` set to false), or null: there is nothing above.
  promise_base* (*unwound)(link&, goroutine*, bool& keep_unwinding) noexcept;
  // Where an unwinding may stop at this link: the innermost scope that was open when the link was made. Null:
  // unwinding never stops here.
  scope_base* const* (*mark)(link&) noexcept;
  // The fork-join child whose root frame this link belongs to; null for any other link.
  fork_child_base* (*child)(link&) noexcept;
  bool is_root;  // of a goroutine or a fork-join child: there is no frame above
  // Of a root: its frame had ended, the goroutine has waited for its tasks, and now it ends. Returns the frame to
  // resume, or null.
  promise_base* (*joined)(link&) noexcept;

  bool ends_unwinding() const noexcept { return mark || is_root; }
};

// The edge from a frame to whoever awaits it. It lives in the awaiter's frame (or in a goroutine) and carries the
// result. `ops` is null for a plain co_await of a task: then the parent is resumed, or unwound, next.
struct link {
  promise_base* parent = nullptr;
  const link_ops* ops = nullptr;
};

template <class Slot>
[[noreturn]] RUNNEL_NOINLINE void rethrow_error(Slot& slot) {
  std::rethrow_exception(slot.take_error());
}
template <class Slot>
RUNNEL_NOINLINE void drop_error(Slot& slot) noexcept {
  (void)slot.take_error();
}

// The result that a task leaves for its awaiter. Trivially destructible on purpose: a frame that is unwound never
// produced a result, and take() ends the life of what is there.
template <class T>
struct result_slot {
  enum class state : unsigned char { empty, value, error };
  union {
    alignas(T) std::byte bytes[sizeof(T)];
    alignas(std::exception_ptr) std::byte error_bytes[sizeof(std::exception_ptr)];
  };
  state x_state = state::empty;

  result_slot() noexcept {}  // NOLINT: nothing is there before `x_state` says so
  template <class... A>
  void emplace(A&&... a) {
    std::construct_at(value_ptr(), std::forward<A>(a)...);
    x_state = state::value;
  }
  void fail(std::exception_ptr e) noexcept {
    std::construct_at(error_ptr(), std::move(e));
    x_state = state::error;
  }
  bool failed() const noexcept { return x_state == state::error; }
  bool has_value() const noexcept { return x_state == state::value; }
  RUNNEL_ALWAYS_INLINE T take() {
    if (failed()) [[unlikely]] rethrow_error(*this);
    struct ender {
      result_slot& slot;
      RUNNEL_ALWAYS_INLINE ~ender() {
        std::destroy_at(slot.value_ptr());
        slot.x_state = state::empty;
      }
    } end{*this};
    return std::move(*value_ptr());
  }
  std::exception_ptr take_error() noexcept {
    std::exception_ptr e = std::move(*error_ptr());
    std::destroy_at(error_ptr());
    x_state = state::empty;
    return e;
  }
  RUNNEL_ALWAYS_INLINE void discard() noexcept {
    if constexpr (!std::is_trivially_destructible_v<T>)
      if (x_state == state::value) std::destroy_at(value_ptr());
    if (x_state == state::error) [[unlikely]] drop_error(*this);
    x_state = state::empty;
  }

 private:
  T* value_ptr() noexcept { return std::launder(reinterpret_cast<T*>(bytes)); }
  std::exception_ptr* error_ptr() noexcept {
    return std::launder(reinterpret_cast<std::exception_ptr*>(error_bytes));
  }
};

template <class T>
struct result_slot<T&> {
  T* x_value = nullptr;
  std::exception_ptr* x_unused = nullptr;
  result_slot<std::nullptr_t> x_error;

  void emplace(T& v) noexcept { x_value = std::addressof(v); }
  void fail(std::exception_ptr e) noexcept { x_error.fail(std::move(e)); }
  bool failed() const noexcept { return x_error.failed(); }
  bool has_value() const noexcept { return x_value; }
  T& take() {
    if (failed()) [[unlikely]] rethrow_error(*this);
    return *x_value;
  }
  std::exception_ptr take_error() noexcept { return x_error.take_error(); }
  void discard() noexcept { x_error.discard(); }
};

template <>
struct result_slot<void> {
  void* x_error = nullptr;  // an exception_ptr's representation; null when there is none

  void emplace() noexcept {}
  void fail(std::exception_ptr e) noexcept {
    static_assert(sizeof(std::exception_ptr) == sizeof(void*));
    std::construct_at(reinterpret_cast<std::exception_ptr*>(&x_error), std::move(e));
  }
  bool failed() const noexcept { return x_error; }
  bool has_value() const noexcept { return !x_error; }
  RUNNEL_ALWAYS_INLINE void take() {
    if (failed()) [[unlikely]] rethrow_error(*this);
  }
  std::exception_ptr take_error() noexcept {
    auto* held = std::launder(reinterpret_cast<std::exception_ptr*>(&x_error));
    std::exception_ptr e = std::move(*held);
    std::destroy_at(held);
    x_error = nullptr;
    return e;
  }
  RUNNEL_ALWAYS_INLINE void discard() noexcept {
    if (failed()) [[unlikely]] drop_error(*this);
  }
};

template <class T>
struct task_link : link {
  result_slot<T> result;
  task_link() noexcept = default;
  explicit task_link(const link_ops& o) noexcept : link{nullptr, &o} {}
};

// The first base of every promise, so that frame and promise convert into each other by a constant.
struct promise_base {
  link* cont = nullptr;             // who awaits this frame
  goroutine* g = nullptr;           // whose frame it is; null: a fork-join child's that has never parked
  std::uint32_t frame_size;         // written by operator new, before the constructor, and not by that

  promise_base() noexcept {}  // NOLINT: frame_size is operator new's
  promise_base(const promise_base&) = delete;
  promise_base& operator=(const promise_base&) = delete;

  static void* operator new(std::size_t size);
  static void operator delete(void* frame, std::size_t size) noexcept { frame_deallocate(frame, size); }

  std::coroutine_handle<promise_base> handle() noexcept {
    return std::coroutine_handle<promise_base>::from_promise(*this);
  }
  // Whether an object lives in this frame.
  bool contains(const void* object) noexcept {
    auto begin = reinterpret_cast<std::uintptr_t>(handle().address());
    auto at = reinterpret_cast<std::uintptr_t>(object);
    return at >= begin && at < begin + frame_size;
  }
};

// Where a promise begins in its frame: behind the two pointers of the coroutine.
inline constexpr std::size_t promise_offset = 2 * sizeof(void*);

// Never inlined: the frame's size is written to where the promise will be, and no compiler may see that the promise's
// lifetime has not begun.
RUNNEL_NOINLINE inline void* allocate_frame(std::size_t size) {
  auto* frame = static_cast<std::byte*>(frame_allocate_inline(size));
  auto stored = static_cast<std::uint32_t>(size);
  std::memcpy(frame + promise_offset + offsetof(promise_base, frame_size), &stored, sizeof stored);
  return frame;
}
inline void* promise_base::operator new(std::size_t size) { return allocate_frame(size); }

// Control passes from one frame to another by symmetric transfer where that is a tail call. Where it is not (g++
// without optimisation, or under a sanitizer), the next frame is left in a slot and resume() goes on with it, so
// that a million awaits that complete at once use no stack.
#if RUNNEL_TRAMPOLINE

RUNNEL_SHARED inline constinit thread_local promise_base* t_next_frame = nullptr;
RUNNEL_NOINLINE inline promise_base* exchange_next_frame(promise_base* p) noexcept {
  return std::exchange(t_next_frame, p);
}
inline std::coroutine_handle<> transfer_to(promise_base* p) noexcept {
  exchange_next_frame(p);
  return std::noop_coroutine();
}
inline void resume(promise_base* p) {
  promise_base* outer = exchange_next_frame(nullptr);
  for (; p; p = exchange_next_frame(nullptr)) p->handle().resume();
  exchange_next_frame(outer);
}

#else

inline std::coroutine_handle<> transfer_to(promise_base* p) noexcept {
  return std::coroutine_handle<>::from_address(p->handle().address());
}
inline void resume(promise_base* p) { p->handle().resume(); }

#endif

// What every awaitable of the library derives from. It has
//   bool suspend(promise_base* leaf)   true: the frame stays suspended, and this object may already be gone;
//                                      or it returns the handle of what runs instead
//   R resume()                         the result, when the frame goes on
// and is awaited through operation_awaiter, so that only this library's coroutines can await it. It can be moved until
// it is awaited, and never afterwards.
struct awaitable_base {};

// One that keeps the frame that awaits it is told of it before. What was just stored is known to g++, while a frame
// that is asked for its own address loads it, and all the rest waits for that.
template <class Operation>
concept keeps_frame = requires(Operation& op, promise_base* leaf) { op.keep_frame(leaf), op.kept_frame(); };

// By value and with a reference: g++ 12 copies what await_transform returns by reference.
template <class Operation>
class operation_awaiter {
 public:
  operation_awaiter(Operation& op, promise_base* leaf) noexcept : x_op(op) {
    if constexpr (keeps_frame<Operation>) op.keep_frame(leaf);
  }
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  auto await_suspend([[maybe_unused]] std::coroutine_handle<Promise> h) const {
    if constexpr (keeps_frame<Operation>)
      return x_op.suspend(x_op.kept_frame());
    else
      return x_op.suspend(&h.promise());
  }
  RUNNEL_ALWAYS_INLINE decltype(auto) await_resume() const { return x_op.resume(); }

 private:
  Operation& x_op;
};

}  // namespace runnel::detail
