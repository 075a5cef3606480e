// SPDX-License-Identifier: BSL-1.0
// Two processes and explicit calls between them: the deadline travels along, and so does a cancellation.
//
//   call ID MILLISECONDS METHOD ARGUMENT     the time that is left, not a time of day: clocks differ
//   cancel ID
//   ok ID RESULT, error ID TEXT
#include <runnel.hpp>
#include <runnel/io.hpp>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace rn = runnel;
namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;
using std::chrono::milliseconds;

// Both ends: a line for each message. One goroutine reads, one writes, so the socket lives on a strand.
class lines {
 public:
  explicit lines(tcp::socket& socket) : socket_(socket) {}
  rn::task<std::optional<std::string>> next() {  // empty at the end of the stream
    auto size = co_await asio::async_read_until(socket_, asio::dynamic_buffer(read_), '\n', rn::use_result);
    if (!size) co_return std::nullopt;
    std::string line = read_.substr(0, size.value() - 1);
    read_.erase(0, size.value());
    co_return line;
  }
  rn::task<> send_all(rn::receiver<std::string> messages) {
    while (auto line = co_await messages.recv()) {
      *line += '\n';
      co_await asio::async_write(socket_, asio::buffer(*line), rn::use_task);
    }
  }

 private:
  tcp::socket& socket_;
  std::string read_;
};

// The server. Each call is a goroutine under a context of its own.
struct reporter {
  ~reporter() {
    if (rn::unwinding()) std::puts("nap: unwound");
  }
};
rn::task<int> nap() {
  reporter r;
  auto left = rn::this_context().deadline().value() - std::chrono::steady_clock::now();
  std::printf("nap: begins, %s\n", left > 1s ? "with plenty of time" : "with less than a second left");
  co_await rn::sleep(1h);
  co_return 0;
}

rn::task<> handle(rn::context, std::string id, std::string method, int argument, rn::sender<std::string> replies) {
  std::string reply;
  try {
    if (method != "square" && method != "nap") throw std::invalid_argument("no method " + method);
    int result = argument * argument;
    if (method == "nap") result = co_await nap();
    reply = "ok " + id + " " + std::to_string(result);
  } catch (const std::exception& error) {
    reply = "error " + id + " " + error.what();
  }
  co_await replies.send(std::move(reply));
}

rn::task<> session(tcp::socket& socket) {
  lines client(socket);
  rn::chan<std::string> replies(16);
  co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
    std::map<std::string, rn::cancel_function> calls;
    g.go([&]() -> rn::task<> { co_await client.send_all(replies); });
    while (auto line = co_await client.next()) {
      std::istringstream words(*line);
      std::string verb, id, method;
      long ms = 0;
      int argument = 0;
      words >> verb >> id >> ms >> method >> argument;
      if (verb == "cancel") calls.erase(id);  // a cancel function cancels when it dies
      if (verb != "call") continue;
      auto [ctx, cancel] = rn::this_context().with_timeout(milliseconds(ms));
      calls.insert_or_assign(id, std::move(cancel));
      g.go(handle, ctx, id, method, argument, replies);
    }
    g.cancel();  // nobody listens any more
  });
}

rn::task<> serve() {
  tcp::acceptor acceptor(rn::this_executor(), {asio::ip::address_v4::loopback(), 0});
  std::printf("%d\n", acceptor.local_endpoint().port());
  std::fflush(stdout);
  tcp::socket socket(asio::make_strand(rn::this_executor()));
  co_await acceptor.async_accept(socket, rn::use_task);
  co_await session(socket);
}

// The client. Its goroutines are on one thread, which needs no lock around the table of calls.
class remote {
 public:
  explicit remote(tcp::socket& socket) : server_(socket) {}

  rn::task<> run() {
    co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
      g.go([&]() -> rn::task<> { co_await server_.send_all(requests_); });
      while (auto line = co_await server_.next()) {
        std::istringstream words(*line);
        std::string verb, text;
        int id = 0;
        words >> verb >> id >> std::ws;
        std::getline(words, text);
        auto call = calls_.find(id);
        if (call == calls_.end()) continue;  // it has been given up
        if (verb == "ok")
          call->second.try_send(text);
        else
          call->second.close(std::make_exception_ptr(std::runtime_error(text)));
      }
    });
  }

  rn::task<std::string> call(std::string method, int argument) {
    waiting w(*this);
    auto deadline = rn::this_context().deadline();
    long ms = deadline ? std::chrono::ceil<milliseconds>(*deadline - std::chrono::steady_clock::now()).count() : 60'000;
    co_await requests_.send("call " + std::to_string(w.id) + " " + std::to_string(ms) + " " + method + " " +
                            std::to_string(argument));
    auto answer = co_await w.answer.recv();
    co_return answer.value();
  }

 private:
  struct waiting {  // a call that is out. If it is unwound, the server hears of it
    explicit waiting(remote& r) : of(r), id(++r.last_id_) { of.calls_.emplace(id, answer); }
    ~waiting() {
      of.calls_.erase(id);
      if (rn::unwinding()) (void)of.requests_.try_send("cancel " + std::to_string(id));
    }
    remote& of;
    const int id;
    rn::chan<std::string> answer{1};
  };

  lines server_;
  rn::chan<std::string> requests_{16};
  std::map<int, rn::chan<std::string>> calls_;
  int last_id_ = 0;
};

rn::task<> ask(unsigned short port) {
  tcp::socket socket(asio::make_strand(rn::this_executor()));
  co_await socket.async_connect({asio::ip::address_v4::loopback(), port}, rn::use_task);
  remote server(socket);
  auto running = rn::async([&]() -> rn::task<> { co_await server.run(); });

  auto square = co_await server.call("square", 7);
  std::printf("client: the square is %s\n", square.c_str());
  auto wrong = co_await rn::as_result(server.call("cube", 7));
  std::printf("client: cube: %s\n", wrong.ok() ? "there" : "the server's error");

  auto late = co_await rn::as_result(rn::with_timeout(200ms, server.call("nap", 0)));
  std::printf("client: nap: %s\n", late.ok() ? "there" : "out of time");
  (void)co_await server.call("square", 1);  // the connection goes on

  auto given_up = rn::async([&]() -> rn::task<> { (void)co_await server.call("nap", 0); });
  co_await rn::yield();
  (void)co_await server.call("square", 1);  // is answered after the nap has begun
  auto end = co_await given_up.shutdown();
  std::printf("client: nap: %s\n", end.canceled() ? "cancelled" : "has ended");
  (void)co_await running.shutdown();
}

int main(int argc, char** argv) {
  if (argc > 1 && argv[1] == std::string("serve")) return rn::run(rn::threads(1), serve);
  std::string command = "'" + std::string(argv[0]) + "' serve";
  std::FILE* server = popen(command.c_str(), "r");  // the other process: its port, then what it has to say
  char line[128];
  if (!server || !std::fgets(line, sizeof line, server)) return 1;
  int status = rn::run(rn::threads(1), ask, static_cast<unsigned short>(std::stoi(line)));
  while (std::fgets(line, sizeof line, server)) std::printf("server: %s", line);
  return pclose(server) != 0 ? 1 : status;
}
