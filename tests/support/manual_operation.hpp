// SPDX-License-Identifier: BSL-1.0
// support/manual_operation.hpp: an operation of Asio that does what the test says.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/error_code.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <tuple>
#include <utility>

namespace runnel_test {

/// What an operation says that has ended because it was asked to.
inline const boost::system::error_code aborted = boost::asio::error::operation_aborted;

/// One is out at a time. It is completed, or dropped, by the test.
template <class... A> class manual_operation {
 public:
  /// Starts it: co_await op.start(rn::use_task).
  template <class Token> auto start(Token&& token) {
    return boost::asio::async_initiate<Token, void(A...)>(initiation{this}, token);
  }
  /// The same as the operation of an I/O object with this executor.
  template <class Executor, class Token> auto start_on(Executor ex, Token&& token) {
    return boost::asio::async_initiate<Token, void(A...)>(initiation_on<Executor>{{this}, ex}, token);
  }
  /// The same as an operation of a single step, which a select may start.
  template <class Token> auto start_step(Token&& token) {
    return boost::asio::async_initiate<Token, void(A...)>(single_step<initiation>{{this}}, token);
  }
  template <class Executor, class Token> auto start_step_on(Executor ex, Token&& token) {
    return boost::asio::async_initiate<Token, void(A...)>(single_step<initiation_on<Executor>>{{{this}, ex}}, token);
  }

  /// Called when it is started, and when it is asked to end, on the thread that does that.
  std::function<void()> on_start = [] {};
  std::function<void()> on_cancel = [] {};

  /// From now on it ends when it is asked to; of one that completes with an error_code.
  void obey() {
    on_cancel = [this] { end_with(aborted, static_cast<std::tuple<A...>*>(nullptr)); };
  }

  bool is_out() const noexcept { return x_out; }
  int starts() const noexcept { return x_starts; }
  int cancels() const noexcept { return x_cancels; }
  void complete(A... a) {
    x_out = false;
    auto handler = std::move(x_handler);
    handler->complete(std::move(a)...);
  }
  /// Where the steps of an operation run that has several.
  boost::asio::any_io_executor get_executor() const { return x_handler->get_executor(); }
  /// Destroys the handler.
  void drop() {
    x_out = false;
    auto handler = std::move(x_handler);
  }

 private:
  template <class... V> void end_with(boost::system::error_code e, std::tuple<boost::system::error_code, V...>*) {
    complete(e, V()...);
  }

  struct waiting {
    virtual ~waiting() = default;
    virtual void complete(A...) = 0;
    virtual boost::asio::any_io_executor get_executor() const = 0;
  };
  template <class H> struct waiting_handler final : waiting {
    explicit waiting_handler(H&& handler) : h(std::move(handler)) {}
    void complete(A... a) override {
      H handler(std::move(h));
      handler(std::move(a)...);
    }
    boost::asio::any_io_executor get_executor() const override { return boost::asio::get_associated_executor(h); }
    H h;
  };
  struct initiation {
    manual_operation* self;
    template <class H> void operator()(H&& handler) const {
      ++self->x_starts;
      auto slot = boost::asio::get_associated_cancellation_slot(handler);
      if (slot.is_connected())
        slot.assign([op = self](boost::asio::cancellation_type) {
          ++op->x_cancels;
          op->on_cancel();
        });
      self->x_handler = std::make_unique<waiting_handler<std::decay_t<H>>>(std::forward<H>(handler));
      self->x_out = true;
      self->on_start();
    }
  };

  template <class Executor> struct initiation_on : initiation {
    using executor_type = Executor;
    Executor ex;
    executor_type get_executor() const noexcept { return ex; }
  };

  template <class Init> struct single_step : Init {
    static constexpr bool is_single_step = true;
  };

  std::unique_ptr<waiting> x_handler;
  std::atomic<bool> x_out{false};
  std::atomic<int> x_starts{0}, x_cancels{0};
};

}  // namespace runnel_test
