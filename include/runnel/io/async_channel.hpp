// SPDX-License-Identifier: BSL-1.0
// runnel/io/async_channel.hpp: async_send and async_recv, a channel in plain Asio code.
// Layer: L11
#pragma once

#include <runnel/chan.hpp>
#include <runnel/detail/chan_many.hpp>
#include <runnel/detail/chan_ops.hpp>
#include <runnel/detail/park_lock.hpp>
#include <runnel/error.hpp>

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
#include <memory>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace runnel {

/// Why an async_send or async_recv brought nothing.
enum class channel_errc {
  closed = 1,         // a send: the channel is closed
  closed_with_error,  // a receive: it was closed with an error that is no system_error, and is drained
};
const boost::system::error_category& channel_category() noexcept;
inline boost::system::error_code make_error_code(channel_errc e) noexcept {
  return {static_cast<int>(e), channel_category()};
}

}  // namespace runnel

template <> struct boost::system::is_error_code_enum<runnel::channel_errc> : std::true_type {};

namespace runnel {

inline const boost::system::error_category& channel_category() noexcept {
  struct category final : boost::system::error_category {
    const char* name() const noexcept override { return "runnel.channel"; }
    std::string message(int e) const override {
      bool plain = e == static_cast<int>(channel_errc::closed);
      return plain ? "the channel is closed" : "the channel was closed with an error";
    }
  };
  static const category the_category;
  return the_category;
}

namespace detail {

// A handler of Asio's that waits in a channel's queue, with its memory from the handler's allocator.
//
// It is *queued*, or taken out by a peer, by a close, or by its cancellation, under the channel's lock: exactly once,
// by whoever finds it linked. Who took it out posts it to the handler's executor, and only there it ends: a
// cancellation is emitted there too, as Asio wants it, and so finds it alive.
template <class T, class Op, class Waiter, class Handler> class waiting_handler : public Waiter {
  using allocator = typename std::allocator_traits<
      boost::asio::associated_allocator_t<Handler>>::template rebind_alloc<waiting_handler>;
  using executor = boost::asio::associated_executor_t<Handler>;

 public:
  using hold = chan_hold<element_of<T>>;
  template <class... A>
  waiting_handler(hold channel, Handler handler, A&... args)
      : Waiter(args...),
        x_channel(std::move(channel)),
        x_work(boost::asio::get_associated_executor(handler)),
        x_handler(std::move(handler)) {
    this->kind = waiter::kind_t::foreign;
    this->wake = [](waiter& self) noexcept { static_cast<waiting_handler&>(static_cast<Waiter&>(self)).post(); };
  }

  // Attempts, or waits.
  template <class... A> static void start(hold channel, Handler handler, A&... args) {
    chan_core& core = *channel.get();
    allocator memory(boost::asio::get_associated_allocator(handler));
    waiting_handler* self = std::allocator_traits<allocator>::allocate(memory, 1);
    try {
      std::construct_at(self, std::move(channel), std::move(handler), args...);
    } catch (...) {
      std::allocator_traits<allocator>::deallocate(memory, self, 1);
      throw;
    }
    auto slot = boost::asio::get_associated_cancellation_slot(self->x_handler);
    if (slot.is_connected()) slot.assign([self](boost::asio::cancellation_type) { self->cancel(); });
    woken peer;
    bool waits;
    {
      park_lock::guard locked(core.lock(), this_processor());
      Op::attempt(core, *self, peer);
      waits = self->outcome == transfer::pending;
      if (waits) Op::queue(core).push_back(self);  // from here on it may be posted, and end
    }
    if (!waits) self->post();
    peer.fire();
  }

 private:
  struct ending {
    waiting_handler* self;
    ending(waiting_handler* s) noexcept : self(s) {}
    ending(ending&& other) noexcept : self(std::exchange(other.self, nullptr)) {}
    ending& operator=(ending&&) = delete;
    ~ending() {
      if (self) self->end([](auto&&...) noexcept {});  // its context is gone: what it received goes with it. The slot
                                                       // belongs to a signal that may be gone, too
    }
    void operator()() {
      boost::asio::get_associated_cancellation_slot(self->x_handler).clear();
      std::exchange(self, nullptr)->end([](Handler& h, auto&&... results) {
        std::move(h)(std::forward<decltype(results)>(results)...);
      });
    }
  };
  void post() noexcept {
    auto memory = boost::asio::get_associated_allocator(x_handler);
    auto until_posted = x_work;  // the handler may end its context's run(), and the context, before post() returns
    boost::asio::post(until_posted.get_executor(), boost::asio::bind_allocator(memory, ending(this)));
  }
  void cancel() noexcept {
    {
      park_lock::guard locked(x_channel.get()->lock(), this_processor());
      if (!this->linked() || this->outcome != transfer::pending) return;
      unlink(this);
      x_aborted = true;
    }
    post();
  }
  // Ends this, and then calls the handler with what it brought.
  template <class Call> void end(Call&& call) {
    auto work = std::move(x_work);
    Handler handler(std::move(x_handler));
    auto results = Op::template take<T>(*this, x_aborted);
    allocator memory(boost::asio::get_associated_allocator(handler));
    std::destroy_at(this);
    std::allocator_traits<allocator>::deallocate(memory, this, 1);
    std::apply([&](auto&&... r) { call(handler, std::move(r)...); }, std::move(results));
  }

  hold x_channel;
  boost::asio::executor_work_guard<executor> x_work;
  Handler x_handler;
  bool x_aborted = false;
};

inline boost::system::error_code code_of(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const boost::system::system_error& e) {
    return e.code();
  } catch (const std::system_error& e) {
    return e.code();
  } catch (...) {
    return channel_errc::closed_with_error;
  }
}

template <class T> struct async_receiving : recv_operation<T> {
  template <class, class W> static std::tuple<boost::system::error_code, received<T>> take(W& w, bool aborted) {
    if (aborted) return {boost::asio::error::operation_aborted, received<T>()};
    if (w.outcome == transfer::closed_with_error) {
      boost::system::error_code code = code_of(w.error());
      w.discard();
      return {code, received<T>()};
    }
    return {boost::system::error_code(), unwrap<T>(w)};
  }
};

// The element lives beside its waiter.
template <class T> struct element_holder {
  element_of<T> held;
};
template <class T> struct async_send_waiter : element_holder<T>, send_waiter<element_of<T>> {
  explicit async_send_waiter(element_of<T>& e) noexcept
      : element_holder<T>{std::move(e)}, send_waiter<element_of<T>>(this->held) {}
};
template <class T> struct async_sending : sending<element_of<T>> {
  template <class, class W> static std::tuple<boost::system::error_code> take(W& w, bool aborted) {
    if (aborted) return {boost::asio::error::operation_aborted};
    if (w.outcome != transfer::done) return {channel_errc::closed};
    return {boost::system::error_code()};
  }
};

template <class Channel> auto hold_of(const Channel& ch) {
  chan_core* core = chan_access::core(ch);
  if (!core) throw misuse_error("runnel: an async_ operation on the nil channel would never complete");
  return chan_hold<element_of<typename Channel::value_type>>(core);
}

}  // namespace detail

