// SPDX-License-Identifier: BSL-1.0
// tests/model/base_configurations.hpp: the configurations that every run of the tests explores.
#pragma once

#include "model/configuration.hpp"

#include <utility>

namespace runnel::model {

// Node 0 is the root context X; others are listed as {kind, parent, owner}.
inline const node_spec root{};
inline constexpr auto shield = node_spec::shield, timeout = node_spec::timeout, group = node_spec::group,
                      fork = node_spec::fork, apart = node_spec::apart, scope = node_spec::scope;

inline program started(std::vector<instruction> body, int home = 0) { return {std::move(body), home, false}; }
inline program child(std::vector<instruction> body, int home) { return {std::move(body), home, true}; }

inline std::vector<raise_spec> cancel() { return {{0, 1}}; }
inline std::vector<raise_spec> cancel_and_kill() { return {{0, 1}, {0, 2}}; }

class configuration_list {
 public:
  configuration& add(std::string name, std::vector<program> goroutines, std::vector<raise_spec> cancellers = {},
                     std::vector<node_spec> nodes = {root}) {
    configuration c;
    c.name = std::move(name);
    c.goroutines = std::move(goroutines);
    c.cancellers = std::move(cancellers);
    c.nodes = std::move(nodes);
    x_all.push_back(std::move(c));
    return x_all.back();
  }
  // The same again with light fences.
  void also_light() {
    configuration c = x_all.back();
    c.name += ", light";
    c.light = true;
    x_all.push_back(std::move(c));
  }
  // The same again where a plain park stores W before it takes the lock.
  void publish_first() {
    configuration c = x_all.back();
    c.name += ", W first";
    c.publishes_first = true;
    x_all.push_back(std::move(c));
  }
  std::vector<configuration> take() { return std::move(x_all); }

