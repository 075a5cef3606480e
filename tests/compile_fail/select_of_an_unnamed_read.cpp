// SPDX-License-Identifier: BSL-1.0
// EXPECT: an operation of Asio that yields something is named, so that what it did all the same is kept: auto read = socket.async_read_some(buffer, rn::use_result), and rn::on(read, handler)
#include <runnel/chan.hpp>
#include <runnel/io/use_task.hpp>
#include <runnel/select.hpp>

#include <boost/asio/local/stream_protocol.hpp>

#include <cstddef>

namespace rn = runnel;
namespace asio = boost::asio;
using stream = asio::local::stream_protocol::socket;

rn::task<> waits(stream& s, rn::chan<int> ch) {
  char bytes[64];
#ifdef RUNNEL_CONTROL
  auto read = s.async_read_some(asio::buffer(bytes), rn::use_task);
  co_await rn::select(rn::on(read, [](std::size_t) {}), rn::on(ch.recv(), [] {}));
#else
  co_await rn::select(rn::on(s.async_read_some(asio::buffer(bytes), rn::use_task), [](std::size_t) {}),
                      rn::on(ch.recv(), [] {}));
#endif
}
