// SPDX-License-Identifier: BSL-1.0
// runnel/config.hpp: what the library needs to know about the build, the platform and the processor
// Layer: L0
#pragma once

#include <cstddef>

#if !defined(__GNUC__)
#error "runnel is written for g++ and clang: no other compiler's coroutines have been checked"
#endif
#if !defined(__cpp_impl_coroutine)
#error "runnel needs C++20 coroutines: compile with -std=c++20 or later"
#endif

/// 1 for g++ itself. clang also defines __GNUC__, so nobody else tests for that.
#if defined(__clang__)
#define RUNNEL_GCC 0
#else
#define RUNNEL_GCC 1
#endif

/// 1 when the translation unit is built with the sanitizer. g++ defines a macro, clang answers a question,
/// and `__has_feature` must not be seen by a preprocessor that does not know it. UBSan announces itself on
/// neither.
#if defined(__SANITIZE_THREAD__)
#define RUNNEL_TSAN 1
#endif
#if defined(__SANITIZE_ADDRESS__)
#define RUNNEL_ASAN 1
#endif
#if defined(__has_feature)
#if !defined(RUNNEL_TSAN) && __has_feature(thread_sanitizer)
#define RUNNEL_TSAN 1
#endif
#if !defined(RUNNEL_ASAN) && __has_feature(address_sanitizer)
#define RUNNEL_ASAN 1
#endif
#endif
#if !defined(RUNNEL_TSAN)
#define RUNNEL_TSAN 0
#endif
#if !defined(RUNNEL_ASAN)
#define RUNNEL_ASAN 0
#endif

/// For what must be one object in a whole program, whatever the visibility that its shared objects are built with:
/// state that is shared, what is compared by address, exceptions. Stands before a declaration of a variable or function
/// (whose static locals are meant), and behind `class`.
#define RUNNEL_SHARED [[gnu::visibility("default")]]

/// Keeps a slow path, or a read of a thread-local (compiler.hpp, hazard 3), out of its caller.
#define RUNNEL_NOINLINE [[gnu::noinline]]

/// For functions of a few instructions on a measured hot path. Never on an await_suspend (compiler.hpp,
/// hazard 4).
#define RUNNEL_ALWAYS_INLINE [[gnu::always_inline]] inline

/// For a parameter that the result refers to: clang warns where the argument dies too early.
#if defined(__clang__)
#define RUNNEL_LIFETIMEBOUND [[clang::lifetimebound]]
#else
#define RUNNEL_LIFETIMEBOUND
#endif

/// 1 when membarrier(2) can stand for the expensive half of an asymmetric fence. ThreadSanitizer cannot see
/// the ordering that a system call gives, so under it both halves are ordinary fences.
#if !defined(RUNNEL_HAS_MEMBARRIER)
#if defined(__linux__) && !RUNNEL_TSAN && __has_include(<linux/membarrier.h>)
#define RUNNEL_HAS_MEMBARRIER 1
#else
#define RUNNEL_HAS_MEMBARRIER 0
#endif
#endif

/// 1 when a coroutine handle returned from await_suspend is resumed by a call that grows the stack, so that
/// the resume loop must do it instead (compiler.hpp, hazard 2). All translation units of a program must agree
/// on it. g++ announces neither -O1, -Og nor -fno-optimize-sibling-calls, which need it too: define it to 1
/// for those.
#if !defined(RUNNEL_TRAMPOLINE)
#if RUNNEL_GCC && (!defined(__OPTIMIZE__) || RUNNEL_ASAN || RUNNEL_TSAN)
#define RUNNEL_TRAMPOLINE 1
#else
#define RUNNEL_TRAMPOLINE 0
#endif
#endif

/// 1 lets async_trace tell the way of an exception. Each frame is 8 bytes larger then, and each exception that leaves a
/// coroutine is noted under a lock. All translation units of a program must agree on it.
#if !defined(RUNNEL_ASYNC_TRACES)
#define RUNNEL_ASYNC_TRACES 0
#endif

/// 1 leaves the scheduler on an Asio pool to one translation unit of the program, which includes runnel/src.hpp.
#if !defined(RUNNEL_SEPARATE_COMPILATION)
#define RUNNEL_SEPARATE_COMPILATION 0
#endif

namespace runnel {

/// The unit in which a processor moves memory. What is used together stays within one. A constant of our own:
/// std::hardware_destructive_interference_size follows -mtune, so it may differ between translation units.
inline constexpr std::size_t cache_line = 64;

/// How far apart what different threads write must lie. x86 fetches lines in adjacent pairs, Apple's arm64
/// has lines of 128 bytes: both need two of ours.
#if defined(__x86_64__) || defined(__i386__) || (defined(__APPLE__) && defined(__aarch64__))
inline constexpr std::size_t destructive_interference = 2 * cache_line;
#else
inline constexpr std::size_t destructive_interference = cache_line;
#endif

/// Tells the processor that this is a spin loop: cheaper for the sibling hyper-thread, and for leaving the
/// loop.
RUNNEL_ALWAYS_INLINE void cpu_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // `yield` does nothing on most cores; isb waits about as long as pause
#elif defined(__powerpc__)
  asm volatile("or 27,27,27" ::: "memory");
#else
  asm volatile("" ::: "memory");
#endif
}

}  // namespace runnel
