// SPDX-License-Identifier: BSL-1.0
// runnel/detail/stream_run.hpp: a stream's inputs, tasks and results in motion: pull, start, wait, deliver.
// Layer: L9
#pragma once

#include <runnel/detail/async_start.hpp>
#include <runnel/detail/async_task.hpp>
#include <runnel/detail/call_result.hpp>
#include <runnel/detail/prepared_task.hpp>
#include <runnel/detail/select_case.hpp>
#include <runnel/detail/select_operation.hpp>
#include <runnel/detail/stream_core.hpp>
#include <runnel/detail/stream_source.hpp>
#include <runnel/detail/wait_operation.hpp>
#include <runnel/error.hpp>
#include <runnel/result.hpp>
#include <runnel/task.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

namespace runnel {

/// What a stream yields: an input, and how its task ended.
template <class In, class T> class stream_item {
 public:
  stream_item(std::size_t index, In&& input, result<T>&& outcome)
      : x_index(index), x_input(std::move(input)), x_outcome(std::move(outcome)) {}

  bool ok() const noexcept { return x_outcome.ok(); }
  /// The input, of a task that failed too.
  In& input() & noexcept { return x_input; }
  const In& input() const& noexcept { return x_input; }
  In&& input() && noexcept { return std::move(x_input); }
  /// Which input it was, counted from 0.
  std::size_t index() const noexcept { return x_index; }
  /// The value. Throws: reason(), if there is none.
  decltype(auto) value() & { return x_outcome.value(); }
  T value() && { return std::move(x_outcome).value(); }
  /// Why there is no value: the task's exception; deadline_exceeded, if its time was up; canceled. Else null.
  std::exception_ptr reason() const noexcept {
    if (ok()) return nullptr;
    return x_outcome.error() ? x_outcome.error() : detail::canceled_cause();
  }

 private:
  std::size_t x_index;
  In x_input;
  result<T> x_outcome;
};

namespace detail {

template <class O> inline constexpr bool is_stream_option = false;

struct stream_settings {
  std::size_t at_most = 0;  // 0: as many as there are processors
  bool in_order = true;
  bool limited = false;
  std::int64_t limit_ns = 0;
  bool kill_on_timeout = false;
  std::shared_ptr<task_host> host;  // who starts and joins the tasks; null: the scope
  bool linked = true;               // they are cancelled with the stream

