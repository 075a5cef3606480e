// SPDX-License-Identifier: BSL-1.0
// runnel.hpp: everything: the library's table of contents.
// Layer: L13
#pragma once

// The ground: what the compiler does, versions, errors.
#include <runnel/compiler.hpp>
#include <runnel/config.hpp>
#include <runnel/error.hpp>
#include <runnel/failure.hpp>
#include <runnel/version.hpp>

// Goroutines: tasks, the scheduler on an Asio pool, whole programs.
#include <runnel/go.hpp>
#include <runnel/result.hpp>
#include <runnel/run.hpp>
#include <runnel/runtime.hpp>
#include <runnel/task.hpp>
#include <runnel/this_task.hpp>

// Waiting: the protocol that everything below stands on, and awaitables of other libraries.
#include <runnel/adopt.hpp>
#include <runnel/waiter.hpp>

// Synchronisation, channels and select.
#include <runnel/broadcast.hpp>
#include <runnel/chan.hpp>
#include <runnel/oneshot.hpp>
#include <runnel/select.hpp>
#include <runnel/select_loop.hpp>
#include <runnel/sync/backoff.hpp>
#include <runnel/sync/barrier.hpp>
#include <runnel/sync/condition.hpp>
#include <runnel/sync/event.hpp>
#include <runnel/sync/hedge.hpp>
#include <runnel/sync/latch.hpp>
#include <runnel/sync/mutex.hpp>
#include <runnel/sync/once.hpp>
#include <runnel/sync/rate_limiter.hpp>
#include <runnel/sync/retry.hpp>
#include <runnel/sync/semaphore.hpp>
#include <runnel/sync/shared_mutex.hpp>
#include <runnel/sync/singleflight.hpp>
#include <runnel/sync/wait_group.hpp>
#include <runnel/watch.hpp>

// Contexts: cancellation, deadlines, values, clean-up; time.
#include <runnel/after.hpp>
#include <runnel/as_result.hpp>
#include <runnel/context.hpp>
#include <runnel/own_context.hpp>
#include <runnel/sleep.hpp>
#include <runnel/stop_token.hpp>
#include <runnel/ticker.hpp>
#include <runnel/timer.hpp>
#include <runnel/with_context.hpp>

// Groups, and tasks in parallel.
#include <runnel/all.hpp>
#include <runnel/errgroup.hpp>

// Tasks with handles, and streams of them.
#include <runnel/async.hpp>
#include <runnel/async_stream.hpp>
#include <runnel/await_many.hpp>

// Calls that block their thread.
#include <runnel/blocking.hpp>

// Not here, for the sake of compile time: <runnel/otp.hpp>, supervisors; <runnel/io.hpp>, Asio both ways;
// <runnel/dump.hpp>, a look at what runs; <runnel/test.hpp>, deterministic tests.
