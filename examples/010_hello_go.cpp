// SPDX-License-Identifier: BSL-1.0
// The first program: two goroutines and a channel between them.
#include <runnel.hpp>

#include <cstdio>
#include <string>

namespace rn = runnel;

// A goroutine is a coroutine that returns task<>. A channel is a handle: copies of it are the same channel.
rn::task<> greet(rn::chan<std::string> out, int times) {
  for (int i = 1; i <= times; ++i) co_await out.send("hello from a goroutine, " + std::to_string(i));
  out.close();
}

rn::task<> app() {
  rn::chan<std::string> greetings(0);  // no buffer: a send waits for its receive
  rn::go(greet, greetings, 3);         // greet and its arguments are moved into the new goroutine
  while (auto text = co_await greetings.recv()) std::puts(text->c_str());  // empty once closed and drained
  std::puts("and that was all");
}

int main() { return rn::run(app); }
