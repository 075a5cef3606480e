// SPDX-License-Identifier: BSL-1.0
// What is compiled once for all test programs: they are built with BOOST_ASIO_SEPARATE_COMPILATION and
// RUNNEL_SEPARATE_COMPILATION.
#include <runnel/src.hpp>
#include <runnel/test/src.hpp>

#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>

#if RUNNEL_TSAN
// An any_io_executor counts its owners as shared pointers are counted: the last one passes an acquire fence before it
// deletes. The thread sanitizer does not know fences.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:boost::asio::execution::detail::any_executor_base::destroy_shared\n";
}
#endif
