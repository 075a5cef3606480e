// EXPECT: destroys this temporary twice: name it and pass rn::moved(name)
// WHEN: RUNNEL_CO_AWAIT_DOUBLE_DESTROY
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/task.hpp>

#include <memory>

runnel::task<> counts(runnel::chan<int> ch, std::shared_ptr<int> sum) {
#ifdef RUNNEL_CONTROL
  auto add = [sum](int i) { *sum += i; };
  co_await ch.for_each(runnel::moved(add));
#else
  co_await ch.for_each([sum](int i) { *sum += i; });
#endif
}
