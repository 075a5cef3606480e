// SPDX-License-Identifier: BSL-1.0
// support/memory_stream.hpp: one end of a connection in memory, an I/O object as Asio's are.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace runnel_test {

/// For one thread, and for one operation each way at a time. What is written here is read at the other end, at most
/// `most` bytes by one operation. Every operation completes by a post to the executor.
class memory_stream {
 public:
  using executor_type = boost::asio::any_io_executor;
  static constexpr std::size_t most = 4;

  explicit memory_stream(executor_type ex) : x_executor(std::move(ex)) {}
  memory_stream(const memory_stream&) = delete;
  memory_stream& operator=(const memory_stream&) = delete;
  ~memory_stream() {
    if (x_peer) x_peer->x_peer = nullptr;
  }

  executor_type get_executor() const noexcept { return x_executor; }
  void connect(memory_stream& other) noexcept {
    x_peer = &other;
    other.x_peer = this;
  }
  /// Nothing will be written here any more.
  void close() {
    if (!x_peer) return;
    x_peer->x_ended = true;
    x_peer->read_if_possible();
  }

  template <class Buffers, class Token> auto async_read_some(const Buffers& into, Token&& token) {
    return boost::asio::async_initiate<Token, signature>(initiate_read{}, token, this, into);
  }
  template <class Buffers, class Token> auto async_write_some(const Buffers& from, Token&& token) {
    return boost::asio::async_initiate<Token, signature>(initiate_write{}, token, this, from);
  }

 private:
  using signature = void(boost::system::error_code, std::size_t);

  struct initiate_read {
    static constexpr bool is_single_step = true;
    template <class H, class Buffers> void operator()(H&& handler, memory_stream* self, Buffers buffers) const {
      self->x_read.begin(std::forward<H>(handler), self->x_executor);
      self->x_copy = [self, buffers] {
        std::size_t n = boost::asio::buffer_copy(buffers, boost::asio::buffer(self->x_bytes), most);
        self->x_bytes.erase(0, n);
        return n;
      };
      self->read_if_possible();
    }
  };
  struct initiate_write {
    static constexpr bool is_single_step = true;
    template <class H, class Buffers> void operator()(H&& handler, memory_stream* self, Buffers buffers) const {
      self->x_written.begin(std::forward<H>(handler), self->x_executor);
      if (!self->x_peer) return self->x_written.complete(boost::asio::error::broken_pipe, 0);
      char bytes[most];
      std::size_t n = boost::asio::buffer_copy(boost::asio::buffer(bytes), buffers);
      self->x_peer->x_bytes.append(bytes, n);
      self->x_peer->read_if_possible();
      self->x_written.complete({}, n);
    }
  };

  // The operation that is out, if one is.
  class operation {
   public:
    bool is_out() const noexcept { return x_handler != nullptr; }
    template <class H> void begin(H&& handler, const executor_type& ex) {
      auto slot = boost::asio::get_associated_cancellation_slot(handler);
      x_handler = std::make_unique<handler_of<std::decay_t<H>>>(std::forward<H>(handler), ex);
      if (slot.is_connected())
        slot.assign([this](boost::asio::cancellation_type) {
          if (is_out()) complete(boost::asio::error::operation_aborted, 0);
        });
    }
    void complete(boost::system::error_code error, std::size_t n) { std::exchange(x_handler, nullptr)->post(error, n); }

   private:
    struct any_handler {
      virtual ~any_handler() = default;
      virtual void post(boost::system::error_code error, std::size_t n) = 0;
    };
    template <class H> struct handler_of final : any_handler {
      handler_of(H from, const executor_type& ex) : h(std::move(from)), io(ex) {}
      void post(boost::system::error_code error, std::size_t n) override {
        auto ex = boost::asio::get_associated_executor(h, io);
        boost::asio::post(io, [ex, handler = std::move(h), error, n]() mutable {
          boost::asio::dispatch(ex, [h = std::move(handler), error, n]() mutable {
            boost::asio::get_associated_cancellation_slot(h).clear();
            std::move(h)(error, n);
          });
        });
      }
      H h;
      executor_type io;
    };
    std::unique_ptr<any_handler> x_handler;
  };

  void read_if_possible() {
    if (!x_read.is_out() || (x_bytes.empty() && !x_ended)) return;
    std::size_t n = x_copy();
    x_read.complete(n == 0 ? boost::asio::error::make_error_code(boost::asio::error::eof) : boost::system::error_code(),
                    n);
  }

  executor_type x_executor;
  memory_stream* x_peer = nullptr;
  std::string x_bytes;  // on their way here
  bool x_ended = false;
  operation x_read, x_written;
  std::function<std::size_t()> x_copy;
};

}  // namespace runnel_test
