// EXPECT: this awaitable belongs to another library, and cancelling it would not work: write co_await rn::adopt(x)
// SPDX-License-Identifier: BSL-1.0

#include <runnel/adopt.hpp>
#include <runnel/task.hpp>

#include <coroutine>

struct foreign {
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  int await_resume() const noexcept { return 1; }
};

runnel::task<int> awaits() {
#ifdef RUNNEL_CONTROL
  co_return co_await runnel::adopt(foreign());
#else
  co_return co_await foreign();
#endif
}
