// EXPECT: destroys this temporary twice: name it and pass rn::moved(name), or use emplace
// WHEN: RUNNEL_CO_AWAIT_DOUBLE_DESTROY
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/task.hpp>

#include <string>

struct message {
  int id;
  std::string body;
};

runnel::task<> sends(runnel::chan<message> ch) {
#ifdef RUNNEL_CONTROL
  co_await ch.emplace(1, "x");
  message named{2, "y"};
  co_await ch.send(runnel::moved(named));
#else
  co_await ch.send(message{1, "x"});
#endif
}
