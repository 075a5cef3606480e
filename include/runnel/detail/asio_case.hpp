// SPDX-License-Identifier: BSL-1.0
// runnel/detail/asio_case.hpp: an operation of Asio as a case of a select.
// Layer: L11
#pragma once

#include <runnel/detail/asio_executor.hpp>
#include <runnel/detail/asio_operation.hpp>
#include <runnel/detail/asio_world.hpp>
#include <runnel/detail/goroutine.hpp>
#include <runnel/detail/asio_inplace_signal.hpp>
#include <runnel/detail/started_case.hpp>
#include <runnel/error.hpp>

#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>

#include <exception>
#include <new>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace runnel::detail {

// It lies in the frame that selects, for as long as that does. The operation that it stands for is named, lives longer,
// and is where the result is kept: so a later select finds it there, and a plain await. Of the operation it needs no
// more than a plain await does: initiation and arguments are copied each time that it is started.
//
// Where the executor of the I/O object is a pool's, it is started and asked to end by the goroutine itself; everywhere
// else by way of that executor.
//
// Invariants: those of started_case; the operation's completion is written by the handler, or instead of it by who
// could not start it, and is read when nothing is out.
template <class Policy, class Completion, class Init, class... Args>
class asio_case<asio_operation<Policy, Completion, Init, Args...>> final : public started_case {
  using operation = asio_operation<Policy, Completion, Init, Args...>;
  using executor = typename operation::executor;

 public:
  // Of what may be a case; `Named` is how it is written.
  template <class Named> static constexpr bool check() {
    constexpr bool many_steps = !operation::single_step;
    constexpr bool can_be_copied =
        std::is_copy_constructible_v<Init> && (std::is_copy_constructible_v<Args> && ... && true);
    constexpr bool may_be_lost = !std::is_lvalue_reference_v<Named> && !std::is_void_v<typename Completion::value>;
    static_assert(!many_steps,
                  "an operation of many steps (async_read, async_write, those of Beast) may have done half of them "
                  "when another case is taken: rn::async a function that awaits it, and let t.await() be the case");
    static_assert(many_steps || can_be_copied,
                  "an operation of Asio that is a case can be started again: what it is started with must be copyable");
    static_assert(many_steps || !may_be_lost,
                  "an operation of Asio that yields something is named, so that what it did all the same is kept: "
                  "auto read = socket.async_read_some(buffer, rn::use_result), and rn::on(read, handler)");
    return !many_steps && can_be_copied && !may_be_lost;
  }

  asio_case(started_cases& cases, operation& op) : started_case(cases), x_op(op) {
    if (op.x_started) throw misuse_error("runnel: this operation of Asio has been awaited: it is no case any more");
    if (std::exchange(op.x_is_case, true))
      throw misuse_error("runnel: this operation of Asio is a case already: it is one case of one select at a time");
    if (op.has_kept()) has_result();
  }
  ~asio_case() { asio_case::give_back(); }

  auto value() {
    set_as_new();
    return x_op.resume();
  }

 private:
  // What Asio holds: the way back.
  class handler {
   public:
    explicit handler(asio_case& c) noexcept : x_case(&c) {}
    handler(handler&& other) noexcept : x_case(std::exchange(other.x_case, nullptr)) {}
    handler& operator=(handler&&) = delete;
    ~handler() {
      if (x_case) [[unlikely]] x_case->over(true);
    }

    using cancellation_slot_type = inplace_slot;
    cancellation_slot_type get_cancellation_slot() const noexcept { return x_case->x_signal.slot(); }

    template <class... X> void operator()(X&&... x) {
      asio_case& self = *std::exchange(x_case, nullptr);
      try {
        self.x_op.x_completion.emplace(std::forward<X>(x)...);
      } catch (...) {
        self.x_op.x_failure = std::current_exception();
      }
      self.over(false);
    }

   private:
    asio_case* x_case;
  };

