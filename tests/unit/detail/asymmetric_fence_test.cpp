// SPDX-License-Identifier: BSL-1.0
// A heavy fence that cannot be made is not passed over in silence.
#include <runnel/detail/asymmetric_fence.hpp>

#include <gtest/gtest.h>

#if RUNNEL_HAS_MEMBARRIER
#include <cstddef>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#endif

namespace {

TEST(asymmetric_fence, ends_the_program_where_membarrier_is_refused_later) {
#if RUNNEL_HAS_MEMBARRIER
  if (!runnel::detail::asymmetric_fences) GTEST_SKIP() << "membarrier is not to be had from the start";
  if (::prctl(PR_GET_SECCOMP) != 0) GTEST_SKIP() << "this kernel has no filters of system calls";
  auto refuse_membarrier = [] {
    sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{sizeof steps / sizeof *steps, steps};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
      std::_Exit(0);  // and the test fails
  };
  runnel::detail::heavy_fence();
  EXPECT_DEATH((refuse_membarrier(), runnel::detail::heavy_fence()), "membarrier\\(2\\) is refused");
#endif
}

}  // namespace
