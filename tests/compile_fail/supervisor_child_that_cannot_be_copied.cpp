// EXPECT: a child may be started again: its function and arguments are copied into each start
// SPDX-License-Identifier: BSL-1.0

#include <runnel/otp/supervisor.hpp>

#include <memory>

void work(const std::unique_ptr<int>&) {}
void work_shared(const std::shared_ptr<int>&) {}

void add(runnel::supervisor& sup) {
#ifdef RUNNEL_CONTROL
  sup.child("x", work_shared, std::make_shared<int>(1));
#else
  sup.child("x", work, std::make_unique<int>(1));
#endif
}