 private:
  std::vector<configuration> x_all;
};

inline void add_plain(configuration_list& list) {
  list.add("plain: recv | send, cancel, kill", {started({recv(0)}), started({send(0)})}, cancel_and_kill());
  list.also_light();
  list.add("plain, same channel twice: recv recv | send send, cancel",
           {started({recv(0), recv(0)}), started({send(0), send(0)})}, cancel());
  list.also_light();
  list.add("plain, two channels: recv0 recv1 | send0, cancel", {started({recv(0), recv(1)}), started({send(0)})},
           cancel());
  list.also_light();
  list.publish_first();
  list.add("close: recv | recv | send, close, cancel of the first",
           {started({recv(0)}), started({recv(0)}, 1), started({send(0)}, 1)}, cancel(), {root, root})
      .closers = {{0}};
  list.add("death: recv | recv, last handle dies, cancel", {started({recv(0)}), started({recv(0)})}, cancel())
      .closers = {{0, true}};
  list.add("death and reuse: recv | recv | send, last handle dies, cancel of the first",
           {started({recv(0)}, 1), started({recv(0)}), started({send(0)})}, {{1, 1}}, {root, root})
      .closers = {{0, true}};
  list.add("death under a select: {r0,r1} | send1, last handle of 0 dies, cancel",
           {started({select({r(0), r(1)})}), started({send(1)})}, cancel())
      .closers = {{0, true}};
  list.add("buffered: recv recv | send send, cancel", {started({recv(0), recv(0)}), started({send(0), send(0)})},
           cancel())
      .capacity[0] = 1;
  list.add("sleep: sleep | sleep recv | send, cancel",
           {started({sleep()}), started({sleep(), recv(0)}), started({send(0)}, 1)}, cancel(), {root, root});
  list.also_light();
}

inline void add_nodes(configuration_list& list) {
  const std::vector<node_spec> shielded{root, {shield, 0, 0}};
  const std::vector<node_spec> timed{root, {timeout, 0, 0}};
  const std::vector<node_spec> apart_nodes{root, {apart, 0, 0}, root};
  list.add("shield: recv [recv] recv | send, cancel",
           {started({recv(0), enter(1), recv(0), leave(1), recv(1)}), started({send(0)})}, cancel(), shielded);
  list.also_light();
  list.add("a context that is no child: recv [recv] | send, cancel",
           {started({recv(0), enter(1), recv(0), leave(1)}), started({send(0)}, 2)}, cancel(), apart_nodes);
  list.add("a context that is no child: {r0,r1} [{r0,r1}] | send, cancel",
           {started({select({r(0), r(1)}), enter(1), select({r(0), r(1)}), leave(1)}), started({send(0)}, 2)}, cancel(),
           apart_nodes);
  list.also_light();
  list.add("a context that is no child: asio [asio], cancel", {started({asio(), enter(1), asio(), leave(1)})}, cancel(),
           apart_nodes);
  list.add("shield, kill: [recv] recv | send, cancel, kill",
           {started({enter(1), recv(0), leave(1), recv(0)}), started({send(0)})}, cancel_and_kill(), shielded);
  list.add("finally: recv0, clean-up recv1 | send0 send1, cancel, kill",
           {started({recv(0), cleanup(1), recv(1), leave(1)}), started({send(0), send(1)}, 2)}, cancel_and_kill(),
           {root, {shield, 0, 0}, root});
  list.add("with_timeout: recv0 [recv1] recv2 | send0, cancel",
           {started({recv(0), enter(1), recv(1), leave(1), recv(2)}), started({send(0)})}, cancel(), timed);
  list.also_light();
  list.add("with_timeout, two cancellers: [recv] | send, cancel, kill",
           {started({enter(1), recv(0), leave(1)}), started({send(0)}, 2)}, cancel_and_kill(),
           {root, {timeout, 0, 0}, root});
  list.add("shield in with_timeout: [[recv]], cancel, kill",
           {started({enter(1), enter(2), recv(0), leave(2), leave(1)})}, cancel_and_kill(),
           {root, {timeout, 0, 0}, {shield, 1, 0}});
  list.add("with_timeout in with_timeout: [[sleep]], cancel",
           {started({enter(1), enter(2), sleep(), leave(2), leave(1)})}, cancel(),
           {root, {timeout, 0, 0}, {timeout, 1, 0}});
}

inline void add_groups(configuration_list& list) {
  const std::vector<node_spec> one_group{root, {group, 0, 0}};
  const std::vector<node_spec> one_fork{root, {fork, 0, 0}};
  list.add("group: two children, recv | send, cancel",
           {started({open(1), spawn(1), spawn(2), join(1)}), child({recv(0)}, 1), child({send(0)}, 1)}, cancel(),
           one_group);
  list.add("group: a child fails while the other waits, cancel",
           {started({open(1), spawn(1), spawn(2), join(1)}), child({recv(0)}, 1), child({fail()}, 1)}, cancel(),
           one_group);
  list.add("group: unwound with a live child, cancel, kill",
           {started({open(1), spawn(1), recv(1), join(1)}), child({recv(0)}, 1)}, cancel_and_kill(), one_group);
  list.also_light();
  list.add("fork-join: a child fails while the other waits",
           {started({open(1), spawn(1), spawn(2), join(1)}), child({recv(0)}, 1), child({fail()}, 1)}, {}, one_fork);
  list.add("fork-join: two promoted, recv | send, cancel",
           {started({open(1), spawn(1), spawn(2), join(1)}), child({recv(0)}, 1), child({send(0)}, 1)}, cancel(),
           one_fork);
  list.add("fork-join: two promoted, a third fails",
           {started({open(1), spawn(1), spawn(2), spawn(3), join(1)}), child({recv(0)}, 1), child({recv(1)}, 1),
            child({fail()}, 1)},
           {}, one_fork);
}

inline void add_selects(configuration_list& list) {
  const std::vector<node_spec> shielded{root, {shield, 0, 0}};
  list.add("select alone: {r0,r1}, cancel, kill", {started({select({r(0), r(1)})})}, cancel_and_kill());
  list.also_light();
  list.add("select, two senders: {r0,r1} | send0 | send1, cancel",
           {started({select({r(0), r(1)})}), started({send(0)}, 1), started({send(1)}, 1)}, cancel(), {root, root});
  list.also_light();
  list.add("select against select: {r0,s1} | {s0,r1}, cancel",
           {started({select({r(0), s(1)})}), started({select({s(0), r(1)})})}, cancel());
  list.also_light();
  list.add("select, same channel both ways: {r0,s0} | {r0,s0}, cancel",
           {started({select({r(0), s(0)})}), started({select({r(0), s(0)})})}, cancel());
  list.add("select, same channel twice: {r0,r0,r1} | send0 send0, cancel",
           {started({select({r(0), r(0), r(1)})}), started({send(0), send(0)})}, cancel());
  list.add("select, third party: {r0,s1} | {r1,s2} | send0, cancel of the second",
           {started({select({r(0), s(1)})}), started({select({r(1), s(2)})}, 1), started({send(0)})}, {{1, 1}},
           {root, root});
  list.add("select, cycle of three: {s0,r1} | {s1,r2} | {s2,r0}",
           {started({select({s(0), r(1)})}), started({select({s(1), r(2)})}), started({select({s(2), r(0)})})});
  auto& full =
      list.add("select, buffered: {r0,r1} | send0 | send1, cancel",
               {started({select({r(0), r(1)})}), started({send(0)}, 1), started({send(1)}, 1)}, cancel(), {root, root});
  full.capacity[0] = full.capacity[1] = 1;
  list.add("select, then shield: {r0,r1} [{r0,r1}] | send0, cancel",
           {started({select({r(0), r(1)}), enter(1), select({r(0), r(1)}), leave(1)}), started({send(0)})}, cancel(),
           shielded);
  list.also_light();
  auto& then = list.add("select, then plain: {r0,r1} recv2 | send1, cancel",
                        {started({select({r(0), r(1)}), recv(2)}), started({send(1)})}, cancel());
  then.capacity[1] = 1;
  list.also_light();
  auto& mover = list.add("otherwise: {r0,r1} | a mover that keeps one ready",
                         {started({otherwise({r(0), r(1)})}), started({send(1), recv(0), send(0), recv(1)})});
  mover.capacity[0] = mover.capacity[1] = 1;
  mover.items[0] = 1;
  mover.always_ready = true;
}

inline void add_cases(configuration_list& list) {
  const std::vector<node_spec> timed{root, {timeout, 0, 0}};
  auto told = [&](std::string name, std::vector<program> goroutines, std::vector<raise_spec> cancellers,
                  std::vector<node_spec> nodes, bool light = true) {
    list.add(std::move(name), std::move(goroutines), std::move(cancellers), std::move(nodes)).told = true;
    if (light) list.also_light();
  };
  // A timer, or any timeout
  list.add("select, timeout: {r0,t} | send0, cancel", {started({select({r(0), tick()})}), started({send(0)}, 1)}, cancel(),
           {root, root});
  list.also_light();
  list.add("select, timer of two ticks: {r0,t} {t,r0} | t | send0",
           {started({select({r(0), tick()}), select({tick(), r(0)})}), started({sleep()}), started({send(0)})})
      .ticks = 2;
  auto& due = list.add("select, a timer that is due: {s0,t} | {r0,t}, cancel",
                       {started({select({s(0), tick()})}), started({select({r(0), tick()})})}, cancel());
  due.ticks = 1;
  list.also_light();
  // The end of a context: the own one, one above, one beside
  told("select, told: {r0,done} | send0, cancel",
       {started({select({r(0), done(0)})}), started({send(0)}, 1)}, cancel(), {root, root});
  told("select, told, kill: {done,s0} recv1 | {r0,done}, cancel, kill",
       {started({select({done(0), s(0)}), recv(1)}), started({select({r(0), done(0)})})}, cancel_and_kill(), {root});
  told("select, told from above: [{r0,done above}] recv1 | send0, cancel",
       {started({enter(1), select({r(0), done(0)}), leave(1), recv(1)}), started({send(0)}, 2)}, cancel(),
       {root, {scope, 0, 0}, root});
  told("select, told in a shield: [{r0,done above}] recv1 | send0, cancel",
       {started({enter(1), select({r(0), done(0)}), leave(1), recv(1)}), started({send(0)}, 2)}, cancel(),
       {root, {shield, 0, 0}, root}, false);
  list.add("select, told of its own timeout: [{r0,done of it}] recv1 | send0, cancel",
           {started({enter(1), select({r(0), done(1)}), leave(1), recv(1)}), started({send(0)}, 2)}, cancel(),
           {root, {timeout, 0, 0}, root});
  list.also_light();
  told("select, told of two: [{done of it,done}], cancel", {started({enter(1), select({done(1), done(0)}), leave(1)})},
       cancel(), timed);
  told("select, told from beside: {r0,done of 1} recv1, cancel of 1",
       {started({select({r(0), done(1)}), select({r(0), done(1), r(1)})})}, {{1, 1}}, {root, root});
  list.add("select, told from beside, cancel of both: {r0,done of 1}", {started({select({r(0), done(1)})})},
           {{1, 1}, {0, 1}}, {root, root});
  list.also_light();
  // A close
  list.add("close under a select: {s0,s1} | recv1, close of 0, cancel",
           {started({select({s(0), s(1)})}), started({recv(1)}, 1)}, cancel(), {root, root})
      .closers = {{0}};
  list.add("close under a select alone: {s0,s1}, close of 0", {started({select({s(0), s(1)})})}).closers = {{0}};
  list.add("close under two selects: {s0,r1} | {r0,s1}, close of 0, close of 1",
           {started({select({s(0), r(1)})}), started({select({r(0), s(1)})})})
      .closers = {{0}, {1}};
}

inline void add_operations(configuration_list& list) {
  const std::vector<node_spec> shielded{root, {shield, 0, 0}};
  list.add("asio: ends only when cancelled, cancel", {started({asio(0, true)})}, cancel());
  list.also_light();
  list.add("asio: two rounds, cancel, kill", {started({asio(1, true)})}, cancel_and_kill());
  list.also_light();
  list.add("asio: two operations, cancel", {started({asio(1), asio()})}, cancel());
  list.also_light();
  list.add("asio, then shield: asio [asio], cancel", {started({asio(), enter(1), asio(), leave(1)})}, cancel(),
           shielded);
  list.add("asio in with_timeout: [asio] recv, cancel", {started({enter(1), asio(0, true), leave(1), recv(0)})},
           cancel(), {root, {timeout, 0, 0}});
  list.add("asio, finally: asio, clean-up asio, cancel, kill", {started({asio(), cleanup(1), asio(0, true), leave(1)})},
           cancel_and_kill(), shielded);
  list.add("mix: recv0 {r0,r1} asio | send0 send0, cancel",
           {started({recv(0), select({r(0), r(1)}), asio()}), started({send(0), send(0)})}, cancel());
  list.also_light();
}

// Operations that a select starts, by itself or by way of a strand.
inline void add_started(configuration_list& list) {
  const std::vector<node_spec> timed{root, {timeout, 0, 0}};
  auto both = [&](const std::string& name, std::vector<program> goroutines, std::vector<raise_spec> cancellers = {},
                  std::vector<node_spec> nodes = {root}, bool only_when_asked = false, bool told = false) {
    for (bool strand : {false, true}) {
      auto& c = list.add(name + (strand ? ", strand" : ""), goroutines, cancellers, nodes);
      c.strand = strand;
      c.only_when_asked = only_when_asked;
      c.told = told;
    }
  };
  both("select starts: {io,r0} {io,r0} | send0, cancel",
       {started({select({io(), r(0)}), select({r(0), io()})}), started({send(0)}, 1)}, cancel(), {root, root});
  list.also_light();
  both("select starts: {io,r0} | send0, cancel, kill", {started({select({io(), r(0)})}), started({send(0)}, 1)},
       cancel_and_kill(), {root, root});
  both("select starts what ends only when asked: {io,r0} | send0, cancel",
       {started({select({io(), r(0)})}), started({send(0)}, 1)}, cancel(), {root, root}, true);
  both("select starts, told: {io,done} recv0, cancel", {started({select({io(), done(0)}), recv(0)})}, cancel(), {root},
       true, true);
  list.add("select starts in with_timeout: [{io,r0}] {io} | send0, cancel",
           {started({enter(1), select({io(), r(0)}), leave(1), select({io()})}), started({send(0)}, 2)}, cancel(),
           {root, {timeout, 0, 0}, root});
  both("select starts, then a select without: {io,r0} {r0,r1} | send0 send0, cancel",
       {started({select({io(), r(0)}), select({r(0), r(1)})}), started({send(0), send(0)}, 1)}, cancel(), {root, root});
  both("loop: {io,r0} {r0,r1} {io,r0} end | send0 send0, cancel",
       {started({round({io(), r(0)}), select({r(0), r(1)}), round({io(), r(0)}), end_started()}),
        started({send(0), send(0)}, 1)},
       cancel(), {root, root});
  both("loop: {io,r0} {io,r0} {io} end | send0", {started({round({io(), r(0)}), round({io(), r(0)}), round({io()}),
                                                           end_started()}),
                                                  started({send(0)}, 1)},
       {}, {root, root});
  both("loop that ends only when asked: {io,r0} {io,r0} end | send0 send0, cancel",
       {started({round({io(), r(0)}), round({io(), r(0)}), end_started()}), started({send(0), send(0)}, 1)}, cancel(),
       {root, root}, true);
}

inline std::vector<configuration> base_configurations() {
  configuration_list list;
  add_plain(list);
  add_nodes(list);
  add_groups(list);
  add_selects(list);
  add_cases(list);
  add_operations(list);
  add_started(list);
  return list.take();
}

}  // namespace runnel::model
