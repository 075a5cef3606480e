// SPDX-License-Identifier: BSL-1.0
// support/wait_until.hpp: waiting for a condition, in a goroutine and on a plain thread; running on 1, 2 and 4 threads.
#pragma once

#include <runnel/runtime.hpp>
#include <runnel/task.hpp>
#include <runnel/this_task.hpp>

#include <gtest/gtest.h>

#include <thread>
#include <utility>

namespace runnel_test {

/// Lets the others run until the condition holds. One that never holds is a test that times out.
template <class Predicate>
runnel::task<> eventually(Predicate holds) {
  while (!holds()) co_await runnel::yield();
}

/// The same on a thread that runs no goroutines.
template <class Predicate>
void wait_until(Predicate holds) {
  while (!holds()) std::this_thread::yield();
}

/// Runs the app to its end in a new runtime on 1, 2 and 4 threads.
template <class App>
void on_1_2_and_4_threads(App app) {
  for (long n : {1L, 2L, 4L}) {
    SCOPED_TRACE(::testing::Message() << n << " threads");
    runnel::runtime rt{runnel::threads(n)};
    rt.run(app);
  }
}

}  // namespace runnel_test
