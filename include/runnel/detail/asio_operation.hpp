// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_operation.hpp: an operation of Asio that a goroutine awaits.
// Layer: L11
#pragma once

#include <runnel/config.hpp>
#include <runnel/detail/asio_completion.hpp>
#include <runnel/detail/asio_deferral.hpp>
#include <runnel/detail/asio_executor.hpp>
#include <runnel/detail/asio_initiation.hpp>
#include <runnel/detail/asio_world.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/asio_inplace_signal.hpp>
#include <runnel/detail/owned_operation.hpp>
#include <runnel/detail/promise.hpp>
#include <runnel/detail/spawn_place.hpp>
#include <runnel/error.hpp>
#include <runnel/waiter.hpp>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/dispatch.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace runnel::detail {

struct no_deferred_read {};

inline asio_world& world_of(const goroutine& g) noexcept { return *g.core().host().asio(); }

// What it is as a case of a select.
template <class Operation> class asio_case;

// Foreign code of it runs in its owner's hands (detail/owned_operation.hpp); the handlers of an operation of many steps
// by step_executor. Where the executor of the I/O object is a pool's, anybody can be the owner, on any thread.
// Everywhere else (a strand) the operation is started, and asked to end, by way of that executor: so it excludes what
// others do with the object there.
//
// A handler that is destroyed without having been called, as when its context ends, ends the operation as a
// cancellation does.
template <class Policy, class Completion, class Init, class... Args>
class [[nodiscard("co_await it: the operation has not been started")]] asio_operation final
    : public awaitable_base,
      std::conditional_t<is_single_step<Init>(), owned_operation, stepwise_operation>,
      std::conditional_t<can_defer<Init, Completion>, deferred_read, no_deferred_read> {
  static constexpr bool single_step = is_single_step<Init>();
  using base = std::conditional_t<single_step, owned_operation, stepwise_operation>;
  static constexpr bool knows_executor = any_has_executor<Init, Args...>;
  using executor = std::remove_cvref_t<decltype(executor_among(std::declval<Init&>(), std::declval<Args&>()...,
                                                               std::declval<asio_world&>()))>;
  // The steps of an operation of many are whoever's code: it may name Asio's own type of slot.
  using signal = std::conditional_t<single_step, inplace_signal, boost::asio::cancellation_signal>;

 public:
  using case_type = asio_case<asio_operation>;

  template <class I, class... A>
  explicit asio_operation(std::in_place_t, I&& init, A&&... args)
      : x_init(std::forward<I>(init)), x_args(std::forward<A>(args)...) {}
  asio_operation(asio_operation&& other)  // of what has not begun, or is not out any more
      : base(std::move(other.check_movable())),
        x_init(std::move(other.x_init)),
        x_args(std::move(other.x_args)),
        x_completion(std::move(other.x_completion)),
        x_failure(std::move(other.x_failure)) {}
  ~asio_operation() {
    if (x_is_case) [[unlikely]] die_as_case();
  }

  bool suspend(promise_base* leaf) {
    if (x_is_case) [[unlikely]] refuse_case();
    goroutine& g = goroutine_of(leaf);
    asio_world& world = world_of(g);
    const executor& ex = executor_in(world);
    x_anywhere = !knows_executor || runs_anywhere(ex);
    if (!enter_operation(g)) return stop_here(g, leaf);
    if (has_kept()) [[unlikely]] return spend_budget(g, leaf);
    if (world.watches && world.begins(context_of(ex), Completion::can_fail)) [[unlikely]]
      return fail(), spend_budget(g, leaf);
    if constexpr (can_attempt<Init, Completion>)  // on a strand the goroutine must not touch the object here
      if (x_anywhere && x_init.attempt(g, x_completion)) return x_started = true, spend_budget(g, leaf);
    if constexpr (can_defer<Init, Completion>)
      if (x_anywhere && world.deferral && world.deferral->wants(g.proc->next_random())) return defer(g, leaf), true;
    if (!single_step || !x_anywhere) x_executor.emplace(ex);
    if constexpr (!single_step) this->open_door();
    if (!this->begin(g, leaf)) {
      if constexpr (can_attempt<Init, Completion>) x_init.not_begun();
      return stop_here(g, leaf);
    }
    if (!x_anywhere) return send(), true;
    start();
    if (!this->leave()) return true;
    if (end_of_wait()) return stop_here(g, leaf);
    return spend_budget(g, leaf);
  }
  auto resume() {
    struct leaving {
      asio_operation& self;
      ~leaving() {
        if (!self.x_started) [[unlikely]] self.forget();
      }
    } last{*this};
    if (x_failure) std::rethrow_exception(x_failure);
    if constexpr (can_attempt<Init, Completion>) x_init.ended(*x_completion);
    return Policy::take(*x_completion);
  }

 private:
  friend case_type;
  decltype(auto) executor_in(asio_world& world) {
    return std::apply([&](auto&... args) -> decltype(auto) { return executor_among(x_init, args..., world); }, x_args);
  }
  [[noreturn]] RUNNEL_NOINLINE static void refuse_case() {
    throw misuse_error("runnel: this operation of Asio is a case of a select that has not ended");
  }
  // The select, and whatever completes it, would go on writing to it.
  [[noreturn]] RUNNEL_NOINLINE static void die_as_case() noexcept {
    goroutine* g = current_goroutine();
    std::fprintf(stderr, "runnel: an operation of Asio was destroyed while a select had it as a case, by %s\n",
                 g ? ("a goroutine " + started_at(g->where)).c_str() : "a thread that runs no goroutine");
    std::abort();
  }
  // A select refers to it, and its result would be written to where it was. Before anything of it is moved.
  asio_operation& check_movable() {
    if (x_is_case) [[unlikely]] refuse_case();
    return *this;
  }
  // Whether it ended in a select that took another case.
  bool has_kept() const noexcept { return !x_started && (x_completion || x_failure); }
  // As new: what was kept has been taken.
  void forget() noexcept {
    x_completion.reset();
    x_failure = nullptr;
  }

  // What Asio holds: the way back.
  class handler_base {
   public:
    explicit handler_base(asio_operation& op) noexcept : x_op(&op) {}
    handler_base(handler_base&& other) noexcept : x_op(std::exchange(other.x_op, nullptr)) {}
    handler_base& operator=(handler_base&&) = delete;
    ~handler_base() {
      if (x_op) [[unlikely]] x_op->over(true);
    }

    using cancellation_slot_type = decltype(std::declval<signal&>().slot());
    cancellation_slot_type get_cancellation_slot() const noexcept { return x_op->x_signal.slot(); }

    template <class... X> void operator()(X&&... x) {
      asio_operation* op = std::exchange(x_op, nullptr);
      try {
        op->x_completion.emplace(std::forward<X>(x)...);
      } catch (...) {
        op->x_failure = std::current_exception();
      }
      op->over(false);
    }

   protected:
    asio_operation* x_op;
  };
  struct handler_of_steps : handler_base {
    using handler_base::handler_base;
    using executor_type = step_executor<executor>;
    executor_type get_executor() const noexcept {
      return {*this->x_op->x_executor, this->x_op->door()};
    }
  };
  using handler = std::conditional_t<single_step, handler_base, handler_of_steps>;

  // Instead of starting it.
  void fail() noexcept {
    if constexpr (Completion::can_fail) x_completion.emplace(Completion::failed());
  }
  // By the owner. What it throws is the operation's failure.
  void start() noexcept {
    x_started = true;
    try {
      std::apply([this](auto&... args) { std::move(x_init)(handler(*this), std::move(args)...); }, x_args);
    } catch (...) {
      x_failure = std::current_exception();
    }
  }

  // Starts the operation, or asks it to end, where its executor runs things; it owns the operation until then.
  class errand {
   public:
    explicit errand(asio_operation& op) noexcept : x_op(&op), x_throwing(std::uncaught_exceptions()) {}
    errand(errand&& other) noexcept : x_op(std::exchange(other.x_op, nullptr)), x_throwing(other.x_throwing) {}
    errand& operator=(errand&&) = delete;
    ~errand() {
      if (x_op) [[unlikely]] std::exchange(x_op, nullptr)->not_run(std::uncaught_exceptions() > x_throwing);
    }
    void operator()() {
      asio_operation& op = *std::exchange(x_op, nullptr);
      if (op.x_started)
        op.emit_here();
      else
        op.start();
      op.settle(false);
    }

   private:
    asio_operation* x_op;
    int x_throwing;
  };
  // It may be over when this returns.
  void send() noexcept {
    try {
      boost::asio::dispatch(*x_executor, errand(*this));
    } catch (...) {  // the errand has told it
    }
  }
  // The errand was destroyed. A request that had to come by a strand is lost then: it goes on until it ends by itself.
  void not_run(bool no_memory) noexcept {
    if (x_started) {
      if (x_anywhere && !x_over.load(std::memory_order_acquire)) emit_here();
      return this->settle(false);
    }
    if (no_memory)
      x_failure = std::make_exception_ptr(std::bad_alloc());
    else
      x_abandoned = true;
    go_on(false);
  }

  // The goroutine waits, not cancellable, for a handler to begin in its stead.
  void defer(goroutine& g, promise_base* leaf) noexcept {
    g.set_leaf(leaf);
    this->reader = &g;
    this->try_now = [](deferred_read& self, fifo& woken) noexcept {
      return static_cast<asio_operation&>(self).read_or_begin(woken);
    };
    world_of(g).defer(*this);
  }
  bool read_or_begin(fifo& woken) noexcept {
    goroutine& g = *this->reader;
    const bool done = g.context.load(std::memory_order_relaxed)->due();
    if (!done && x_init.attempt_again(x_completion)) {
      x_started = true;
      woken.push(&g);
      return true;
    }
    if (done || !this->begin(g, g.leaf())) {
      x_init.not_begun();
      g.stop = true;
    } else {
      start();
      if (!this->leave()) return false;
      g.stop = end_of_wait();
    }
    woken.push(&g);
    return false;
  }

  // By the last handler.
  void over(bool abandoned) noexcept {
    x_abandoned = abandoned;
    bool mine;
    if constexpr (single_step) {
      x_over.store(true, std::memory_order_relaxed);
      mine = this->arrive();
    } else {
      // Who runs a step looks whether it is over, also before this has arrived: then it waits at the door.
      step_door& door = *this->door();
      (void)door.enter();
      x_over.store(true, std::memory_order_release);
      mine = this->arrive();
      door.leave();  // the last touch, if not mine
    }
    if (mine) go_on(!abandoned);  // who destroys a handler may hold a lock
  }
  // The goroutine is the caller's now. True: it is to be unwound.
  bool end_of_wait() noexcept {
    if constexpr (!single_step) this->shut_door();
    bool asked = this->requested();
    this->end();
    return !x_failure && (x_abandoned || (asked && x_completion->aborted()));
  }

  bool run_pending() noexcept override {
    if constexpr (!single_step) this->x_steps.run_all();
    return x_over.load(std::memory_order_acquire);
  }
  // What one of many steps has put into the slot is whoever's code. It may send the request on to its executor, as
  // co_spawn does, by way of what ends with the operation: there, that happens at once.
  bool emit() noexcept override {
    if (x_anywhere && (single_step || !knows_executor)) return emit_here(), true;
    processor_set::outsider now(this->waiting().core());
    send();
    return false;
  }
  void emit_here() noexcept {
    calling_out now;
    x_signal.emit(boost::asio::cancellation_type::terminal);
  }
  void go_on(bool in_handler) noexcept override {
    goroutine& g = this->waiting();
    in_handler = in_handler && x_anywhere;
    g.stop = end_of_wait();
    world_of(g).go_on(g, in_handler);
  }

  Init x_init;
  std::tuple<Args...> x_args;
  std::optional<executor> x_executor;  // where somebody has to be sent by it
  std::optional<Completion> x_completion;
  std::exception_ptr x_failure;
  signal x_signal;
  bool x_anywhere = true;
  bool x_started = false;
  bool x_abandoned = false;
  std::atomic<bool> x_over{false};
  bool x_is_case = false;  // of a select that has begun
};

}  // namespace runnel::detail
