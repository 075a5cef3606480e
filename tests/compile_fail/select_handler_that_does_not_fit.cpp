// EXPECT: the handler is called with what the operation yields (a receive: an optional), or without arguments
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>
#include <runnel/select.hpp>

#include <optional>
#include <string>

runnel::task<> waits(runnel::chan<std::string> ch) {
#ifdef RUNNEL_CONTROL
  co_await runnel::select(runnel::on(ch.recv(), [](std::optional<std::string>) {}));
#else
  co_await runnel::select(runnel::on(ch.recv(), [](std::string) {}));
#endif
}
