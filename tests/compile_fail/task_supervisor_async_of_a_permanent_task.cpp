// EXPECT: a task with a handle is started once: of a child's options it takes rn::shutdown; start_child takes the others
// SPDX-License-Identifier: BSL-1.0
// Who has a handle waits for one result.

#include <runnel/otp/task_supervisor.hpp>

namespace rn = runnel;

int f() { return 1; }

rn::task<> start(rn::task_supervisor_ref tasks) {
#ifdef RUNNEL_CONTROL
  auto t = co_await tasks.async(rn::shutdown(rn::kill), f);
#else
  auto t = co_await tasks.async(rn::permanent, f);
#endif
  (void)co_await t.await();
}
