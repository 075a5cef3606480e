// SPDX-License-Identifier: BSL-1.0
// Operations of Asio as cases of a select, on objects in memory, under many schedules, under all with few preemptions,
// and cancelled, killed, out of memory and with failing operations at each place: SEL-04, SEL-11 to SEL-13, SEL-C05,
// SEL-C06.
#include <runnel/io/use_task.hpp>

#include <runnel/after.hpp>
#include <runnel/all.hpp>
#include <runnel/as_result.hpp>
#include <runnel/chan.hpp>
#include <runnel/runtime.hpp>
#include <runnel/select.hpp>
#include <runnel/select_loop.hpp>
#include <runnel/test.hpp>
#include <runnel/with_context.hpp>

#include "support/memory_stream.hpp"

#include <gtest/gtest.h>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using runnel_test::memory_stream;

void must(bool holds, std::source_location where = std::source_location::current()) {
  if (!holds) throw std::logic_error("does not hold: line " + std::to_string(where.line()));
}

// `whole` holds at the end of a run that nothing disturbs, `always` however it ends.
template <class Body, class Whole, class Always> void everywhere(Body body, Whole whole, Always always) {
  auto checked = [&]() -> rn::task<> {
    co_await body();
    whole();
  };
  try {
    rn::test::explore(300, checked);
    rn::test::exhaust(checked, rn::test::preemptions(2));
    rn::test::cancel_everywhere(body, always);
    for (std::uint64_t n = 1; n <= 8; ++n) rn::test::cancel_everywhere(body, always, rn::test::seed(n));
    rn::test::fail_everywhere(body, always);
    for (std::uint64_t n = 1; n <= 4; ++n) rn::test::fail_everywhere(body, always, rn::test::seed(n));
  } catch (const rn::test::failure& f) {
    FAIL() << f.what();
  }
}

constexpr std::string_view text = "every byte once";

// What has come from both sides.
struct heard {
  std::string bytes;
  int values = 0;

  void forget() { bytes.clear(), values = 0; }
  void check_whole(int sent) const { must(bytes == text), must(values == sent); }
  void check_begun() const { must(text.substr(0, bytes.size()) == bytes); }  // never a byte lost in between, nor twice
};

rn::task<> write(memory_stream& io) {
  for (std::string_view left = text; !left.empty();) {
    auto n = co_await io.async_write_some(asio::buffer(left.data(), left.size()), rn::use_result);
    if (!n) break;
    left.remove_prefix(n.value());
  }
  io.close();
}
rn::task<> send(rn::chan<int> ch, int n) {
  for (int i = 0; i < n; ++i) co_await ch.send(1);
}

// SEL-11, SEL-12: a read that loses to a send has read nothing, or what it read is there the next time.
rn::task<> read_in_selects(memory_stream& io, rn::chan<int> ch, heard& to, int values) {
  char bytes[8];
  auto read = io.async_read_some(asio::buffer(bytes), rn::use_result);
  bool ended = false;
  auto take = [&](rn::io_result<std::size_t> r) {
    ended = !r;
    if (r) to.bytes.append(bytes, r.value());
  };
  while (!ended || to.values < values) {
    if (ended) {
      to.values += co_await ch.recv() ? 1 : 0;
      continue;
    }
    co_await rn::select(rn::on(read, take), rn::on(ch.recv(), [&] { ++to.values; }), rn::on(rn::after(1us), [] {}));
  }
}
rn::task<> read_in_a_loop(memory_stream& io, rn::chan<int> ch, heard& to) {
  char bytes[8];
  auto read = io.async_read_some(asio::buffer(bytes), rn::use_result);
  auto take = [&](rn::io_result<std::size_t> r) {
    if (r) to.bytes.append(bytes, r.value());
    return r ? rn::next : rn::stop;
  };
  co_await rn::select_loop(rn::on(read, take), rn::on(ch.recv(), [&] { ++to.values; }), rn::on(rn::after(1us), [] {}));
}

