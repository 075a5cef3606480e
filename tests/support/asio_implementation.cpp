// SPDX-License-Identifier: BSL-1.0
// Asio's implementation, for the test programs: they are built with BOOST_ASIO_SEPARATE_COMPILATION.
#include <boost/asio/impl/src.hpp>
