// SPDX-License-Identifier: BSL-1.0
// runnel/otp/supervision.hpp: what supervisors tell of their children: states, counts, reasons, errors.
// Layer: L10
#pragma once

#include <runnel/config.hpp>
#include <runnel/error.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace runnel {

/// idle: does not run, and will not by itself. starting: has not said that it is ready. restarting: has ended, and will
/// be started again.
enum class child_state : std::uint8_t { idle, starting, running, stopping, restarting };

/// What a call to a supervisor came to. `ok`, or why not.
enum class child_outcome : std::uint8_t {
  ok,
  ignored,  // the child has returned before it was ready: its specification stays, unless it is temporary
  not_found,
  running,
  restarting,
  already_started,  // the id is taken, by a child that runs
  already_present,  // the id is taken, by one that does not
  too_many,         // max_children
  not_running       // the supervisor has ended
};

/// A child, as it was at one moment.
struct child_info {
  std::string id;
  child_state state = child_state::idle;
  std::uint64_t start_number = 0;  // grows with each start under its supervisor; 0: it has never been started
  std::size_t restarts = 0;        // how often it was started again
  std::exception_ptr last_error;   // that it ended with last; null if it never did
  bool is_supervisor = false;
  std::uint64_t number = 0;  // of the child, under its supervisor; it keeps it when it is started again
};

/// How many there are. `specs` is also workers + supervisors; `active` have a goroutine.
struct child_counts {
  std::size_t specs = 0, active = 0, supervisors = 0, workers = 0;
};

/// Why a child was started again, or was to be.
struct restart_reason {
  std::string id;
  std::exception_ptr error;                  // null: it returned
  std::chrono::steady_clock::time_point at;  // on the runtime's clock
};

/// What run() of a supervisor throws when it ends because of a child. For the supervisor above it is an orderly end: a
/// supervisor, or an rn::subtree, that ends so is started again only if it is permanent (SUP-19). Of any other child it
/// is an error as any.
class RUNNEL_SHARED supervisor_error : public std::runtime_error {
 public:
  /// The child.
  const std::string& id() const noexcept { return x_id; }
  /// The error that it ended with; null if it returned.
  const std::exception_ptr& reason() const noexcept { return x_reason; }

 protected:
  supervisor_error(const std::string& sentence, std::string id, std::exception_ptr reason)
      : std::runtime_error(sentence), x_id(std::move(id)), x_reason(std::move(reason)) {}

 private:
  std::string x_id;
  std::exception_ptr x_reason;
};

/// A child has not started: thrown by run(), after those that had were stopped, and by start_child and restart_child.
class RUNNEL_SHARED child_start_error : public supervisor_error {
 public:
  child_start_error(std::string id, std::exception_ptr reason)
      : supervisor_error((id.empty() ? "runnel: a child" : "runnel: the child \"" + id + "\"") +
                             " has not started: " + detail::what_of(reason),
                         id, reason) {}
};

/// Children were to be restarted more often than max_restarts allows; all have been stopped.
class RUNNEL_SHARED restart_limit_error : public supervisor_error {
 public:
  restart_limit_error(std::string id, std::exception_ptr reason, std::vector<restart_reason> reasons)
      : supervisor_error("runnel: a supervisor gave up, too many restarts; the last child was \"" + id +
                             "\": " + (reason ? detail::what_of(reason) : "it returned"),
                         id, reason),
        x_reasons(std::move(reasons)) {}
  /// The last restarts, at most 16, the oldest first; the one that was too many is the last.
  const std::vector<restart_reason>& reasons() const noexcept { return x_reasons; }

 private:
  std::vector<restart_reason> x_reasons;
};

/// A task_supervisor has not started a task: it had max_children (`too_many`), or does not run (`not_running`).
class RUNNEL_SHARED task_refused : public std::exception {
 public:
  explicit task_refused(child_outcome why) noexcept : x_outcome(why) {}
  child_outcome outcome() const noexcept { return x_outcome; }
  const char* what() const noexcept override {
    return x_outcome == child_outcome::too_many ? "runnel: a task is refused: there are max_children already"
                                                : "runnel: a task is refused: its supervisor does not run";
  }

 private:
  child_outcome x_outcome;
};

/// A child was not ready in time.
class RUNNEL_SHARED not_ready : public timeout_error {
 public:
  const char* what() const noexcept override { return "runnel: it was not ready in time"; }
};

}  // namespace runnel
