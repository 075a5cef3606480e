// SPDX-License-Identifier: BSL-1.0
// support/what.hpp: what an error says.
#pragma once

#include <runnel/error.hpp>

#include <exception>
#include <string>

namespace runnel_test {

inline std::string what(const std::exception_ptr& e) { return e ? runnel::detail::what_of(e) : "nothing"; }

}  // namespace runnel_test
