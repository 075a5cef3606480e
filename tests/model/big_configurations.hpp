// SPDX-License-Identifier: BSL-1.0
// tests/model/big_configurations.hpp: third parties, deep trees, several cancellers.
#pragma once

#include "model/base_configurations.hpp"

namespace runnel::model {

inline void add_big_plain(configuration_list& list) {
  list.add("close: recv | recv | send, close, cancel of all",
           {started({recv(0)}), started({recv(0)}), started({send(0)})}, cancel())
      .closers = {{0}};
  list.also_light();
  list.add("plain, two contexts: recv recv | send send, cancel A, cancel B, kill A",
           {started({recv(0), recv(0)}), started({send(0), send(0)}, 1)}, {{0, 1}, {1, 1}, {0, 2}}, {root, root});
  list.also_light();
  list.add("sleep: sleep | sleep recv | send, cancel of all",
           {started({sleep()}), started({sleep(), recv(0)}), started({send(0)})}, cancel());
  list.also_light();
}

inline void add_big_nodes(configuration_list& list) {
  list.add("finally: recv0, clean-up recv1 | send0 | send1, cancel, kill of all",
           {started({recv(0), cleanup(1), recv(1), leave(1)}), started({send(0)}), started({send(1)})},
           cancel_and_kill(), {root, {shield, 0, 0}});
  list.add("shield beside shield in with_timeout: [recv0] recv0 | [recv1 [recv1]], cancel, kill",
           {started({enter(1), recv(0), leave(1), recv(0)}),
            started({enter(2), recv(1), enter(3), recv(1), leave(3), leave(2)})},
           cancel_and_kill(), {root, {shield, 0, 0}, {timeout, 0, 1}, {shield, 2, 1}});
  list.add("with_timeout beside with_timeout: [recv] | [send], cancel, kill",
           {started({enter(1), recv(0), leave(1)}), started({enter(2), send(0), leave(2)})}, cancel_and_kill(),
           {root, {timeout, 0, 0}, {timeout, 0, 1}});
  list.also_light();
  list.add("with_timeout, clean-up: [recv0], clean-up [sleep] | send0, cancel, kill",
           {started({enter(1), recv(0), leave(1), cleanup(2), sleep(), leave(2)}), started({send(0)}, 3)},
           cancel_and_kill(), {root, {timeout, 0, 0}, {shield, 0, 0}, root});
  list.also_light();
  list.add("group of with_timeouts: children [recv] | [sleep], cancel",
           {started({open(1), spawn(1), spawn(2), join(1)}), child({enter(2), recv(0), leave(2)}, 1),
            child({enter(3), sleep(), leave(3)}, 1)},
           cancel(), {root, {group, 0, 0}, {timeout, 1, 1}, {timeout, 1, 2}});
  list.add(
      "group in with_timeout: a child waits, one fails, cancel",
      {started({enter(1), open(2), spawn(1), spawn(2), join(2), leave(1)}), child({recv(0)}, 2), child({fail()}, 2)},
      cancel(), {root, {timeout, 0, 0}, {group, 1, 0}});
  list.add(
      "fork-join in with_timeout: a child waits, one fails, cancel",
      {started({enter(1), open(2), spawn(1), spawn(2), join(2), leave(1)}), child({recv(0)}, 2), child({fail()}, 2)},
      cancel(), {root, {timeout, 0, 0}, {fork, 1, 0}});
  list.add("fork-join: two promoted, a third fails, cancel, kill",
           {started({open(1), spawn(1), spawn(2), spawn(3), join(1)}), child({recv(0)}, 1), child({recv(1)}, 1),
            child({fail()}, 1)},
           cancel_and_kill(), {root, {fork, 0, 0}});
}

inline void add_big_selects(configuration_list& list) {
  list.add("select against select, both with clean-up: {r0,s1} recv2 | {s0,r1} send2, cancel, kill",
           {started({select({r(0), s(1)}), cleanup(1), recv(2), leave(1)}),
            started({select({s(0), r(1)}), cleanup(2), send(2), leave(2)})},
           cancel_and_kill(), {root, {shield, 0, 0}, {shield, 0, 1}});
  list.add("three selects: {r0,s1} | {s0,r1} | {r1,s0}, cancel of two, kill",
           {started({select({r(0), s(1)})}), started({select({s(0), r(1)})}), started({select({r(1), s(0)})}, 1)},
           cancel_and_kill(), {root, root});
  list.add("three selects: {r0,r1} | {s0,s1} | {r1,s0}, cancel",
           {started({select({r(0), r(1)})}), started({select({s(0), s(1)})}, 1), started({select({r(1), s(0)})}, 1)},
           cancel(), {root, root});
  list.also_light();
  list.add("cycle of three and a cancel, close of 1: {s0,r1} | send1 | {s2,r0}",
           {started({select({s(0), r(1)})}), started({send(1)}), started({select({s(2), r(0)})}, 1)}, cancel(),
           {root, root})
      .closers = {{1}};
  list.add("three channels: {r0,s1,r2} | {s0,r1,s2} | {r1,s2}, cancel of the first",
           {started({select({r(0), s(1), r(2)})}), started({select({s(0), r(1), s(2)})}, 1),
            started({select({r(1), s(2)})}, 1)},
           cancel(), {root, root});
  list.add("twice, polling: {r0,s1} {r0,s1} | {s0,r1} {s0,r1}, cancel",
           {started({select({r(0), s(1)}), select({r(0), s(1)})}),
            started({select({s(0), r(1)}), select({s(0), r(1)})}, 1)},
           cancel(), {root, root})
      .polls = true;
  list.also_light();
  auto& full = list.add(
      "buffered, polling: {s0,s1} {s0,s1} | {r0,r1} {r0,r1}, cancel",
      {started({select({s(0), s(1)}), select({s(0), s(1)})}), started({select({r(0), r(1)}), select({r(0), r(1)})}, 1)},
      cancel(), {root, root});
  full.capacity[0] = full.capacity[1] = 1;
  full.polls = true;
  list.add("cycle of three, polling: {s0,r1} | {s1,r2} | {s2,r0}",
           {started({select({s(0), r(1)})}), started({select({s(1), r(2)})}), started({select({s(2), r(0)})})})
      .polls = true;
  list.add("otherwise beside selects: otherwise{r0,s1} {r0,s1} | {s0,r1} | {s0,r1}, cancel of the second",
           {started({otherwise({r(0), s(1)}), select({r(0), s(1)})}, 1), started({select({s(0), r(1)})}),
            started({select({s(0), r(1)})}, 1)},
           cancel(), {root, root});
}

inline void add_big_operations(configuration_list& list) {
  list.add("asio: three rounds, clean-up asio, cancel A, kill A",
           {started({asio(2), cleanup(1), asio(1, true), leave(1)})}, cancel_and_kill(), {root, {shield, 0, 0}});
  list.add("asio in two goroutines, then a channel: asio recv | asio send, cancel, kill",
           {started({asio(1, true), recv(0)}), started({asio(), send(0)})}, cancel_and_kill());
  list.also_light();
  list.add("mix: {r0,r1} asio recv1 | send0 send1, cancel, kill",
           {started({select({r(0), r(1)}), asio(1), recv(1)}), started({send(0), send(1)}, 1)}, cancel_and_kill(),
           {root, root});
  list.also_light();
  list.add("mix in with_timeout: [asio {r0,r1}] recv2 | send0, cancel",
           {started({enter(1), asio(), select({r(0), r(1)}), leave(1), recv(2)}), started({send(0)}, 2)}, cancel(),
           {root, {timeout, 0, 0}, root});
  list.also_light();
}

inline std::vector<configuration> big_configurations() {
  configuration_list list;
  add_big_plain(list);
  add_big_nodes(list);
  add_big_selects(list);
  add_big_operations(list);
  return list.take();
}

}  // namespace runnel::model
