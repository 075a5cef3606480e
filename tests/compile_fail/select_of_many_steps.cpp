// SPDX-License-Identifier: BSL-1.0
// EXPECT: an operation of many steps (async_read, async_write, those of Beast) may have done half of them when another case is taken: rn::async a function that awaits it, and let t.await() be the case
#include <runnel/async.hpp>
#include <runnel/chan.hpp>
#include <runnel/io/use_task.hpp>
#include <runnel/select.hpp>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>

#include <cstddef>
#include <functional>

namespace rn = runnel;
namespace asio = boost::asio;
using stream = asio::local::stream_protocol::socket;

rn::task<std::size_t> read_all(stream& s, char (&bytes)[64]) {
  co_return co_await asio::async_read(s, asio::buffer(bytes), rn::use_task);
}
rn::task<> waits(stream& s, rn::chan<int> ch) {
  char bytes[64];
#ifdef RUNNEL_CONTROL
  auto t = rn::async(read_all, std::ref(s), std::ref(bytes));
  co_await rn::select(t.await(), ch.recv());
#else
  auto read = asio::async_read(s, asio::buffer(bytes), rn::use_task);
  co_await rn::select(read, ch.recv());
#endif
}
