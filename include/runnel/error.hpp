// SPDX-License-Identifier: BSL-1.0
// runnel/error.hpp: the exceptions and error codes of the library.
// Layer: L0
#pragma once

#include <runnel/config.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace runnel {

/// A programming error, thrown at the call that commits it, with a sentence that says what to do instead.
class RUNNEL_SHARED misuse_error : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// A send on a closed channel, or a second close.
class RUNNEL_SHARED closed_channel : public misuse_error {
 public:
  closed_channel() : misuse_error("runnel: the channel is closed") {}
  using misuse_error::misuse_error;
};

/// The work was cancelled. Cancellation itself unwinds and is never thrown; this is how an owner who asks for a
/// result that no longer exists hears of it, and the default cause of a cancelled context.
class RUNNEL_SHARED canceled : public std::exception {
 public:
  const char* what() const noexcept override { return "runnel: canceled"; }
};

/// Some time limit has passed.
class RUNNEL_SHARED timeout_error : public std::exception {
 public:
  const char* what() const noexcept override { return "runnel: timed out"; }
};

/// The deadline of a context has passed.
class RUNNEL_SHARED deadline_exceeded : public timeout_error {
 public:
  const char* what() const noexcept override { return "runnel: deadline exceeded"; }
};

/// The runtime is shutting down: nothing new starts.
class RUNNEL_SHARED shutting_down : public std::exception {
 public:
  const char* what() const noexcept override { return "runnel: the runtime is shutting down, nothing new starts"; }
};

/// Why a context is done (context::err). Comparable with std::errc: canceled is operation_canceled, a passed
/// deadline is timed_out.
enum class context_errc { canceled = 1, deadline_exceeded = 2 };

}  // namespace runnel

template <>
struct std::is_error_code_enum<runnel::context_errc> : std::true_type {};

namespace runnel {

namespace detail {

class RUNNEL_SHARED context_category_t final : public std::error_category {
 public:
  const char* name() const noexcept override { return "runnel.context"; }
  std::string message(int value) const override {
    return value == static_cast<int>(context_errc::canceled) ? "canceled" : "deadline exceeded";
  }
  std::error_condition default_error_condition(int value) const noexcept override {
    return value == static_cast<int>(context_errc::canceled) ? std::errc::operation_canceled : std::errc::timed_out;
  }
};

}  // namespace detail

RUNNEL_SHARED inline const std::error_category& context_category() noexcept {
  static const detail::context_category_t category;
  return category;
}

inline std::error_code make_error_code(context_errc e) noexcept { return {static_cast<int>(e), context_category()}; }

namespace detail {

// The default causes are made once, so that cancelling never allocates.
RUNNEL_SHARED inline const std::exception_ptr& canceled_cause() noexcept {
  static const std::exception_ptr cause = std::make_exception_ptr(canceled());
  return cause;
}
RUNNEL_SHARED inline const std::exception_ptr& deadline_cause() noexcept {
  static const std::exception_ptr cause = std::make_exception_ptr(deadline_exceeded());
  return cause;
}

// Where throwing is impossible.
[[noreturn]] inline void fatal(const char* sentence) noexcept {
  std::fprintf(stderr, "runnel: %s\n", sentence);
  std::abort();
}

inline std::string said_by(const std::exception_ptr& e) noexcept try {
  if (!e) return "no error";
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return x.what();
  } catch (...) {
    return "an exception that is not a std::exception";
  }
} catch (...) {
  return "an exception";
}
// The same for a line that begins with the library's name: without that, where the error is our own.
inline std::string what_of(const std::exception_ptr& e) noexcept {
  std::string said = said_by(e);
  constexpr std::string_view name = "runnel: ";
  if (said.starts_with(name)) said.erase(0, name.size());
  return said;
}

}  // namespace detail

/// What an error says, for a log: `rn::what(r.error())`, `rn::what(ctx.cause())`, or in a catch (...)
/// `rn::what(std::current_exception())`.
///
/// Returns: its what(); for what is no std::exception, and for null, words that say so. Throws: nothing; without memory
/// the answer is shorter.
inline std::string what(const std::exception_ptr& error) noexcept { return detail::said_by(error); }

}  // namespace runnel
