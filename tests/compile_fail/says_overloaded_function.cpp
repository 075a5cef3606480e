// EXPECT gcc: <unresolved overloaded function type>
// EXPECT clang: no matching function for call to 'go'
// SPDX-License-Identifier: BSL-1.0
// POSIX has a function of that name: in no namespace, yours is one of two.

#include <runnel/go.hpp>
#include <runnel/task.hpp>

#include <unistd.h>
namespace rn = runnel;

#ifdef RUNNEL_CONTROL
namespace app {
rn::task<> read(int);
void start() { rn::go(read, 1); }
}  // namespace app
#else
rn::task<> read(int);
void start() { rn::go(read, 1); }
#endif
