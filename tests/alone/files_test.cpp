// SPDX-License-Identifier: BSL-1.0
// Files, which Asio has by io_uring only: a program of its own, for all of it must be compiled with that.
#define BOOST_ASIO_HAS_IO_URING 1

#include <runnel/as_result.hpp>
#include <runnel/context.hpp>
#include <runnel/errgroup.hpp>
#include <runnel/io/transfer.hpp>
#include <runnel/io/use_task.hpp>
#include <runnel/runtime.hpp>
#include <runnel/with_context.hpp>

#include <boost/asio/random_access_file.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/stream_file.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <string>

#include <liburing.h>
#include <unistd.h>

namespace {

namespace rn = runnel;
namespace asio = boost::asio;
using namespace std::chrono_literals;
using file = asio::stream_file;
using random_file = asio::random_access_file;

class files : public ::testing::Test {
 protected:
  void SetUp() override {
    io_uring ring;
    constexpr unsigned as_asio_has_it = 16'384;
    if (int error = ::io_uring_queue_init(as_asio_has_it, &ring, 0); error < 0)
      GTEST_SKIP() << "this system refuses io_uring (" << -error << ")";
    ::io_uring_queue_exit(&ring);
    int fd = ::mkstemp(path.data());
    ASSERT_GE(fd, 0);
    ::close(fd);
  }
  void TearDown() override { ::unlink(path.c_str()); }

  std::string path = ::testing::TempDir() + "runnel_files_XXXXXX";
};

TEST_F(files, what_is_written_to_a_stream_file_is_read_from_it) {
  rn::runtime rt(rn::threads(2));
  auto app = [&]() -> rn::task<> {
    std::string text(100'000, 'x');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 26);
    file out(rn::this_executor(), path, file::write_only | file::truncate);
    EXPECT_EQ(co_await asio::async_write(out, asio::buffer(text), rn::use_task), text.size());
    EXPECT_EQ(co_await rn::write(out, asio::buffer("end", 3)), 3u);
    out.close();

    file in(rn::this_executor(), path, file::read_only);
    std::string read(text.size(), '\0');
    EXPECT_EQ(co_await rn::read(in, asio::buffer(read)), read.size());
    EXPECT_EQ(read, text);
    std::array<char, 8> rest;
    auto tail = co_await asio::async_read(in, asio::buffer(rest), rn::use_result);
    EXPECT_EQ(tail.error(), asio::error::eof);
    EXPECT_EQ(std::string(rest.data(), tail.partial()), "end");
    in.close();
    auto closed = co_await in.async_read_some(asio::buffer(rest), rn::use_result);
    EXPECT_EQ(closed.error(), asio::error::bad_descriptor);
  };
  rt.run(app);
}

TEST_F(files, a_file_that_is_not_there_is_told_by_opening_it) {
  rn::runtime rt(rn::threads(1));
  auto app = []() -> rn::task<> {
    EXPECT_THROW(file(rn::this_executor(), "/not/there", file::read_only), boost::system::system_error);
    co_return;
  };
  rt.run(app);
}

// Each of a hundred goroutines has a block of its own; every other one is under a deadline that may strike at once.
TEST_F(files, goroutines_share_a_random_access_file) {
  constexpr std::size_t block = 512;
  rn::runtime rt(rn::threads(4));
  auto app = [&]() -> rn::task<> {
    random_file shared(rn::this_executor(), path, random_file::read_write | random_file::truncate);
    auto round_trip = [&](std::size_t i) -> rn::task<> {
      const std::string mine(block, static_cast<char>('a' + i % 26));
      std::string back(block, '\0');
      EXPECT_EQ(co_await shared.async_write_some_at(i * block, asio::buffer(mine), rn::use_task), block);
      EXPECT_EQ(co_await shared.async_read_some_at(i * block, asio::buffer(back), rn::use_task), block);
      EXPECT_EQ(back, mine);
    };
    auto in_time_or_not = [&](std::size_t i) -> rn::task<> {
      auto limited = rn::with_timeout(1us, round_trip(i));
      (void)co_await rn::as_result(std::move(limited));
    };
    auto all = [&](rn::errgroup& g) -> rn::task<> {
      for (std::size_t i = 0; i < 100; ++i)
        if (i % 2 == 0)
          co_await g.go(std::ref(round_trip), i);
        else
          co_await g.go(std::ref(in_time_or_not), i);
    };
    co_await rn::with_errgroup(all);
    auto behind = [&]() -> rn::task<> {
      std::array<char, 8> bytes;
      auto r = co_await shared.async_read_some_at(1000 * block, asio::buffer(bytes), rn::use_result);
      EXPECT_EQ(r.error(), asio::error::eof);
    };
    co_await behind();
  };
  rt.run(app);
}

TEST_F(files, under_a_context_that_is_done_nothing_is_written) {
  rn::runtime rt(rn::threads(1));
  auto app = [&]() -> rn::task<> {
    file out(rn::this_executor(), path, file::write_only | file::truncate);
    auto [ctx, cancel] = rn::context::background().with_cancel();
    cancel();
    auto write = [&]() -> rn::task<> { co_await out.async_write_some(asio::buffer("abc", 3), rn::use_task); };
    auto r = co_await rn::as_result(rn::with_context(ctx, write()));
    EXPECT_TRUE(r.canceled());
    EXPECT_EQ(out.size(), 0u);
  };
  rt.run(app);
}

}  // namespace
