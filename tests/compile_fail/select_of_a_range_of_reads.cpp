// SPDX-License-Identifier: BSL-1.0
// EXPECT: a select over a range takes no operations of Asio: write each as a case, or rn::async functions that await them, and select over the await() of their handles
#include <runnel/chan.hpp>
#include <runnel/io/use_task.hpp>
#include <runnel/select.hpp>

#include <boost/asio/local/stream_protocol.hpp>

#include <vector>

namespace rn = runnel;
namespace asio = boost::asio;
using stream = asio::local::stream_protocol::socket;

rn::task<> waits(stream& s, rn::chan<int> ch) {
  char bytes[64];
#ifdef RUNNEL_CONTROL
  std::vector<decltype(ch.recv())> operations;
  operations.push_back(ch.recv());
  co_await rn::select(operations);
#else
  std::vector<decltype(s.async_read_some(asio::buffer(bytes), rn::use_task))> operations;
  operations.push_back(s.async_read_some(asio::buffer(bytes), rn::use_task));
  rn::select(operations);
  (void)ch;
#endif
}
