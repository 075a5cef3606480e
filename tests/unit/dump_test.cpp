// SPDX-License-Identifier: BSL-1.0
// dump: the tree of a running program, with and without tracking, on request and on SIGQUIT.
#include <runnel/all.hpp>
#include <runnel/async.hpp>
#include <runnel/chan.hpp>
#include <runnel/context.hpp>
#include <runnel/dump.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/go.hpp>
#include <runnel/run.hpp>
#include <runnel/runtime.hpp>
#include <runnel/sleep.hpp>
#include <runnel/this_task.hpp>
#include <runnel/with_context.hpp>

#include "support/until.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <fcntl.h>
#include <unistd.h>

namespace {

namespace rn = runnel;
using namespace std::chrono_literals;
using test_support::wait_until;

rn::task<> receive(rn::chan<int> ch) { (void)co_await ch.recv(); }
rn::task<> shielded(rn::chan<int> ch) { co_await rn::shield(receive(ch)); }

template <class... Of> std::string dumped(Of&... of) {
  std::ostringstream out;
  rn::dump(out, of...);
  return out.str();
}
// Dumps until the text is there; the last dump.
template <class Runtime> std::string dumped_with(Runtime& rt, const std::string& text) {
  std::string last;
  EXPECT_TRUE(wait_until([&] { return (last = dumped(rt)).find(text) != std::string::npos; })) << last;
  return last;
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
std::string line_with(const std::string& text, const std::string& part) {
  std::size_t at = text.find(part);
  if (at == std::string::npos) {
    ADD_FAILURE() << "no line has '" << part << "': " << text;
    return "";
  }
  std::size_t begin = text.rfind('\n', at);
  begin = begin == std::string::npos ? 0 : begin + 1;
  return text.substr(begin, text.find('\n', at) - begin);
}
int depth_of(const std::string& text, const std::string& part) {
  return static_cast<int>(line_with(text, part).find_first_not_of(' ')) / 2;
}

TEST(dump, tells_who_waits_for_what_and_where_it_was_started) {
  rn::runtime rt(rn::threads(2));
  rn::chan<int> ch(3);
  int line = __LINE__ + 1;
  rt.go(receive, ch);
  std::string text = dumped_with(rt, "to receive from channel 1 (0 of 3)");
  EXPECT_TRUE(has(text, "dump_test.cpp:" + std::to_string(line))) << text;
  EXPECT_TRUE(has(text, "1 goroutine, 2 processors")) << text;
  EXPECT_TRUE(has(text, "runtime_options::track_goroutines")) << text;
}

TEST(dump, tells_the_tree) {
  rn::runtime rt(rn::threads(1));
  rn::chan<int> ch(0);
  rt.go([&]() -> rn::task<> {
    co_await rn::yield();  // who has never waited is not known
    co_await rn::with_timeout(1h, rn::with_errgroup(rn::limit(2), [&](rn::errgroup& g) -> rn::task<> {
      for (int i = 0; i < 3; ++i) g.go(receive, ch);
      co_await rn::all(receive(ch), receive(ch));
    }));
  });
  (void)dumped_with(rt, "all or race: 2 children");
  (void)dumped_with(rt, "group: 3 children, limit 2, 1 queued");
  std::string text = dumped_with(rt, "for 2 children of an all or race");  // it waits when they do
  EXPECT_TRUE(has(text, "deadline in 3600s") || has(text, "deadline in 35")) << text;
  EXPECT_EQ(depth_of(text, "context"), 0) << text;
  EXPECT_EQ(depth_of(text, "scope, deadline in "), 1) << text;
  EXPECT_EQ(depth_of(text, "group: "), 2) << text;
  EXPECT_EQ(depth_of(text, "all or race: "), 3) << text;
  EXPECT_TRUE(has(line_with(text, "for 2 children of an all or race"), "goroutine, started at")) << text;
}

TEST(dump, of_a_runtime_that_tracks_knows_numbers_and_times) {
  rn::runtime rt(rn::threads(1), rn::runtime_options().track_goroutines());
  rn::chan<int> ch(0);
  rt.go(receive, ch);
  std::string text = dumped_with(rt, "goroutine 1, started at");
  text = dumped_with(rt, "(unbuffered), since ");
  ASSERT_TRUE(ch.try_send(1));
  ASSERT_TRUE(wait_until([&] { return rt.live() == 0; }));
  rt.go(receive, ch);  // perhaps at the same address
  text = dumped_with(rt, "goroutine 2, started at");
  EXPECT_FALSE(has(text, "goroutine 1")) << text;
  EXPECT_FALSE(has(text, "track_goroutines")) << text;
}

// One that computes, and has never waited.
TEST(dump, of_a_runtime_that_tracks_knows_who_runs) {
  rn::runtime rt(rn::threads(2), rn::runtime_options().track_goroutines());
  std::atomic<bool> enough{false};
  int line = __LINE__ + 1;
  rt.go([&] {
    while (!enough) std::this_thread::yield();
  });
  std::string text = dumped_with(rt, ": runs");
  EXPECT_TRUE(has(line_with(text, ": runs"), "dump_test.cpp:" + std::to_string(line))) << text;
  enough = true;
}

TEST(dump, of_a_runtime_that_tracks_knows_who_joins_and_who_was_forked) {
  rn::runtime rt(rn::threads(1), rn::runtime_options().track_goroutines());
  rn::chan<int> ch(0);
  rt.go([&]() -> rn::task<> { co_await rn::all(receive(ch), receive(ch)); });
  (void)dumped_with(rt, "goroutine 3, a child of an all or race in 1");
  std::string text = dumped_with(rt, "waits for 2 children of an all or race, since ");  // it waits when they do
  EXPECT_TRUE(has(line_with(text, "goroutine 1"), "waits for 2 children of an all or race, since ")) << text;
  EXPECT_TRUE(has(text, "goroutine 3, a child of an all or race in 1")) << text;
  EXPECT_TRUE(has(line_with(text, "goroutine 2"), "a child of an all or race in 1: waits to receive")) << text;
}

// A goroutine under a context that is not the runtime's own hears the root beside: so it is found, whichever processor
// started it.
rn::task<> join_a_group(rn::chan<int> until) {
  rn::errgroup g;
  g.go(receive, until);
  co_await g.wait();
}
rn::task<> join_children(rn::chan<int> until) { co_await rn::all(receive(until), receive(until)); }
rn::task<> leave_a_task(rn::chan<int> until) {
  auto left = rn::async(shielded, until);
  co_return;
}
rn::task<> leave_a_task_in_a_group(rn::chan<int> until) {
  co_await rn::with_errgroup([&](rn::errgroup&) { return leave_a_task(until); });
}

// The join is the first for which they wait.
TEST(dump, knows_who_joins_and_has_not_slept_before) {
  for (auto join : {join_a_group, join_children, leave_a_task, leave_a_task_in_a_group}) {
    rn::runtime rt(rn::threads(2));
    rn::chan<int> stop(0);
    int line = __LINE__ + 1;
    rt.go(join, stop);
    std::string started = "dump_test.cpp:" + std::to_string(line);
    EXPECT_TRUE(wait_until([&] {
      std::string text = dumped(rt), its = has(text, started) ? line_with(text, started) : "";
      return !its.empty() && !has(its, "its turn");
    })) << dumped(rt);
    stop.close();
  }
}

TEST(dump, knows_who_joins_tasks_of_async) {
  for (auto join : {leave_a_task, leave_a_task_in_a_group}) {
    rn::runtime rt(rn::threads(2));
    rn::chan<int> stop(0);
    rt.go(join, stop);
    (void)dumped_with(rt, "waits for 1 task of async to end");
    stop.close();
  }
}

TEST(dump, tells_what_runs_under_a_context_of_its_own) {
  for (long n : {1, 2}) {
    rn::runtime rt{rn::threads(n)};
    rn::chan<int> ch(0);
    auto [ctx, cancel] = rn::context::background().with_cancel();
    int line = __LINE__ + 1;
    rt.run([&, under = ctx] { rn::go(under, receive, ch); });
    EXPECT_TRUE(wait_until([&] { return rt.live() == 1; }));  // the app's own goroutine may still be ending
    std::string text = dumped_with(rt, "to receive from channel 1 (unbuffered)");
    EXPECT_TRUE(has(text, "dump_test.cpp:" + std::to_string(line))) << text;
    EXPECT_EQ(depth_of(text, "dump_test.cpp:"), 2) << text;
    EXPECT_TRUE(has(text, "1 goroutine, ")) << text;
    cancel();
  }
}

// Such goroutines come and go meanwhile, and their contexts with them.
TEST(dump, is_no_trouble_to_contexts_that_come_and_go) {
  rn::runtime rt(rn::threads(2));
  std::atomic<bool> ended{false};
  auto [ctx, cancel] = rn::context::background().with_cancel();
  rt.go([&, under = ctx]() -> rn::task<> {
    for (int i = 0; i < 100; ++i) {
      std::atomic<int> left{20};
      for (int n = 0; n < 20; ++n)
        rn::go(under, [&]() -> rn::task<> {
          co_await rn::yield();
          --left;
        });
      co_await test_support::until([&] { return left == 0; });
    }
    ended = true;
  });
  std::string last;
  EXPECT_TRUE(wait_until([&] {
    last = dumped(rt);
    return ended.load();
  }));
  EXPECT_TRUE(has(last, "2 processors")) << last;
}

// What is in a queue is told too, tracked or not.
TEST(dump, knows_what_has_not_begun) {
  boost::asio::io_context io{1};
  rn::scheduler sched(io, rn::threads(1));
  int line = __LINE__ + 1;
  sched.go([] {});
  std::string text = dumped(sched);  // nobody runs io
  EXPECT_TRUE(has(line_with(text, "dump_test.cpp:" + std::to_string(line)), "waits for its turn")) << text;
  io.run();
  EXPECT_TRUE(has(dumped(sched), "0 goroutines"));
}

TEST(dump, tells_what_is_cancelled_what_has_a_deadline_and_what_never_ends) {
  rn::runtime rt(rn::threads(1));
  rn::chan<int> ch(0);
  auto shielded = [&]() -> rn::task<> { co_await rn::shield(receive(ch)); };
  auto limited = [&]() -> rn::task<> {
    try {
      co_await rn::with_timeout(90s, receive(ch));
    } catch (const rn::deadline_exceeded&) {
    }
  };
  rt.go([&]() -> rn::task<> {
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      g.go(shielded);
      co_await rn::yield();
      g.cancel();
    });
  });
  rt.go(limited);
  rt.go(receive, rn::chan<int>());
  std::string text = dumped_with(rt, "group: 1 child, cancelled");
  text = dumped_with(rt, ", deadline in ");
  EXPECT_TRUE(has(text, "deadline in 90s") || has(text, "deadline in 8")) << text;
  text = dumped_with(rt, "to receive from the nil channel: for ever");
  ch.close();
}

