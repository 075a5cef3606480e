// SPDX-License-Identifier: BSL-1.0
// tests/model/asio_steps.hpp: an Asio operation; who owns it for a moment may run foreign code, nobody else.
#pragma once

#include "model/machine.hpp"

namespace runnel::model {

inline constexpr byte succeeded = 1, aborted = 2;

enum class owning : byte { goes_on, released, completed };

// Foreign code (initiation, a handler, an emitted signal) takes two steps, so that an overlap is seen.
inline void begin_foreign(machine& m, int g) {
  goroutine& it = m.touch(g);
  m.require(it.operation_alive, "an operation was touched after its frame had gone on");
  m.require(!it.foreign, "two pieces of foreign code of one operation ran at once");
  it.foreign = 1;
}

// One step of whoever owns the operation of goroutine g.
inline owning owner_step(machine& m, int g, operation_owner& own) {
  goroutine& it = m.touch(g);
  auto to = [&](operation_owner::step_t next) {
    own.step = next;
    return owning::goes_on;
  };
  switch (own.step) {
    case operation_owner::leave:
      m.require(m.broken(mutation::handler_ignores_owner) || m.broken(mutation::emit_without_ownership) ||
                    (it.w.code & code::owned),
                "an operation was left by somebody who did not own it");
      if (it.w.code & code::pending) {
        it.w.code = static_cast<byte>(it.w.code & ~code::pending);
        own.result = it.arrived;
        it.arrived = 0;
        return to(operation_owner::run);
      }
      if ((it.w.code & code::requested) && !it.emitted && !m.broken(mutation::leaver_ignores_request))
        return to(operation_owner::emit);
      if (m.broken(mutation::leave_by_store)) return to(operation_owner::store_leave);
      it.w.code = static_cast<byte>(it.w.code & ~code::owned);  // the CAS that is the last touch
      return owning::released;
    case operation_owner::store_leave:
      it.w.code = static_cast<byte>(code::operation | (it.emitted ? code::requested : 0));
      return owning::released;
    case operation_owner::run:
      begin_foreign(m, g);
      return to(operation_owner::ran);
    case operation_owner::ran:
      it.foreign = 0;
      if (own.result == succeeded && it.rounds < m.now(g).arg) {
        ++it.rounds;
        it.in_flight = 1;
        return to(operation_owner::leave);
      }
      return to(operation_owner::complete);
    case operation_owner::emit:
      begin_foreign(m, g);
      return to(operation_owner::emitted);
    case operation_owner::emitted:
      m.require(it.operation_alive, "an operation was touched after its frame had gone on");
      it.foreign = 0;
      it.emitted = 1;
      return to(operation_owner::leave);
    case operation_owner::complete: {
      bool asked = it.w.code & code::requested;
      m.require(own.result != aborted || asked, "an operation was aborted that nobody had cancelled");
      it.slot = own.result;
      it.stop = asked && (own.result == aborted || m.broken(mutation::success_becomes_stop));
      return to(operation_owner::zero);
    }
    case operation_owner::zero:
      it.w = {};
      return to(operation_owner::schedule);
    case operation_owner::schedule:
      m.schedule(g);
      return owning::completed;
    default:
      break;
  }
  m.require(false, "the model lost its way in an operation");
  return owning::released;
}

inline outcome asio_step(machine& m, int g) {
  goroutine& me = m.s.g[g];
  switch (me.step) {
    case at::asio_publish: {
      if (m.broken(mutation::operation_published_plainly)) {
        if (!m.has_room(g)) return outcome::blocked;
        m.store_word(g, code::operation | code::owned);
      } else {
        if (!m.has_room(g)) return outcome::blocked;
        m.publish(g, code::operation | code::owned);
      }
      me.operation_alive = 1;
      return m.go(g, at::asio_level);
    }
    case at::asio_level:
      if (!m.stop_due(g)) return m.go(g, at::asio_initiate);
      if (!m.has_room(g)) return outcome::blocked;
      m.store_word(g, code::none);
      me.operation_alive = 0;
      return m.go(g, at::stopped);
    case at::asio_initiate:
      m.drain(g);
      begin_foreign(m, g);
      me.in_flight = 1;
      return m.go(g, at::asio_initiated);
    case at::asio_initiated:
      me.foreign = 0;
      me.owner.step = operation_owner::leave;
      return m.go(g, at::asio_own);
    case at::asio_own: {
      if (me.owner.step == operation_owner::schedule) m.stop_running(g);
      owning o = owner_step(m, g, me.owner);
      if (o == owning::goes_on) return outcome::ran;
      m.stop_running(g);
      me.owner = {};
      return m.go(g, at::asio_parked);
    }
    case at::asio_parked:
      if (!m.resumed(g)) return outcome::blocked;
      me.operation_alive = me.rounds = me.emitted = 0;
      if (me.stop) return m.go(g, at::stopped);
      me.slot = succeeded;  // an abort that came too late to stop is delivered as an error
      return m.go(g, at::finish);
    default:
      return outcome::blocked;
  }
}

// A completion handler of Asio on some pool thread.
inline outcome handler_step(machine& m, handler& h, int which) {
  switch (h.step) {
    case handler::idle:
      for (int g = 0; g < m.goroutines(); ++g) {
        if (!m.s.g[g].in_flight) continue;
        const instruction& op = m.now(g);
        for (byte result : {succeeded, aborted}) {
          if (result == succeeded ? op.ends_only_when_cancelled : !m.s.g[g].emitted) continue;
          if (which-- > 0) continue;
          m.touch(g).in_flight = 0;
          h = {handler::arrive, static_cast<byte>(g), result, {}};
          return outcome::ran;
        }
      }
      return outcome::no_such_choice;
    case handler::arrive: {
      if (which) return outcome::no_such_choice;
      goroutine& it = m.touch(h.who);
      if ((it.w.code & code::owned) && !m.broken(mutation::handler_ignores_owner)) {
        it.arrived = h.result;
        it.w.code |= code::pending;
        h = {};
        return outcome::ran;
      }
      it.w.code |= code::owned;
      h.owner = {operation_owner::run, h.result};
      h.step = handler::own;
      return outcome::ran;
    }
    default:
      if (which) return outcome::no_such_choice;
      if (owner_step(m, h.who, h.owner) != owning::goes_on) h = {};
      return outcome::ran;
  }
}

}  // namespace runnel::model
