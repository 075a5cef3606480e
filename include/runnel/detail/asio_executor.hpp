// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_executor.hpp: where the handlers of an operation run: in its owner's hands.
// Layer: L11
#pragma once

#include <runnel/detail/owned_operation.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution/executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <thread>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace runnel::detail {

// Those that run what they are given on any thread of a pool, several at once.
template <class A, std::uintptr_t Bits>
std::true_type is_pool(const boost::asio::io_context::basic_executor_type<A, Bits>*);
template <class A, unsigned Bits>
std::true_type is_pool(const boost::asio::thread_pool::basic_executor_type<A, Bits>*);
template <class B, class R, class A>
std::true_type is_pool(const boost::asio::basic_system_executor<B, R, A>*);
std::false_type is_pool(const void*);

// Whether an executor is one of those. Of all others, strands before all, it is assumed that the I/O object's
// operations are to be started, and cancelled, by way of them.
template <class Executor> bool runs_anywhere([[maybe_unused]] const Executor& ex) noexcept {
  if constexpr (std::is_base_of_v<boost::asio::any_io_executor, Executor>) {
    const std::type_info& target = ex.target_type();
    return target == typeid(boost::asio::io_context::executor_type) ||
           target == typeid(boost::asio::thread_pool::executor_type) ||
           target == typeid(boost::asio::system_executor);
  } else {
    return decltype(is_pool(static_cast<const Executor*>(nullptr)))::value;
  }
}

// The steps of an operation that arrived while somebody else owned it, newest first.
//
//   x_newest  pushed by whoever arrives (release), taken by the owner (acquire)
class waiting_steps {
 public:
  class step {
   public:
    virtual ~step() = default;
    virtual void run() = 0;
    step* next = nullptr;
  };

  waiting_steps() noexcept = default;
  waiting_steps(const waiting_steps&) = delete;
  waiting_steps& operator=(const waiting_steps&) = delete;
  ~waiting_steps() {
    for (step* s = x_newest.load(std::memory_order_acquire); s; delete std::exchange(s, s->next)) {
    }
  }

  void push(step* s) noexcept {
    s->next = x_newest.load(std::memory_order_relaxed);
    while (!x_newest.compare_exchange_weak(s->next, s, std::memory_order_release, std::memory_order_relaxed)) {
    }
  }
  // In the order in which they came.
  void run_all() {
    step* reversed = nullptr;
    for (step* s = x_newest.exchange(nullptr, std::memory_order_acquire); s;) {
      step* next = std::exchange(s->next, reversed);
      reversed = std::exchange(s, next);
    }
    while (std::unique_ptr<step> s{reversed}) {
      reversed = s->next;
      s->run();
    }
  }

 private:
  std::atomic<step*> x_newest{nullptr};
};

// An operation of several steps.
//
//   x_arriving   threads between push() and the end of arrive(): who sees the operation's end waits for them
class stepwise_operation : public owned_operation {
 public:
  // Runs a step in the owner's hands: here, or, if somebody else owns the operation, there. Without memory for that it
  // waits until nobody does.
  template <class F> void run_step(F& f) {
    if (!try_own()) {
      if (auto* later = new (std::nothrow) waiting_step<F>(f)) {
        x_arriving.fetch_add(1, std::memory_order_relaxed);
        x_steps.push(later);
        bool mine = arrive();
        x_arriving.fetch_sub(1, std::memory_order_release);  // before wait_for_arriving(): the last touch, if not mine
        if (mine) settle_after(&waiting_steps::run_all, x_steps);
        return;
      }
      while (!try_own()) std::this_thread::yield();
    }
    settle_after(f);
  }

 protected:
  stepwise_operation() noexcept = default;
  stepwise_operation(stepwise_operation&& other) noexcept : owned_operation(std::move(other)) {}
  ~stepwise_operation() = default;
  // The owner may have run the step of somebody who has yet to say that there is one.
  void wait_for_arriving() const noexcept {
    while (x_arriving.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  }

  waiting_steps x_steps;

 private:
  std::atomic<int> x_arriving{0};

  template <class F> struct waiting_step final : waiting_steps::step {
    explicit waiting_step(F& from) : f(std::move(from)) {}
    void run() override { std::move(f)(); }
    F f;
  };
  // Also when the step throws: then that goes to who runs the executor.
  template <class F, class... A> void settle_after(F&& f, A&... args) {
    struct settling {
      owned_operation& op;
      int throwing = std::uncaught_exceptions();
      ~settling() { op.settle(std::uncaught_exceptions() == throwing); }
    } last{*this};
    std::invoke(std::move(f), args...);
  }
};

// An executor whose functions are steps of an operation.
template <class Inner> class step_executor {
 public:
  step_executor(Inner inner, stepwise_operation& op) noexcept : x_inner(std::move(inner)), x_op(&op) {}

  template <class F> void execute(F&& f) const {
    x_inner.execute(step<std::decay_t<F>>{x_op, std::forward<F>(f)});
  }

  template <class P>
    requires(boost::asio::can_query_v<const Inner&, P>)
  decltype(auto) query(const P& p) const {
    return boost::asio::query(x_inner, p);
  }
  template <class P>
    requires(boost::asio::can_require_v<const Inner&, P>)
  auto require(const P& p) const {
    return with(boost::asio::require(x_inner, p));
  }
  template <class P>
    requires(boost::asio::can_prefer_v<const Inner&, P>)
  auto prefer(const P& p) const {
    return with(boost::asio::prefer(x_inner, p));
  }

  friend bool operator==(const step_executor& a, const step_executor& b) noexcept {
    return a.x_op == b.x_op && a.x_inner == b.x_inner;
  }
  friend bool operator!=(const step_executor& a, const step_executor& b) noexcept { return !(a == b); }

 private:
  template <class F> struct step {
    stepwise_operation* op;
    F f;
    void operator()() { op->run_step(f); }
  };
  template <class Other> step_executor<Other> with(Other inner) const noexcept { return {std::move(inner), *x_op}; }

  Inner x_inner;
  stepwise_operation* x_op;
};

}  // namespace runnel::detail
