// EXPECT: destroys this temporary twice
// WHEN: RUNNEL_CO_AWAIT_DOUBLE_DESTROY
// SPDX-License-Identifier: BSL-1.0

#include <runnel/adopt.hpp>
#include <runnel/task.hpp>

#include <coroutine>
#include <string>

struct foreign {
  std::string name;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  void await_resume() const noexcept {}
};

runnel::task<> awaits() {
#ifdef RUNNEL_CONTROL
  foreign f{"x"};
  co_await runnel::adopt(f);
#else
  co_await runnel::adopt(foreign{"x"});
#endif
}
