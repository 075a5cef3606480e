// SPDX-License-Identifier: BSL-1.0
// runnel/src.hpp: what RUNNEL_SEPARATE_COMPILATION leaves out, for one translation unit of a program.
// Layer: L2
#pragma once

#include <runnel/runtime.hpp>

namespace runnel {

template class detail::asio_host_on<boost::asio::thread_pool::executor_type>;
template scheduler::scheduler(boost::asio::thread_pool&, threads, runtime_options);
template runtime::runtime(threads, runtime_options);

}  // namespace runnel
