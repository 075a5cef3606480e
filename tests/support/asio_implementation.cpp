// SPDX-License-Identifier: BSL-1.0
// What is compiled once for all test programs: they are built with BOOST_ASIO_SEPARATE_COMPILATION and
// RUNNEL_SEPARATE_COMPILATION.
#include <runnel/src.hpp>
#include <runnel/test/src.hpp>

#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>

#if RUNNEL_TSAN
// Two counts of owners that the thread sanitizer does not see through, so that it takes the deletion by the last owner for
// a race with what an earlier one has read:
// - An any_io_executor's last owner passes an acquire fence before it deletes. The sanitizer does not know fences.
// - An exception_ptr is counted in libstdc++.so, which is built without the sanitizer. What an owner may do with the
//   exception is to read its message. The last one's release is told by itself, or, since calls within that library are
//   not on the sanitizer's stack, by what deletes the message.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:boost::asio::execution::detail::any_executor_base::destroy_shared\n"
         "race:std::__exception_ptr::exception_ptr::_M_release\n"
         "race:std::runtime_error::~runtime_error\n"
         "race:std::logic_error::~logic_error\n"
         "race:runnel::detail::said_by\n";
}
#endif