TEST(sel_asio, every_byte_and_every_element_arrives_once_however_they_race) {
  heard got;
  auto body = [&]() -> rn::task<> {
    got.forget();
    memory_stream here(rn::this_executor()), there(rn::this_executor());
    here.connect(there);
    rn::chan<int> ch(0);
    co_await rn::all(read_in_selects(here, ch, got, 2), write(there), send(ch, 2));
  };
  everywhere(body, [&] { got.check_whole(2); }, [&] { got.check_begun(); });
}

TEST(sel_asio, the_same_on_a_strand) {
  heard got;
  auto body = [&]() -> rn::task<> {
    got.forget();
    auto strand = asio::make_strand(rn::this_executor());
    memory_stream here(strand), there(strand);
    here.connect(there);
    rn::chan<int> ch(0);
    co_await rn::all(read_in_selects(here, ch, got, 1), write(there), send(ch, 1));
  };
  everywhere(body, [&] { got.check_whole(1); }, [&] { got.check_begun(); });
}

TEST(sel_asio, the_same_in_a_select_loop) {
  heard got;
  auto body = [&]() -> rn::task<> {
    got.forget();
    memory_stream here(rn::this_executor()), there(rn::this_executor());
    here.connect(there);
    rn::chan<int> ch(2);
    co_await rn::all(read_in_a_loop(here, ch, got), write(there), send(ch, 2));
  };
  everywhere(body, [&] { must(got.bytes == text); }, [&] { got.check_begun(); });
}

// SEL-C06: what a select that is cancelled has read is in the operation, which is named outside of it.
TEST(sel_asio, a_select_that_is_unwound_leaves_what_was_read_where_it_can_be_found) {
  heard got;
  auto body = [&]() -> rn::task<> {
    got.forget();
    memory_stream here(rn::this_executor()), there(rn::this_executor());
    here.connect(there);
    rn::chan<int> silent(0);
    auto reader = [&]() -> rn::task<> {
      char bytes[8];
      auto read = here.async_read_some(asio::buffer(bytes), rn::use_result);
      bool ended = false;
      auto take = [&](rn::io_result<std::size_t> r) {
        ended = !r;
        if (r) got.bytes.append(bytes, r.value());
      };
      auto wait = [&]() -> rn::task<> { co_await rn::select(rn::on(read, take), rn::on(silent.recv(), [] {})); };
      while (!ended) {
        auto r = co_await rn::as_result(rn::with_timeout(1us, wait()));
        if (r.canceled()) break;
      }
    };
    co_await rn::all(reader(), write(there));
  };
  everywhere(body, [&] { must(got.bytes == text); }, [&] { got.check_begun(); });
}

// SEL-C05
TEST(sel_asio, two_operations_of_one_object_are_cases_of_one_select) {
  heard got;
  std::string echoed;
  auto body = [&]() -> rn::task<> {
    got.forget();
    echoed.clear();
    memory_stream here(rn::this_executor()), there(rn::this_executor());
    here.connect(there);
    auto both_ways = [&]() -> rn::task<> {
      char bytes[8];
      bool ended = false;
      auto read = here.async_read_some(asio::buffer(bytes), rn::use_result);
      auto take = [&](rn::io_result<std::size_t> r) {
        ended = !r;
        if (r) got.bytes.append(bytes, r.value());
      };
      for (std::string_view left = text; !left.empty();) {
        auto write_on = here.async_write_some(asio::buffer(left.data(), left.size()), rn::use_task);
        std::size_t written = 0;
        auto note = [&](std::size_t n) { written = n; };
        while (written == 0 && !ended) co_await rn::select(rn::on(read, take), rn::on(write_on, note));
        if (written == 0) written = co_await std::move(write_on);
        left.remove_prefix(written);
      }
      here.close();
      while (!ended) co_await rn::select(rn::on(read, take));
    };
    auto hear = [&]() -> rn::task<> {
      char bytes[8];
      for (;;) {
        auto r = co_await there.async_read_some(asio::buffer(bytes), rn::use_result);
        if (!r) co_return;
        echoed.append(bytes, r.value());
      }
    };
    co_await rn::all(both_ways(), write(there), hear());
  };
  everywhere(body, [&] { must(got.bytes == text), must(echoed == text); },
             [&] {
               got.check_begun();
               must(text.substr(0, echoed.size()) == echoed);
             });
}

}  // namespace