  // Starts it, or asks it to end, where its executor runs things.
  template <bool Starts> class errand {
   public:
    explicit errand(asio_case& c) noexcept : x_case(&c), x_throwing(std::uncaught_exceptions()) {}
    errand(errand&& other) noexcept : x_case(std::exchange(other.x_case, nullptr)), x_throwing(other.x_throwing) {}
    errand& operator=(errand&&) = delete;
    ~errand() {
      if (!x_case) return;
      asio_case& self = *std::exchange(x_case, nullptr);
      if constexpr (Starts)
        self.not_started(std::uncaught_exceptions() > x_throwing);
      else
        go_on(self.let_go(), false);  // the request is lost: the operation goes on until it ends by itself
    }
    void operator()() {
      asio_case& self = *std::exchange(x_case, nullptr);
      if constexpr (Starts) {
        self.start_here();
      } else {
        self.emit_here();
        go_on(self.let_go(), false);
      }
    }

   private:
    asio_case* x_case;
    int x_throwing;
  };
  template <bool Starts> void send() noexcept {
    try {
      boost::asio::dispatch(*x_executor, errand<Starts>(*this));
    } catch (...) {  // the errand has told it
    }
  }

  void start(goroutine& me) noexcept override {
    try {
      asio_world& world = world_of(me);
      const executor& ex = x_op.executor_in(world);
      x_anywhere = !operation::knows_executor || runs_anywhere(ex);
      if (!x_anywhere) x_executor.emplace(ex);
      if (world.watches && world.begins(context_of(ex), Completion::can_fail)) [[unlikely]] {
        x_op.fail();
        return never_began();
      }
    } catch (...) {
      x_op.x_failure = std::current_exception();
      return never_began();
    }
    if (x_anywhere)
      start_here();
    else
      send<true>();
  }
  // What it throws is the operation's failure; the handler is gone then, and has let go.
  void start_here() noexcept {
    try {
      handler h(*this);
      auto args = x_op.x_args;
      auto init = x_op.x_init;
      std::apply([&](auto&... a) { std::move(init)(std::move(h), std::move(a)...); }, args);
    } catch (...) {
      x_failed_to_start = std::current_exception();
    }
    go_on(begun([this] { emit_here(); }), false);
  }
  // By the goroutine, which has no handler out.
  void never_began() noexcept {
    (void)let_go();
    go_on(begun([] {}), false);
  }
  // The errand was destroyed.
  void not_started(bool no_memory) noexcept {
    if (no_memory)
      x_failed_to_start = std::make_exception_ptr(std::bad_alloc());
    else
      x_abandoned = true;
    (void)let_go();
    go_on(begun([] {}), false);
  }
  void emit() noexcept override {
    if (!x_anywhere) return send<false>();
    emit_here();
    go_on(let_go(), false);
  }
  void emit_here() noexcept {
    calling_out now;
    x_signal.emit(boost::asio::cancellation_type::terminal);
  }

  // By the handler.
  void over(bool destroyed) noexcept {
    if (destroyed) x_abandoned = true;
    const bool can_run_here = !destroyed && x_anywhere;  // who destroys one may hold a lock
    go_on(let_go(), can_run_here);
  }
  bool keeps_result(bool requested) noexcept override {
    if (x_failed_to_start) {
      x_op.x_failure = std::exchange(x_failed_to_start, nullptr);
      x_abandoned = false;  // the handler was destroyed because of that
    }
    if (x_abandoned) return !requested;
    if (!requested || x_op.x_failure || !x_op.x_completion->aborted()) return true;
    x_op.x_completion.reset();
    return false;
  }
  void give_back() noexcept override {
    if (!std::exchange(x_given_back, true)) x_op.x_is_case = false;
  }
  static void go_on(goroutine* who, bool in_handler) noexcept {
    if (who) world_of(*who).go_on(*who, in_handler);
  }

  operation& x_op;
  std::optional<executor> x_executor;
  std::exception_ptr x_failed_to_start;
  inplace_signal x_signal;
  bool x_anywhere = true;
  bool x_given_back = false;
};

}  // namespace runnel::detail
