// SPDX-License-Identifier: BSL-1.0
// runnel/io.hpp: Asio both ways.
// Layer: L11
#pragma once

#include <runnel/io/async_channel.hpp>
#include <runnel/io/async_run.hpp>
#include <runnel/io/cancel_on.hpp>
#include <runnel/io/io_result.hpp>
#include <runnel/io/peer_closed.hpp>
#include <runnel/io/serve.hpp>
#include <runnel/io/transfer.hpp>
#include <runnel/io/use_task.hpp>
