// SPDX-License-Identifier: BSL-1.0
#include <runnel.hpp>
#include <runnel/io.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/connect_pair.hpp>
