// SPDX-License-Identifier: BSL-1.0
// runnel/detail/calling_out.hpp: whether this thread has called foreign code in the middle of something.
// Layer: L0
#pragma once

#include <runnel/config.hpp>

namespace runnel::detail {

// While one lives, this thread calls foreign code with something unfinished below it: a timer that fires, a request to
// end that it emits. That code may complete operations. Whoever waits for them is not to go on here, on top of what is
// unfinished, for which it might wait.
RUNNEL_SHARED inline constinit thread_local int t_calling_out = 0;
class calling_out {
 public:
  calling_out() noexcept { add(1); }
  calling_out(const calling_out&) = delete;
  calling_out& operator=(const calling_out&) = delete;
  ~calling_out() { add(-1); }
  static bool here() noexcept { return add(0) != 0; }

 private:
  RUNNEL_NOINLINE static int add(int n) noexcept { return t_calling_out += n; }
};

}  // namespace runnel::detail
