// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_executor.hpp: where the handlers of an operation run: in its owner's hands.
// Layer: L11
#pragma once

#include <runnel/detail/frame_allocator.hpp>
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

class stepwise_operation;

// The way to an operation of several steps, for whoever has its executor. That may be kept after the operation is over:
// then what it runs is no step any more.
//
//   op         the operation; null once it is over
//   entering   threads that have looked at `op`, and neither own it yet nor have left it a step; whoever shuts the door
//              waits for them
class step_door {
 public:
  explicit step_door(stepwise_operation& op) noexcept : x_op(&op) {}

  // Null: it is over, and nothing is to be left. Else leave() is called when it is owned, or told.
  stepwise_operation* enter() noexcept {
    x_entering.fetch_add(1, std::memory_order_seq_cst);  // against shut()
    stepwise_operation* op = x_op.load(std::memory_order_seq_cst);
    if (!op) leave();
    return op;
  }
  void leave() noexcept { x_entering.fetch_sub(1, std::memory_order_release); }
  // By the owner of the operation.
  void shut() noexcept {
    x_op.store(nullptr, std::memory_order_seq_cst);
    while (x_entering.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
  }

 private:
  std::atomic<stepwise_operation*> x_op;
  std::atomic<int> x_entering{0};
};

// An operation of several steps.
class stepwise_operation : public owned_operation {
 public:
  // Runs a step in the owner's hands: here, or, if somebody else owns the operation, there. False: there is no memory
  // for that. The caller has entered `door`; this leaves it.
  template <class F> bool run_step(F& f, step_door& door) {
    if (try_own()) {
      door.leave();
      settle_after(f);
      return true;
    }
    waiting_step<F>* later;
    try {
      later = new (std::nothrow) waiting_step<F>(f);
    } catch (...) {  // by the move of f
      door.leave();
      throw;
    }
    if (later) x_steps.push(later);
    bool mine = later && arrive();
    door.leave();  // the last touch, if not mine
    if (mine) settle_after(&waiting_steps::run_all, x_steps);
    return later;
  }

 protected:
  stepwise_operation() noexcept = default;
  stepwise_operation(stepwise_operation&& other) noexcept : owned_operation(std::move(other)) {}
  ~stepwise_operation() = default;

  // Before it begins.
  void open_door() { x_door = make_shared_frame<step_door>(*this); }
  const std::shared_ptr<step_door>& door() const noexcept { return x_door; }
  // By the owner, when it is over. What has come meanwhile, of whom the end did not need, runs now.
  void shut_door() {
    x_door->shut();
    x_steps.run_all();
  }

  waiting_steps x_steps;

 private:
  std::shared_ptr<step_door> x_door;

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
  step_executor(Inner inner, std::shared_ptr<step_door> door) noexcept
      : x_inner(std::move(inner)), x_door(std::move(door)) {}

  template <class F> void execute(F&& f) const {
    x_inner.execute(step<std::decay_t<F>>{x_door, std::forward<F>(f)});
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
    return a.x_door == b.x_door && a.x_inner == b.x_inner;
  }
  friend bool operator!=(const step_executor& a, const step_executor& b) noexcept { return !(a == b); }

 private:
  template <class F> struct step {
    std::shared_ptr<step_door> door;
    F f;
    void operator()() {
      while (stepwise_operation* op = door->enter()) {
        if (op->run_step(f, *door)) return;
        std::this_thread::yield();  // until nobody owns it
      }
      std::move(f)();
    }
  };
  template <class Other> step_executor<Other> with(Other inner) const noexcept { return {std::move(inner), x_door}; }

  Inner x_inner;
  std::shared_ptr<step_door> x_door;
};

}  // namespace runnel::detail
