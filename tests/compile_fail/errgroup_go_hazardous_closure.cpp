// EXPECT: g++ 12 destroys this temporary twice
// FLAGS: -DRUNNEL_REFUSE_HAZARDOUS=1
// SPDX-License-Identifier: BSL-1.0
// By itself the call is right. Where it is awaited, the lambda that captures by value has a name.

#include <runnel/errgroup.hpp>
#include <runnel/task.hpp>

#include <string>

namespace rn = runnel;

rn::task<> start(std::string text) {
  rn::errgroup g(rn::limit(1));
  g.go([text] { return text.size(); });
  co_await g.go([&text] { return text.size(); });
#ifdef RUNNEL_CONTROL
  auto body = [text] { return text.size(); };
  co_await g.go(rn::moved(body));
#else
  co_await g.go([text] { return text.size(); });
#endif
  co_await g.wait();
}
