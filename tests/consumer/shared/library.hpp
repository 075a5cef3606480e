// SPDX-License-Identifier: BSL-1.0
// tests/consumer/shared/library.hpp: what each of the two shared objects offers, in a namespace of its own.
#pragma once

#include <runnel.hpp>

#include <exception>
#include <string>
#include <utility>
#include <vector>

#define EXPORTED __attribute__((visibility("default")))

namespace rn = runnel;

// A key that several shared objects look up is visible, as any type is that they are to agree on.
struct EXPORTED request_key {
  using type = std::string;
};

#define LIBRARY(NAME)                                                                              \
  namespace NAME {                                                                                 \
  /* Where this shared object finds what must be one in a program. */                              \
  EXPORTED std::vector<std::pair<const char*, const void*>> addresses();                           \
  EXPORTED const void* here(); /* the thread's processor, as it finds it */                         \
  EXPORTED void start_counting(rn::chan<int> out, int to);     /* a goroutine of this object's */  \
  EXPORTED rn::task<int> sum(rn::chan<int> in);                                                    \
  EXPORTED rn::task<> wait_for_ever();                                                             \
  EXPORTED rn::task<std::string> request();                    /* the value of the context */      \
  EXPORTED rn::context with_request(std::string name);                                             \
  EXPORTED rn::task<> fails(int how);                                                              \
  EXPORTED int recognises(std::exception_ptr error);           /* how, of what fails() threw */    \
  EXPORTED rn::task<int> through_a_child(rn::chan<int> in);    /* of an all, which parks */        \
  }

LIBRARY(first)
LIBRARY(second)
