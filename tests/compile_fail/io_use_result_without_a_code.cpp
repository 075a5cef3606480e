// EXPECT: rn::use_result is for operations that complete with an error_code
// SPDX-License-Identifier: BSL-1.0

#include <runnel/io/use_task.hpp>

template <class... A, class Token> auto operation(Token&& token) {
  auto start = [](auto handler) { handler(A()...); };
  return boost::asio::async_initiate<Token, void(A...)>(start, token);
}

runnel::task<> work() {
#ifdef RUNNEL_CONTROL
  (void)co_await operation<boost::system::error_code, int>(runnel::use_result);
#else
  (void)co_await operation<int>(runnel::use_result);
#endif
}
