// EXPECT: g++ 12 destroys this temporary twice
// FLAGS: -DRUNNEL_REFUSE_HAZARDOUS=1
// SPDX-License-Identifier: BSL-1.0
// A lambda that captures by value is named, and moved into the task.

#include <runnel/async.hpp>

#include <string>

namespace rn = runnel;

rn::task<> start(std::string text) {
#ifdef RUNNEL_CONTROL
  auto body = [text] { return text.size(); };
  auto t = rn::async(rn::moved(body));
#else
  auto t = rn::async([text] { return text.size(); });
#endif
  (void)co_await t.await();
}
