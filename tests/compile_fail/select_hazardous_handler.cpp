// EXPECT: g++ 12 destroys this temporary twice
// WHEN: RUNNEL_REFUSE_HAZARDOUS
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/select.hpp>

#include <memory>
#include <optional>

runnel::task<> waits(runnel::chan<int> ch, std::shared_ptr<int> sum) {
#ifdef RUNNEL_CONTROL
  auto add = [sum](std::optional<int> v) { *sum += v.value_or(0); };
  co_await runnel::select(runnel::on(ch.recv(), add));
#else
  co_await runnel::select(runnel::on(ch.recv(), [sum](std::optional<int> v) { *sum += v.value_or(0); }));
#endif
}
