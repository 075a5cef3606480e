// SPDX-License-Identifier: BSL-1.0
// When a call fails: try again, ask another, fall back, and stop asking for a while.
#include <runnel.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

namespace rn = runnel;
using namespace std::chrono_literals;

struct not_found : std::runtime_error {
  not_found() : std::runtime_error("there is no such page") {}
};

// Retry: which errors, how often, with what pauses. An attempt that takes too long is an error like others; a limit
// around the whole is one with_timeout more. What no repetition mends is not repeated.
rn::task<std::string> flaky(int& calls, std::string page) {
  ++calls;
  if (page == "nowhere") throw not_found();
  if (calls == 1) co_await rn::sleep(1h);
  if (calls == 2) throw std::runtime_error("connection reset");
  co_return page;
}
rn::task<std::string> attempt(int& calls, std::string page) {
  co_return co_await rn::with_timeout(20ms, flaky(calls, std::move(page)));
}
bool worth_it(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const not_found&) {
    return false;
  } catch (...) {
    return true;
  }
}

rn::task<> retries() {
  for (std::string page : {"index", "nowhere"}) {
    int calls = 0;
    auto r =
        co_await rn::as_result(rn::with_timeout(5s, rn::retry(rn::attempts(5), rn::backoff(1ms, 10ms),
                                                              rn::retry_if(worth_it), attempt, std::ref(calls), page)));
    std::printf("  %s: %s after %d\n", page.c_str(), r.ok() ? "there" : "given up", calls);
  }
}

// Hedge: ask a second mirror when the first has not answered in time; the loser is cancelled and joined.
rn::task<std::string> mirror(std::string name, std::chrono::milliseconds takes) {
  co_await rn::sleep(takes);
  co_return name;
}
rn::task<> hedges() {
  auto who = co_await rn::hedge(10ms, mirror("the slow one", 1h), mirror("the quick one", 1ms));
  std::printf("  %s answers\n", who.c_str());
}

// Fallback: an error is a value where one looks at it.
rn::task<std::string> from_cache() { co_return "yesterday's page"; }
rn::task<std::string> page_or_older() {
  auto fresh = co_await rn::as_result(rn::with_timeout(5ms, mirror("today's page", 1h)));
  if (fresh.ok()) co_return fresh.value();
  co_return co_await from_cache();
}

// Circuit breaking: after three errors in a row nobody asks for a while; then one may try.
class breaker {
 public:
  explicit breaker(std::chrono::milliseconds rest) : rest_(rest) {}

  template <class F> auto call(F f) -> decltype(f()) {  // f is a coroutine without parameters
    {
      auto hold = co_await lock_.lock();
      auto now = std::chrono::steady_clock::now();
      if (errors_ >= 3 && now < resting_until_) throw std::runtime_error("the circuit is open");
      resting_until_ = now + rest_;
    }
    auto r = co_await rn::as_result(f());
    auto hold = co_await lock_.lock();
    errors_ = r.ok() ? 0 : errors_ + 1;
    co_return std::move(r).value();
  }

 private:
  rn::mutex lock_;
  int errors_ = 0;
  const std::chrono::milliseconds rest_;
  std::chrono::steady_clock::time_point resting_until_;
};

rn::task<> circuits() {
  breaker circuit(100ms);
  int asked = 0;
  auto service = [&]() -> rn::task<int> {
    if (++asked <= 3) throw std::runtime_error("overloaded");
    co_return asked;
  };
  for (int i = 0; i < 10; ++i) (void)co_await rn::as_result(circuit.call(service));
  std::printf("  ten calls, %d of them asked the service\n", asked);
  co_await rn::sleep(110ms);
  int answer = co_await circuit.call(service);
  std::printf("  after a rest: call %d is answered\n", answer);
}

rn::task<> app() {
  std::puts("retry:");
  co_await retries();
  std::puts("hedge:");
  co_await hedges();
  std::puts("fallback:");
  auto page = co_await page_or_older();
  std::printf("  %s\n", page.c_str());
  std::puts("circuit breaking:");
  co_await circuits();
}

int main() { return rn::run(app); }
