// EXPECT: this awaitable belongs to another library
// SPDX-License-Identifier: BSL-1.0

#include <runnel/adopt.hpp>
#include <runnel/task.hpp>

#include <coroutine>

struct foreign {
  std::suspend_always operator co_await() const noexcept { return {}; }
};

runnel::task<> awaits() {
  foreign f;
#ifdef RUNNEL_CONTROL
  co_await runnel::adopt(f);
#else
  co_await f;
#endif
}
