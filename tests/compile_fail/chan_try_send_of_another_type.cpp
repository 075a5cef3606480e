// EXPECT: what is not sent has to be whole
// SPDX-License-Identifier: BSL-1.0

#include <runnel/chan.hpp>

#include <memory>
#include <utility>

struct base {
  virtual ~base() = default;
};
struct derived : base {};

bool sends(const runnel::chan<std::unique_ptr<base>>& ch) {
  auto named = std::make_unique<derived>();
#ifdef RUNNEL_CONTROL
  std::unique_ptr<base> element = std::move(named);
  return ch.try_send(std::move(element));
#else
  return ch.try_send(std::move(named));
#endif
}
