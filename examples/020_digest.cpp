// SPDX-License-Identifier: BSL-1.0
// The SHA-256 of every regular file below a directory, in sha256sum's format and in a fixed order:
//
//   digest [DIR] [--workers N] [--fail-fast] [--quiet]
//
//            .-- jobs --> worker --.
//   walk ----+-- jobs --> worker --+--> a reply channel for each file
//     '---------- order: those reply channels, as walked -----------> print
//
// The channels bound the memory: nobody works more than `window` files ahead of the printer. Ctrl-C cancels the
// root context: each goroutine unwinds from the co_await where it stands, closing what it holds, and main()
// prints the summary. Exit status: 0; 1 if something was unreadable; 2 for a wrong command line; 130 after Ctrl-C.
#include <openssl/evp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <runnel.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace rn = runnel;
namespace fs = std::filesystem;

constexpr std::size_t window = 256;             // files walked but not yet printed
constexpr std::size_t chunk_size = 256 * 1024;  // bytes hashed before others get their turn

struct options {
  fs::path root = ".";
  unsigned workers = std::clamp(std::thread::hardware_concurrency(), 1u, 256u);
  bool fail_fast = false, quiet = false;
};

struct totals {  // lives in main(), so it outlives every goroutine
  std::atomic<unsigned long long> printed{0}, unreadable{0}, bytes{0}, goroutines{0};
};

struct answer {  // what is sent through a channel has constructors: g++ 12 mistreats aggregates in a co_await
  answer(std::string hex_, std::error_code error_) : hex(std::move(hex_)), error(error_) {}
  std::string hex;
  std::error_code error;
};

struct job {
  explicit job(std::string path_) : path(std::move(path_)), reply(1) {}
  std::string path;
  rn::chan<answer> reply;  // where the one answer will arrive; copies of a job share it
};

// Adds what a directory holds; taken from the end, it is in byte order.
std::error_code push_entries(const fs::path& dir, std::vector<fs::directory_entry>& todo) {
  std::error_code error, ignored;
  const auto old_size = static_cast<std::ptrdiff_t>(todo.size());
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error))
    if (!it->is_symlink(ignored)) todo.push_back(*it);  // symbolic links are passed over, as by find -type f
  std::sort(todo.begin() + old_size, todo.end(), std::greater());
  return error;
}

rn::task<> walk(fs::path root, rn::chan<job> jobs, rn::chan<job> order) {
  std::error_code error;
  std::vector todo{fs::directory_entry(root)};
  while (!todo.empty()) {
    const fs::directory_entry entry = std::move(todo.back());
    todo.pop_back();
    job next(entry.path().native());
    if (entry.is_directory(error)) {
      error = push_entries(entry.path(), todo);
      if (!error) continue;
      next.reply.try_send(answer("", error));  // needs no worker
      co_await order.send(next);
    } else if (entry.is_regular_file(error) || !entry.exists(error)) {  // of one that is gone a worker says so
      co_await order.send(next);                                       // waits while the window is full
      co_await jobs.send(next);                                        // waits while the workers are busy
    }
  }
  jobs.close();
  order.close();
}

// A file and its hash. Not in a coroutine: errno is a thread's, and a coroutine may change threads.
class file_hash {
 public:
  explicit file_hash(const std::string& path) : file_(std::fopen(path.c_str(), "rb"), std::fclose) {
    if (!file_) error_.assign(errno, std::generic_category());
    EVP_DigestInit_ex(hash_.get(), EVP_sha256(), nullptr);
  }
  std::size_t read(std::vector<char>& buffer) {  // 0 at the end and on error
    const auto n = file_ ? std::fread(buffer.data(), 1, buffer.size(), file_.get()) : 0;
    if (file_ && std::ferror(file_.get())) error_.assign(errno, std::generic_category());
    EVP_DigestUpdate(hash_.get(), buffer.data(), n);
    return n;
  }
  answer result() {
    unsigned char bytes[32];
    if (!EVP_DigestFinal_ex(hash_.get(), bytes, nullptr)) throw std::runtime_error("OpenSSL refuses SHA-256");
    std::string hex;
    for (int byte : bytes) (hex += "0123456789abcdef"[byte >> 4]) += "0123456789abcdef"[byte & 15];
    return answer(error_ ? "" : hex, error_);
  }

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> hash_{EVP_MD_CTX_new(), EVP_MD_CTX_free};
  std::error_code error_;
};