  template <class O> static constexpr bool takes = is_stream_option<O>;
};

template <class T, class F, class In> task<T> call_with(const F& f, In& input) {
  if constexpr (is_task<std::invoke_result_t<const F&, In&>>)
    co_return co_await std::invoke(f, input);
  else
    co_return std::invoke(f, input);
}
template <class T, class F, class In> task<T> call_with_limit(const F& f, In& input, std::int64_t ns, bool& timed_out) {
  co_return co_await kill_after_operation<T>(call_with<T>(f, input), ns, timed_out);
}

template <class Source, class F> class stream_state final : public stream_core {
 public:
  using input = typename Source::input;
  using value = call_result_t<const F&, input&>;
  using item = stream_item<input, value>;

  // The source is made in place: it may refer to itself.
  template <class R, class G>
  stream_state(goroutine& consumer, const stream_settings& s, R&& range, G&& f)
      : stream_core(consumer, s.at_most, s.in_order), x_settings(s), x_f(std::forward<G>(f)) {
    x_source.emplace(std::forward<R>(range));
  }

  // The consumer has the next, or all that are left, or gives it up. One at a time.
  task<std::optional<item>> next() {
    check_consumer();
    co_await counted_checkpoint();
    std::exception_ptr error;
    try {
      for (bool deliver_first = pull_may_wait;; deliver_first = true) {
        bool timed_out = collect();
        if (auto why = take_refusal()) std::rethrow_exception(std::move(why));
        if (timed_out && !x_settings.kill_on_timeout) throw deadline_exceeded();
        if (deliver_first)  // what is there does not wait for an input, nor what was waited for
          if (stream_slot* s = take()) co_return deliver(s);
        if constexpr (pulls_from_channel)
          co_await fill_from_channel();
        else
          co_await fill();
        if (stream_slot* s = take()) co_return deliver(s);
        if (running() == 0) {
          x_source.reset();
          co_return std::nullopt;
        }
        co_await wait();
      }
    } catch (...) {
      error = std::current_exception();
    }
    stop();
    while (stopping()) co_await stream_wait(*this);
    std::rethrow_exception(std::move(error));
  }

  // Cancels what runs and waits for its end. Afterwards there is nothing more.
  task<> close() {
    check_consumer();
    stop();
    while (stopping()) co_await stream_wait(*this);
  }
  // The steps of an end, for who waits in its own frame: `stop(); while (stopping()) co_await stream_wait(s);`. Where
  // memory is out a frame just for that could not be had, and who throws bad_alloc would leave the tasks running.
  void stop() noexcept {
    x_source.reset();
    cancel_tasks();
  }
  bool stopping() noexcept {
    collect();
    if (running() != 0) return true;
    (void)take_refusal();
    drop_done();
    return false;
  }
  // The consumer gives it up.
  void give_up() noexcept {
    x_source.reset();
    abandon(x_settings.linked);
  }

 private:
  static constexpr bool pulls_from_channel = requires(Source & s) { s.channel(); };
  static constexpr bool pull_may_wait = requires(Source & s) { requires is_task<decltype(s.pull())>; };

  struct slot final : stream_slot {
    input in;
    task_use<async_task<value>> run;
    slot(stream_core& c, std::size_t i, input&& given) : stream_slot(c, i), in(std::move(given)) {}
    void cancel() noexcept override {
      if (run) run->cancel(level_cancel);
    }
    void forget() noexcept override {
      if (run) (void)run->take_as_result();
    }
  };
  bool wants_input() const noexcept { return x_source && has_room(); }

  // Nothing is taken out for delivery before: a pull that waits may be cancelled.
  task<> fill() {
    while (wants_input()) {
      if constexpr (pull_may_wait) {
        auto in = co_await x_source->pull();
        received(std::move(in));
        if (has_news_now()) break;  // what has ended meanwhile does not wait for the next input
      } else {
        received(x_source->pull());
      }
      if (due()) break;  // what is pulled now counts as done at once, so there would always be room
    }
    co_return;
  }
  // What is there; and waits only where nothing else is to be waited for.
  task<> fill_from_channel() {
    while (wants_input()) {
      auto there = x_source->channel().try_recv();
      if (there) {
        start(std::move(*there));
        if (due()) break;
      } else if (there.closed() || nothing_left()) {
        auto in = co_await x_source->channel().recv();
        received(std::move(in));
      } else {
        break;
      }
    }
  }
  void received(std::optional<input>&& in) {
    if (!in)
      x_source.reset();
    else
      start(std::move(*in));
  }
  task<> wait() {
    if constexpr (pulls_from_channel)
      if (wants_input()) {
        auto recv = x_source->channel().recv();
        stream_wait news(*this);
        using from_channel = select_case<decltype(recv)>;
        from_channel by_input(recv);
        select_case<stream_wait> by_news(news);
        select_operation<false, from_channel, select_case<stream_wait>> either(by_input, by_news);
        std::size_t which = co_await std::move(either);
        if (which == 0) received(take_value(recv));
        co_return;
      }
    co_await stream_wait(*this);
  }

  void start(input&& in) {
    auto made = std::make_unique<slot>(*this, next_index(), std::move(in));
    slot& s = *made;
    if (due()) {
      add(*made.release());
      return add_done(s);
    }
    auto* t = new async_task<value>(std::source_location::current());
    s.run = task_use<async_task<value>>(t);
    runners_use runner{t};
    std::unique_ptr<goroutine> g;
    if (!x_settings.host) g = std::make_unique<goroutine>();
    task<value> body = x_settings.limited ? call_with_limit<value>(x_f, s.in, x_settings.limit_ns, s.timed_out)
                                          : call_with<value>(x_f, s.in);
    if (x_settings.host) {
      t->set_values(x_settings.host->values(values()));
      if (!x_settings.linked) t->set_independent();
      auto prepared = std::make_unique<prepared_task>(*t, std::move(body), &s);
      runner.t = nullptr;
      add(*made.release());
      count_started();
      return x_settings.host->start(std::move(prepared));
    }
    add(*made.release());
    count_started();
    std::exchange(runner.t, nullptr)->start(consumer(), *this, scope(), g.release(), body.release(), *t, &s);
  }
  std::optional<item> deliver(stream_slot* taken) {
    std::unique_ptr<slot> s(static_cast<slot*>(taken));
    return std::optional<item>(std::in_place, s->index, std::move(s->in),
                               s->run ? s->run->take_as_result() : result<value>());
  }

  const stream_settings x_settings;
  const F x_f;
  std::optional<Source> x_source;  // of the consumer: gone as soon as nothing more is pulled
};

// The consumer's use of a stream.
struct gives_up_stream {
  template <class State> void operator()(State* s) const noexcept { s->give_up(); }
};
template <class Source, class F>
using stream_owner = std::unique_ptr<stream_state<Source, F>, gives_up_stream>;

}  // namespace detail
}  // namespace runnel
