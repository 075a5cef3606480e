// EXPECT: name it and pass rn::moved(name)
// SPDX-License-Identifier: BSL-1.0
// A function cannot tell std::move(name) from a temporary, so it refuses both.

#define RUNNEL_REFUSE_HAZARDOUS 1
#include <runnel/compiler.hpp>

#include <string>
#include <utility>

struct message {
  int id;
  std::string body;
};

template <class T>
int send(T&&) {
  runnel::detail::refuse_hazardous<T>();
  return 0;
}

message m{1, "x"};

#ifdef RUNNEL_CONTROL
int sent = send(runnel::moved(m));
#else
int sent = send(std::move(m));
#endif
