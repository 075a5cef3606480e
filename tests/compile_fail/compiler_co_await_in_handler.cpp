// EXPECT gcc: await expressions are not permitted in handlers
// EXPECT clang: 'co_await' cannot be used in the handler of a try block
// SPDX-License-Identifier: BSL-1.0
// Hazard 7: an exception cannot be handled while suspended, perhaps on another thread.

#include <runnel/compiler.hpp>

#include <coroutine>

struct detached {
  struct promise_type {
    detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};

detached f() {
#ifdef RUNNEL_CONTROL
  bool failed = false;
  try {
    throw 1;
  } catch (...) {
    failed = true;
  }
  if (failed) co_await std::suspend_never();
#else
  try {
    throw 1;
  } catch (...) {
    co_await std::suspend_never();
  }
#endif
}
