// What every kernel shares: work on XLA's own threads, vector code, errors.
//
// A kernel cuts its work into pieces, one for each thread of XLA's pool. The cut depends on the
// shapes and the number of threads alone, so results repeat bit by bit.

#pragma once

#include <omp.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "xla/ffi/api/ffi.h"

// One function for each generation of processors; the loader picks. What such a function calls must
// be NNJAX_INLINE to become part of each.
#define NNJAX_VECTOR \
  static __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define NNJAX_INLINE inline __attribute__((always_inline))

namespace nnjax {

namespace ffi = xla::ffi;

// Numbers as they lie in memory: float, or the upper half of one, a bfloat16.
NNJAX_INLINE float Load(float value) { return value; }
NNJAX_INLINE float Load(uint16_t upper) {
  const uint32_t bits = static_cast<uint32_t>(upper) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float* Floats(const ffi::AnyBuffer& buffer) {
  return static_cast<float*>(buffer.untyped_data());
}

template <typename T>
NNJAX_INLINE T Store(float value);  // exact: the value came from a T
template <>
NNJAX_INLINE float Store(float value) { return value; }
template <>
NNJAX_INLINE uint16_t Store(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits >> 16;
}

// While it lives, oneDNN on this thread plans for one thread and uses one.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
};

// Runs work(0) ... work(count - 1) on the caller's thread and XLA's pool; rethrows what they throw.
//
// The caller takes pieces too, and waits only for those that another thread has begun: handlers
// that fill the whole pool cannot wait for one another.
template <typename Work>
void Parallel(ffi::ThreadPool& pool, int64_t count, const Work& work) {
  struct State {
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> done{0};
    std::exception_ptr error;
    std::mutex mutex;
    std::condition_variable all_done;
  };
  auto state = std::make_shared<State>();
  // `work` is the caller's: touched only between taking a piece and reporting it done.
  auto help = [state, count, &work] {
    OneThread one;
    for (int64_t piece; (piece = state->next++) < count;) {
      std::exception_ptr error;
      try {
        work(piece);
      } catch (...) {
        error = std::current_exception();
      }
      std::lock_guard<std::mutex> lock(state->mutex);
      if (error) state->error = error;
      if (++state->done == count) state->all_done.notify_one();
    }
  };
  for (int64_t helper = 1; helper < count; ++helper) {
    auto copy = help;
    pool.Schedule(std::move(copy));
  }
  help();
  // The others end at about the same time: waking up would take longer than a short spin.
  for (int spins = 0; spins < 4000 && state->done < count; ++spins) __builtin_ia32_pause();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->all_done.wait(lock, [&] { return state->done == count; });
  if (state->error) std::rethrow_exception(state->error);
}

// parts[0] += all other parts, in their order.
inline void AddUp(const std::vector<float*>& parts, int64_t numbers, ffi::ThreadPool& pool) {
  const int64_t threads = parts.size();
  Parallel(pool, threads, [&](int64_t thread) {
    const int64_t first = numbers * thread / threads, last = numbers * (thread + 1) / threads;
    for (int64_t part = 1; part < threads; ++part) {
      for (int64_t i = first; i < last; ++i) parts[0][i] += parts[part][i];
    }
  });
}

inline void CheckScratch(int64_t wanted, const ffi::AnyBuffer& scratch) {
  if (static_cast<int64_t>(scratch.size_bytes()) < wanted) {
    throw std::runtime_error("compiled for another machine or oneDNN: empty the compilation cache");
  }
}

// work(the numbers of x), by their type.
template <typename Work>
void ByType(const ffi::AnyBuffer& x, const Work& work) {
  switch (x.element_type()) {
    case ffi::DataType::F32:
      return work(static_cast<const float*>(x.untyped_data()));
    case ffi::DataType::BF16:
      return work(static_cast<const uint16_t*>(x.untyped_data()));
    default:
      throw std::runtime_error("expected float32 or bfloat16");
  }
}

inline std::string Text(ffi::Span<const int64_t> shape) {
  std::string text;
  for (int64_t length : shape) text += (text.empty() ? "[" : ", ") + std::to_string(length);
  return text.empty() ? "[]" : text + "]";
}

// Runs a kernel; what it throws becomes an error of JAX that names the shapes.
template <typename Kernel>
ffi::Error Guard(const char* name, const ffi::AnyBuffer& a, const ffi::AnyBuffer& b,
                 const Kernel& kernel) {
  try {
    kernel();
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string(name) + " of " + Text(a.dimensions()) + " and " +
                                Text(b.dimensions()) + ": " + error.what());
  }
}

}  // namespace nnjax
