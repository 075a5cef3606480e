// EXPECT: destroys this temporary twice: name it and pass rn::moved(name), or use emplace
// WHEN: RUNNEL_CO_AWAIT_DOUBLE_DESTROY
// SPDX-License-Identifier: BSL-1.0
// g++ 12 alone refuses this by itself; elsewhere RUNNEL_REFUSE_HAZARDOUS asks for it.

#include <runnel/compiler.hpp>

#include <string>

struct message {
  int id;
  std::string body;
};

template <class... Args>
int send(Args&&...) {
  runnel::detail::refuse_hazardous<Args...>();
  return 0;
}

#ifdef RUNNEL_CONTROL
message m{1, "x"};
int sent = send(runnel::moved(m)) + send(m) + send(1, std::string("x"));
#else
int sent = send(message{1, "x"});
#endif
