// SPDX-License-Identifier: BSL-1.0
// tests/consumer/shared/library.cpp: compiled into each of the two shared objects, with NAME as its namespace.
#include "library.hpp"

#include <chrono>
#include <stdexcept>
#include <tuple>

namespace NAME {

using namespace std::chrono_literals;

std::vector<std::pair<const char*, const void*>> addresses() {
  namespace d = rn::detail;
  return {
      {"the frame pool", &d::the_frame_depot},
      {"the lock table", &d::hashed_lock(nullptr)},
      {"the nil channel", &d::nil_channel::lock},
      {"the background context", &d::background_node()},
      {"the error category", &rn::context_category()},
      {"the cause of cancellation", &d::canceled_cause()},
      {"the cause of a deadline", &d::deadline_cause()},
      {"a key", &d::key_identity<request_key>},
      {"the service's id", &d::host_service::id},
  };
}

const void* here() { return rn::detail::this_processor(); }

static rn::task<> count(rn::chan<int> out, int to) {
  for (int i = 1; i <= to; ++i) co_await out.send(i);
  out.close();
}
void start_counting(rn::chan<int> out, int to) { rn::go(count, std::move(out), to); }

rn::task<int> sum(rn::chan<int> in) {
  int total = 0;
  while (auto v = co_await in.recv()) total += *v;
  co_return total;
}

rn::task<> wait_for_ever() { co_await rn::chan<int>().recv(); }

rn::task<std::string> request() {
  co_await rn::yield();
  auto here_and_now = rn::this_context();
  auto* name = here_and_now.value<request_key>();
  co_return name ? *name : "none";
}

rn::context with_request(std::string name) {
  return rn::context::background().with_value<request_key>(std::move(name));
}

rn::task<> fails(int how) {
  co_await rn::yield();
  if (how == 1) throw rn::closed_channel();
  if (how == 2) co_await rn::with_timeout(0s, wait_for_ever());
  if (how == 3) throw rn::canceled();
  if (how == 4) throw std::runtime_error("plain");
}

int recognises(std::exception_ptr error) {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const rn::closed_channel&) {
    return 1;
  } catch (const rn::timeout_error&) {
    return 2;
  } catch (const rn::canceled&) {
    return 3;
  } catch (const std::runtime_error&) {
    return 4;
  } catch (...) {
    return -1;
  }
}

static rn::task<int> one(rn::chan<int> in) {
  auto v = co_await in.recv();
  co_return v ? *v : -1;
}
rn::task<int> through_a_child(rn::chan<int> in) {
  auto both = co_await rn::all(one(in), one(in));
  co_return std::get<0>(both) + std::get<1>(both);
}

}  // namespace NAME