/// Receives in plain Asio code: `auto v = co_await rn::async_recv(ch, asio::use_awaitable);`
///
/// Completes with: (error_code, what recv() yields): an empty optional when the channel is closed and drained. The
/// error is operation_aborted after a cancellation; of a channel that was closed with an error that error's code if it
/// is a system_error, else channel_errc::closed_with_error.
/// Executor: the handler's associated one, which has work meanwhile; never called inside of this call.
/// Cancel-safety: any cancellation_type; the element stays in the channel.
/// Ordering: it waits in the queue with the goroutines, first come first served.
/// Throws: misuse_error on the nil channel; bad_alloc.
/// Lifetime: the handler's execution context outlives the wait: close the channel, or cancel, before it is destroyed.
template <class Channel, class Token> auto async_recv(const Channel& ch, Token&& token) {
  using T = typename Channel::value_type;
  auto initiate = []<class H>(H&& handler, auto channel) {
    using waiting = detail::waiting_handler<T, detail::async_receiving<T>, detail::recv_waiter<detail::element_of<T>>,
                                            std::decay_t<H>>;
    waiting::start(std::move(channel), std::forward<H>(handler));
  };
  return boost::asio::async_initiate<Token, void(boost::system::error_code, detail::received<T>)>(
      initiate, token, detail::hold_of(ch));
}
/// Sends in plain Asio code. The value is moved or copied in.
///
/// Completes with: (error_code): channel_errc::closed if the channel was closed first; operation_aborted.
/// The rest as for async_recv; a value that was not sent dies with the operation.
template <class Channel, class U, class Token> auto async_send(const Channel& ch, U&& value, Token&& token) {
  using T = typename Channel::value_type;
  auto initiate = []<class H>(H&& handler, auto channel, detail::element_of<T> e) {
    using waiting =
        detail::waiting_handler<T, detail::async_sending<T>, detail::async_send_waiter<T>, std::decay_t<H>>;
    waiting::start(std::move(channel), std::forward<H>(handler), e);
  };
  return boost::asio::async_initiate<Token, void(boost::system::error_code)>(
      initiate, token, detail::hold_of(ch), detail::make_element<T>(std::forward<U>(value)));
}

/// The same for a chan<void>.
template <class Channel, class Token>
  requires std::is_void_v<typename Channel::value_type>
auto async_send(const Channel& ch, Token&& token) {
  return async_send(ch, detail::unit(), std::forward<Token>(token));
}

}  // namespace runnel
