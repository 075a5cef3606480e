// SPDX-License-Identifier: BSL-1.0
// tests/fuzz/channel_program.hpp: bytes as a program of a few goroutines on two channels, run under a schedule that
// they name too, and what it must never do.
#pragma once

#include <runnel.hpp>
#include <runnel/test.hpp>

#include "fuzz/history.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fuzz {

namespace rn = runnel;

// Reads bytes; zeros behind their end.
class reader {
 public:
  explicit reader(std::span<const std::uint8_t> bytes) noexcept : x_bytes(bytes) {}
  unsigned below(unsigned n) noexcept { return next() % n; }
  std::uint8_t next() noexcept {
    if (x_bytes.empty()) return 0;
    std::uint8_t byte = x_bytes.front();
    x_bytes = x_bytes.subspan(1);
    return byte;
  }
  bool ended() const noexcept { return x_bytes.empty(); }

 private:
  std::span<const std::uint8_t> x_bytes;
};

struct step {
  enum class kind_t {
    send, receive, try_send, try_receive, close, select, select_first, select_or_not, select_for, timed_send,
    timed_receive, cancel, rest, yield, count
  };
  kind_t kind;
  std::size_t channel;  // the other one, where there are two
  std::size_t peer;     // whom to cancel
  unsigned ms;
};

class channel_program {
 public:
  static constexpr std::size_t channels = 2, most_goroutines = 4, most_steps = 24;

  explicit channel_program(std::span<const std::uint8_t> bytes) {
    reader in(bytes);
    for (auto& capacity : x_capacities) capacity = in.below(3);
    x_seed = in.next() + 256u * in.next();
    x_goroutines.resize(2 + in.below(most_goroutines - 1));
    std::size_t steps = 0;
    for (; !in.ended() && steps < most_steps; ++steps) {
      auto what = static_cast<step::kind_t>(in.below(static_cast<unsigned>(step::kind_t::count)));
      auto more = in.next();
      x_goroutines[steps % x_goroutines.size()].push_back(
          {what, more % channels, more / 2 % x_goroutines.size(), 1 + more / 8 % 4u});
    }
  }

  // What is wrong with what it did; empty: nothing.
  std::string run() {
    try {
      rn::test::run(rn::test::seed(x_seed), [this] { return all(); });
    } catch (const std::exception& e) {
      return e.what();
    }
    for (std::size_t i = 0; i < channels; ++i)
      if (!explanation(x_histories[i], x_capacities[i]).exists()) return complaint(i);
    return "";
  }

 private:
  using kind = event::kind_t;
  using millis = std::chrono::milliseconds;

  // Each goroutine goes through its steps, under a context of its own. Afterwards the channels are closed, so that who
  // still waits ends, and drained.
  rn::task<> all() {
    for (std::size_t i = 0; i < channels; ++i) x_channels[i] = rn::chan<int>(static_cast<std::ptrdiff_t>(x_capacities[i]));
    rn::errgroup group;
    for (auto& steps : x_goroutines) {
      auto [ctx, cancel] = rn::this_context().with_cancel();
      x_cancels.push_back(std::move(cancel));
      group.go([this, &steps](rn::context mine) -> rn::task<> {
        (void)co_await rn::as_result(rn::with_context(mine, go_through(steps)));
      }, ctx);
    }
    co_await rn::test::wait_idle();
    co_await rn::sleep(std::chrono::seconds(1));  // all timeouts have passed
    for (std::size_t i = 0; i < channels; ++i) close(i);
    co_await group.wait();
    for (std::size_t i = 0; i < channels; ++i) {
      unsigned asked = now();
      while (auto left = x_channels[i].try_recv()) note(i, kind::received, *left, std::exchange(asked, now()));
    }
    x_cancels.clear();
  }

