// EXPECT gcc: 'supervisor' is not a member of 'rn'
// EXPECT clang: no member named 'supervisor' in namespace 'runnel'
// SPDX-License-Identifier: BSL-1.0
// The umbrella leaves out supervisors, Asio, the dump and tests.

#ifdef RUNNEL_CONTROL
#include <runnel/otp.hpp>
#else
#include <runnel.hpp>
#endif
namespace rn = runnel;

void f() { rn::supervisor sup(rn::one_for_one); }
