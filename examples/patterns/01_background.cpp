// SPDX-License-Identifier: BSL-1.0
// Work in the background, and three questions: where its errors go, how it stops, and who starts it again.
#include <runnel.hpp>
#include <runnel/otp.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <stdexcept>
#include <utility>

namespace rn = runnel;
using namespace std::chrono_literals;

struct shop {
  std::atomic<int> attempts = 0;
  rn::event cache_runs, mail_failed, mail_sent;
};

rn::task<> refresh_cache(shop& s) {
  struct goodbye {
    ~goodbye() { std::puts("  the cache has stopped in order"); }
  } at_end;
  s.cache_runs.set();
  for (;;) co_await rn::sleep(1min);
}

rn::task<> send_mail(shop& s) {
  if (++s.attempts == 1) throw std::runtime_error("the mail server is busy");
  s.mail_sent.set();
  co_return;
}

// Go: go f(). The goroutine belongs to the runtime, not to the request that has started it: that one's deadline and
// cancellation are not its own. It is cancelled and joined at the end of the program, so it stops where it waits, and
// what it holds is destroyed. Nobody starts it again. Its error goes to on_error; without one it is printed with the
// place of the go, and the program ends in order: an error is never lost.
rn::task<> go_and_forget(shop& s) {
  rn::go(refresh_cache, std::ref(s));
  rn::go(send_mail, std::ref(s));
  co_await s.cache_runs.wait();
  co_await s.mail_failed.wait();
}

// Elixir: children of a Task.Supervisor. It starts the mail again, with a pause, until it has gone; it is stopped before
// what it stands on, the last first, and each child has its own time to end.
rn::task<> supervised(rn::task_supervisor_ref background, shop& s) {
  auto cache = co_await background.start_child(rn::temporary, rn::shutdown(1s), refresh_cache, std::ref(s));
  auto mail = co_await background.start_child(rn::transient, rn::backoff(1ms, 1s), send_mail, std::ref(s));
  if (!cache || !mail) throw std::runtime_error("nothing can be started any more");
  co_await s.cache_runs.wait();
  co_await s.mail_sent.wait();
  std::printf("  the mail has gone at attempt %d\n", s.attempts.load());
}

int main() {
  std::puts("go:");
  shop one;
  auto report = [&](const rn::goroutine_error& e) {
    try {
      std::rethrow_exception(e.error);
    } catch (const std::exception& error) {
      std::printf("  on_error hears: %s\n", error.what());
    }
    one.mail_failed.set();
  };
  if (int status = rn::run(rn::runtime_options().on_error(report), go_and_forget, std::ref(one))) return status;

  std::puts("supervised:");
  shop two;
  rn::task_supervisor background;
  auto ref = background.ref();
  rn::supervisor all(rn::one_for_one, rn::auto_shutdown(rn::any_significant));
  all.child("background", std::move(background))
      .child("shop", rn::transient, rn::significant, supervised, ref, std::ref(two));
  return rn::run(std::move(all));
}
