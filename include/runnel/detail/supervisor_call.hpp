// SPDX-License-Identifier: BSL-1.0
// runnel/detail/supervisor_call.hpp: a request to a supervisor, and who waits for what it comes to.
// Layer: L10
#pragma once

#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/detail/pool_thread.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/error.hpp>
#include <runnel/otp/child_spec.hpp>
#include <runnel/otp/supervision.hpp>
#include <runnel/waiter.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// Invariants: `outcome`, `error` and `settled` are written once, under the hashed lock of this object, by the owner of
// the supervisor or by whoever ends it. What is asked does not change once the call has been queued.
struct supervisor_call : list_link {
  enum class kind_t : std::uint8_t { start, restart, terminate, erase } kind;
  std::string id;                           // of the child; or
  std::uint64_t number = 0;                 // its number, where it has no id
  std::shared_ptr<const child_spec> spec;   // to start
  std::shared_ptr<supervisor_call> queued;  // itself, while a supervisor has it

  child_outcome outcome = child_outcome::not_running;
  std::exception_ptr error;
  bool settled = false;
  list_head waiters;

  explicit supervisor_call(kind_t k) noexcept : kind(k) {}

  static std::exception_ptr refusal(child_outcome o) noexcept { return std::make_exception_ptr(task_refused(o)); }

  // The last touch of the supervisor, which gives it up. Not under a lock.
  void settle(child_outcome o, std::exception_ptr e = nullptr) noexcept {
    std::shared_ptr<supervisor_call> self = std::move(queued);
    if (spec && spec->once && (e || o != child_outcome::ok)) spec->once->refuse(e ? e : refusal(o));
    woken_batch all;
    {
      park_lock::guard hold(hashed_lock(this), nullptr);
      outcome = o;
      error = std::move(e);
      settled = true;
      for (woken one; take(waiters, one); one = {}) all.add(one);
    }
    all.fire();
  }
};

// A request that has been made: co_await it, or get() on a plain thread.
template <class R> class supervisor_request : public awaitable_base {
 public:
  explicit supervisor_request(std::shared_ptr<supervisor_call> call) noexcept : x_call(std::move(call)) {}
  supervisor_request(supervisor_request&& other) noexcept : x_call(std::move(other.x_call)) {}
  supervisor_request& operator=(const supervisor_request&) = delete;

  /// The same for a plain thread, which it blocks. Throws: misuse_error on a thread that runs goroutines.
  R get() {
    if (is_pool_thread())
      throw misuse_error("runnel: get() would block a thread that runs goroutines: co_await the request instead");
    struct blocked : waiter {
      thread_parker parker;
    } self;
    self.kind = waiter::kind_t::foreign;
    self.wake = [](waiter& w) noexcept { static_cast<blocked&>(w).parker.notify(); };
    bool waits;
    {
      park_lock::guard hold(hashed_lock(x_call.get()), nullptr);
      waits = !x_call->settled;
      if (waits) x_call->waiters.push_back(&self);
    }
    if (waits) self.parker.wait();
    return resume();
  }

  /// For co_await.
  bool suspend(promise_base* leaf) {
    goroutine& g = goroutine_of(leaf);
    if (!enter_operation(g)) return stop_here(g, leaf);
    park_lock& q = hashed_lock(x_call.get());
    bool biased = q.lock(nullptr);
    bool settled = x_call->settled;
    bool parked = !settled && park(g, leaf, q, x_waiter, x_call->waiters);
    q.unlock(biased);
    if (settled) return spend_budget(g, leaf);
    if (!parked) stop_here(g, leaf);
    return true;
  }
  R resume() const {
    if (x_call->error) std::rethrow_exception(x_call->error);
    if constexpr (std::is_same_v<R, child_outcome>)
      return x_call->outcome;
    else
      return R(x_call->outcome, x_call->number);
  }

 private:
  std::shared_ptr<supervisor_call> x_call;
  waiter x_waiter{waiter::reason_t::notification};
};

}  // namespace runnel::detail

namespace runnel {

/// A request to a supervisor, which has been made: `co_await sup.terminate_child("db")`. Awaiting it waits for what it
/// comes to; dropping it does not take it back. get() is the same for a plain thread, which it blocks.
///
/// Returns: what it came to. Suspends: until the supervisor has done it; resumes on its own scheduler.
/// Cancel-safety: a cancelled wait leaves the request as it is.
/// Throws: child_start_error if a child was to be started and has not; get(): misuse_error on a thread that runs
/// goroutines.
using child_request = detail::supervisor_request<child_outcome>;

}  // namespace runnel