TEST(dump, without_a_runtime_tells_all_of_them) {
  EXPECT_EQ(dumped(), "runnel: no runtime\n");
  rn::runtime one(rn::threads(1)), two(rn::threads(3));
  std::string text = dumped();
  EXPECT_TRUE(has(text, "0 goroutines, 1 processor\n")) << text;
  EXPECT_TRUE(has(text, "0 goroutines, 3 processors\n")) << text;
  two.run([] {
    std::string inside = dumped();  // also from a goroutine
    EXPECT_TRUE(has(inside, "processors")) << inside;
  });
}

// A tree as deep as they come: neither recursion nor time beyond its size.
TEST(dump, of_a_deep_tree_is_no_trouble) {
  rn::runtime rt(rn::threads(1));
  rn::chan<int> ch(0);
  struct deep {
    static rn::task<> nest(int n, rn::chan<int> c) {
      if (n == 0)
        co_await c.recv();
      else
        co_await rn::with_timeout(1h, nest(n - 1, c));
    }
  };
  rt.go(deep::nest, 20'000, ch);
  std::string text = dumped_with(rt, "to receive from channel 1");
  EXPECT_FALSE(has(text, "more\n"));
  ch.close();
}

// The standard error stream goes into a pipe.
class stderr_pipe {
 public:
  stderr_pipe() : x_before(::dup(STDERR_FILENO)) {
    if (::pipe(x_pipe) != 0) ADD_FAILURE() << "no pipe";
    ::dup2(x_pipe[1], STDERR_FILENO);
  }
  ~stderr_pipe() {
    ::dup2(x_before, STDERR_FILENO);
    for (int fd : {x_before, x_pipe[0], x_pipe[1]}) ::close(fd);
  }
  std::string read_until(const std::string& end) {
    std::string text;
    char buffer[4096];
    while (text.find(end) == std::string::npos) {
      auto n = ::read(x_pipe[0], buffer, sizeof buffer);
      if (n <= 0) break;
      text.append(buffer, static_cast<std::size_t>(n));
    }
    return text;
  }

 private:
  int x_before;
  int x_pipe[2] = {-1, -1};
};

TEST(dump, on_quit_prints_and_the_program_goes_on) {
  stderr_pipe err;
  rn::chan<int> ch(0);
  int status = rn::run(rn::dump_on_quit, rn::threads(1), rn::no_signals, [&]() -> rn::task<int> {
    rn::go(receive, ch);
    for (int i = 0; i < 2; ++i) {
      std::raise(SIGQUIT);
      std::string text = err.read_until("track_goroutines\n");
      EXPECT_TRUE(has(text, "runnel: ")) << text;
    }
    ch.close();
    co_return 3;
  });
  EXPECT_EQ(status, 3);
}

// A handler that is late may write to the pipe after its watch has gone: it must not be a file of somebody else's by then.
TEST(dump, on_quit_keeps_its_pipe_for_the_next) {
  auto open_files = [] {
    int n = 0;
    for (int fd = 0; fd < 1024; ++fd) n += ::fcntl(fd, F_GETFD) != -1;
    return n;
  };
  int with_a_watch = 0;
  for (int i = 0; i < 3; ++i) {
    rn::quit_dump here;
    if (i == 0) with_a_watch = open_files();
    EXPECT_EQ(open_files(), with_a_watch);
  }
  EXPECT_EQ(open_files(), with_a_watch);
}

TEST(dump, on_quit_leaves_the_signal_as_it_was) {
  struct sigaction before {}, ours {};
  ours.sa_handler = SIG_IGN;
  ::sigaction(SIGQUIT, &ours, &before);
  {
    rn::quit_dump first;
    rn::quit_dump second;  // the first has it
    stderr_pipe err;
    std::raise(SIGQUIT);
    EXPECT_EQ(err.read_until("no runtime\n"), "runnel: no runtime\n");
  }
  struct sigaction after {};
  ::sigaction(SIGQUIT, &before, &after);
  EXPECT_EQ(after.sa_handler, SIG_IGN);
}

}  // namespace