// Reading blocks its thread, as there is no blocking offload yet: main() asks for as many threads as workers.
rn::task<answer> digest(const std::string& path, std::vector<char>& buffer, totals& sum) {
  file_hash hash(path);
  while (const auto n = hash.read(buffer)) {
    sum.bytes += n;
    co_await rn::yield();  // others get their turn; when cancelled, it ends here
  }
  co_return hash.result();
}

rn::task<> worker(rn::chan<job> jobs, totals& sum) {
  std::vector<char> buffer(chunk_size);
  while (auto next = co_await jobs.recv()) {
    auto result = co_await digest(next->path, buffer, sum);
    co_await next->reply.send(std::move(result));
  }
}

std::string sha256sum_line(const std::string& hex, const std::string& path) {
  std::string name;
  for (char c : path) {
    if (c == '\\' || c == '\n' || c == '\r') name += '\\';
    name += c == '\n' ? 'n' : c == '\r' ? 'r' : c;
  }
  return (name == path ? "" : "\\") + hex + "  " + name + "\n";  // in front it says: this name is escaped
}

rn::task<> print(rn::chan<job> order, bool fail_fast, totals& sum) {
  while (auto next = co_await order.recv()) {
    const auto result = co_await next->reply.recv();
    if (!result->error) {
      std::fputs(sha256sum_line(result->hex, next->path).c_str(), stdout);
      ++sum.printed;
      continue;
    }
    ++sum.unreadable;
    const auto complaint = "digest: " + next->path + ": " + result->error.message();
    if (fail_fast) throw std::runtime_error(complaint);  // cancels the group; run() prints it and returns 1
    std::fprintf(stderr, "%s\n", complaint.c_str());
  }
}

rn::task<> show_progress(const totals& sum) {  // endless: the runtime cancels what is left when app() ends
  for (;; co_await rn::sleep(std::chrono::milliseconds(100)))
    std::fprintf(stderr, "\r%llu files, %.1f MB ", sum.printed.load(), double(sum.bytes) / 1e6);
}

rn::task<int> app(const options& opt, totals& sum) {
  rn::chan<job> jobs(opt.workers), order(window);
  const bool progress = !opt.quiet && ::isatty(STDERR_FILENO) && !::isatty(STDOUT_FILENO);
  if (progress) rn::go(show_progress, std::cref(sum));
  sum.goroutines = progress + opt.workers + 2;  // and this one, and the walk
  co_await rn::with_errgroup([&](rn::errgroup& g) -> rn::task<> {
    co_await g.go(walk, opt.root, jobs, order);
    for (unsigned i = 0; i < opt.workers; ++i) co_await g.go(worker, jobs, std::ref(sum));
    co_await print(order, opt.fail_fast, sum);
  });
  co_return sum.unreadable ? 1 : 0;
}

bool parse(int argc, char** argv, options& opt) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    char rest;
    if (arg == "--workers" && i + 1 < argc && std::sscanf(argv[i + 1], "%3u%c", &opt.workers, &rest) == 1) ++i;
    else if (arg == "--fail-fast") opt.fail_fast = true;
    else if (arg == "--quiet") opt.quiet = true;
    else if (arg.empty() || arg.front() == '-') return false;
    else opt.root = arg;
  }
  return opt.workers >= 1 && opt.workers <= 256;
}

void print_summary(const totals& sum, double seconds, bool interrupted) {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const double mb = double(sum.bytes) / 1e6, peak_mb = double(usage.ru_maxrss) / 1e3;
  std::fprintf(stderr, "%s%llu files, %llu unreadable, %.1f MB in %.3f s (%.1f MB/s), ",
               ::isatty(STDERR_FILENO) ? "\r\033[K" : "", sum.printed.load(), sum.unreadable.load(), mb, seconds,
               mb / seconds);
  std::fprintf(stderr, "%llu goroutines, peak memory %.1f MB%s\n", sum.goroutines.load(), peak_mb,
               interrupted ? ", interrupted" : "");
}

int main(int argc, char** argv) {
  options opt;
  if (!parse(argc, argv, opt))
    return std::fputs("usage: digest [DIR] [--workers 1..256] [--fail-fast] [--quiet]\n", stderr), 2;
  totals sum;
  const auto start = std::chrono::steady_clock::now();
  int status = rn::run(rn::threads(opt.workers), app, std::cref(opt), std::ref(sum));
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    std::fputs("digest: cannot write to standard output\n", stderr);
    status = 1;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  if (!opt.quiet) print_summary(sum, took.count(), status > 128);
  return status;
}
