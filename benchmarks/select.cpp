// SPDX-License-Identifier: BSL-1.0
// What does it cost to wait for several channels at once?
#include "support.hpp"

#include <array>
#include <optional>
#include <utility>

namespace {

rn::task<> produce(rn::chan<int> out, long n) {
  for (long i = 0; i < n; ++i) co_await out.send(static_cast<int>(i));
}


// One goroutine selects over n channels, each of which has a producer of its own. An operation is an int that got through.
template <std::size_t... I> rn::task<long> select_over(std::size_t capacity, long items, std::index_sequence<I...>) {
  constexpr std::size_t n = sizeof...(I);
  std::array<rn::chan<int>, n> from;
  for (auto& ch : from) ch = rn::chan<int>(static_cast<std::ptrdiff_t>(capacity));
  const long each = items / static_cast<long>(n);
  rn::wait_group done;
  for (auto& ch : from) done.go([ch, each] { return produce(ch, each); });
  long sum = 0;
  for (long i = 0; i < each * static_cast<long>(n); ++i) {
    auto add = [&](std::optional<int> v) { sum += *v; };
    co_await rn::select(rn::on(from[I].recv(), add)...);
  }
  co_await done.wait();
  bench::check(sum == static_cast<long>(n) * (each * (each - 1) / 2), "an element was lost");
  co_return each * static_cast<long>(n);
}

constexpr long items = 1 << 20;
rn::task<long> select_2() { return select_over(0, bench::scaled(items), std::make_index_sequence<2>()); }
rn::task<long> select_8() { return select_over(0, bench::scaled(items), std::make_index_sequence<8>()); }
rn::task<long> select_2_buffered() { return select_over(128, bench::scaled(items), std::make_index_sequence<2>()); }
rn::task<long> select_8_buffered() { return select_over(128, bench::scaled(items), std::make_index_sequence<8>()); }

const int registered = [] {
  bench::batch("select_2", select_2);
  bench::batch("select_8", select_8);
  bench::batch("select_2_buffered", select_2_buffered);
  bench::batch("select_8_buffered", select_8_buffered);
  return 0;
}();

}  // namespace

BENCHMARK_MAIN();