  rn::task<> go_through(const std::vector<step>& steps) {
    for (const step& s : steps) {
      rn::chan<int>& ch = x_channels[s.channel];
      int value = ++x_last_value;
      unsigned asked = now();
      switch (s.kind) {
        case step::kind_t::send:
          co_await send(s.channel, value);
          break;
        case step::kind_t::receive:
          co_await receive(s.channel);
          break;
        case step::kind_t::try_send:
          note(s.channel, ch.try_send(value) ? kind::sent : kind::not_taken, value, asked);
          break;
        case step::kind_t::try_receive:
          if (auto got = ch.try_recv())
            note(s.channel, kind::received, *got, asked);
          else
            note(s.channel, got.closed() ? kind::found_closed : kind::nothing_there, 0, asked);
          break;
        case step::kind_t::close:
          close(s.channel);
          break;
        case step::kind_t::timed_send:
          (void)co_await rn::as_result(rn::with_timeout(millis(s.ms), send(s.channel, value)));
          break;
        case step::kind_t::timed_receive:
          (void)co_await rn::as_result(rn::with_timeout(millis(s.ms), receive(s.channel)));
          break;
        case step::kind_t::cancel:
          x_cancels[s.peer]();
          break;
        case step::kind_t::rest:
          co_await rn::sleep(millis(s.ms));
          break;
        case step::kind_t::yield:
        case step::kind_t::count:
          co_await rn::yield();
          break;
        default:
          co_await select(s, value);
      }
    }
  }

  rn::task<> send(std::size_t channel, int value) {
    unsigned asked = now();
    kind outcome = kind::sent;
    try {
      co_await x_channels[channel].send(value);
    } catch (const rn::closed_channel&) {
      outcome = kind::could_not_send;
    }
    note(channel, outcome, value, asked);
  }
  rn::task<> receive(std::size_t channel) {
    unsigned asked = now();
    auto got = co_await x_channels[channel].recv();
    note(channel, got ? kind::received : kind::found_closed, got.value_or(0), asked);
  }

  // Receives from one and sends to the other, or to the same.
  rn::task<> select(step s, int value) {
    std::size_t from = s.channel, to = s.peer % channels;
    unsigned asked = now();
    auto got = [&](std::optional<int> v) { note(from, v ? kind::received : kind::found_closed, v.value_or(0), asked); };
    auto sent = [&] { note(to, kind::sent, value, asked); };
    auto nothing = [] {};
    try {
      if (s.kind == step::kind_t::select)
        co_await rn::select(rn::on(x_channels[from].recv(), got), rn::on(x_channels[to].send(value), sent));
      else if (s.kind == step::kind_t::select_first)
        co_await rn::select(rn::prefer_first, rn::on(x_channels[to].send(value), sent),
                            rn::on(x_channels[from].recv(), got));
      else if (s.kind == step::kind_t::select_or_not)
        co_await rn::select(rn::on(x_channels[from].recv(), got), rn::on(x_channels[to].send(value), sent),
                            rn::on(rn::otherwise, nothing));
      else
        co_await rn::select(rn::on(x_channels[from].recv(), got), rn::on(x_channels[to].send(value), sent),
                            rn::on(rn::after(millis(s.ms)), nothing));
    } catch (const rn::closed_channel&) {
      note(to, kind::could_not_send, value, asked);
    }
  }

  void close(std::size_t channel) {
    unsigned asked = now();
    if (x_channels[channel].close_if_open()) note(channel, kind::closed, 0, asked);
  }

  unsigned now() noexcept { return ++x_clock; }
  void note(std::size_t channel, kind what, int value, unsigned asked) {
    x_histories[channel].push_back({what, value, asked, now()});
  }
  std::string complaint(std::size_t channel) const {
    std::string text = "no queue of capacity " + std::to_string(x_capacities[channel]) + " could have answered so:\n";
    for (const event& e : x_histories[channel]) text += "  " + text_of(e) + "\n";
    return text;
  }

  std::array<std::size_t, channels> x_capacities{};
  std::uint64_t x_seed = 0;
  std::vector<std::vector<step>> x_goroutines;
  std::array<rn::chan<int>, channels> x_channels;
  std::vector<rn::cancel_function> x_cancels;
  std::array<history, channels> x_histories;
  int x_last_value = 0;
  unsigned x_clock = 0;
};

}  // namespace fuzz
