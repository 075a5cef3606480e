// SPDX-License-Identifier: BSL-1.0
// runnel/detail/chooser.hpp: the seams of the scheduler: who decides what runs next, and who watches what runs.
// Layer: L1
#pragma once

#include <runnel/detail/intrusive_list.hpp>
#include <runnel/detail/processor.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace runnel::detail {

// Decides whatever the scheduler leaves open, in place of its own order and of chance. With one processor only.
class chooser {
 public:
  // Which of n runnable items is next: run_next, then the fork-join children, newest first, then the goroutines, oldest
  // first. n: none of them for now; the pump ends, and help() starts it again.
  virtual std::size_t choose(std::size_t n) noexcept = 0;
  // Which of n equals somebody takes who must be fair and would throw dice: a select.
  virtual std::size_t draw(std::size_t) noexcept { return 0; }
  // So many goroutines have come from threads that do not pump this scheduler.
  virtual void injected(std::size_t) noexcept {}

 protected:
  ~chooser() = default;
};

// Hears of goroutines that did not come by a run queue.
class run_observer {
 public:
  // A fork-join child, which runs here, has become a goroutine.
  virtual void promoted(list_link& child, fifo_link& g) noexcept = 0;

 protected:
  ~run_observer() = default;
};

// Takes what the chooser names out of p's queues, and leaves the others in their order.
inline runnable_item take_chosen(processor& p, chooser& c) noexcept {
  std::size_t next = p.run_next ? 1 : 0, children = p.child_count.load(std::memory_order_relaxed);
  std::size_t n = next + children + p.goroutines.size();
  std::size_t pick = n == 0 ? 0 : c.choose(n);
  if (pick >= n) return {};
  if (pick < next) return {.goroutine = p.clear_next()};
  pick -= next;
  if (pick < children) {
    list_link* child = p.children.back();
    while (pick-- > 0) child = child->prev;
    unlink(child);
    p.child_count.store(static_cast<std::uint32_t>(children - 1), std::memory_order_relaxed);
    return {.child = child};
  }
  fifo older = p.take_goroutines(pick - children);
  fifo_link* g = p.pop_goroutine();
  older.append(p.goroutines);
  p.append_goroutines(older);
  return {.goroutine = g};
}

}  // namespace runnel::detail
