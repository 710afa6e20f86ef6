// What the kernels share: oneDNN's engine, a bounded cache of primitives, work on XLA's own threads.
//
// oneDNN would bring a second pool of threads (OpenMP) beside XLA's, and on a busy machine the two
// fight. So a kernel cuts its work into pieces, one for each thread of XLA's pool, and every piece
// calls oneDNN with a single thread. The cut depends on the shapes and the number of threads alone,
// so results repeat bit by bit.

#pragma once

#include <omp.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace nnjax {

namespace ffi = xla::ffi;
using Description = dnnl::memory::desc;  // shape, type and layout of a piece of memory
using Arguments = std::unordered_map<int, dnnl::memory>;
using Key = std::vector<int64_t>;
using NumberType = dnnl::memory::data_type;

inline const dnnl::engine& Engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// Runs a primitive on this thread, and no other, to its end.
inline void Execute(const dnnl::primitive& primitive, const Arguments& arguments) {
  thread_local dnnl::stream stream(Engine());
  primitive.execute(stream, arguments);
  stream.wait();
}

// While it lives, oneDNN on this thread plans for one thread and uses one.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
};

// The most recently used values by key. A lookup holds the lock, what it returns does not.
template <typename Value>
class Cache {
 public:
  template <typename Make>
  std::shared_ptr<const Value> Get(const Key& key, Make make) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (auto found = places_.find(key); found != places_.end()) {
        entries_.splice(entries_.begin(), entries_, found->second);
        return entries_.front().second;
      }
    }
    std::shared_ptr<const Value> value = make();  // twice if two threads ask at once: harmless
    std::lock_guard<std::mutex> lock(mutex_);
    entries_.emplace_front(key, value);
    places_[key] = entries_.begin();
    if (entries_.size() > kLimit) {
      auto last = std::prev(entries_.end());
      if (places_[last->first] == last) places_.erase(last->first);
      entries_.pop_back();
    }
    return value;
  }

 private:
  static constexpr size_t kLimit = 1024;
  using Entries = std::list<std::pair<Key, std::shared_ptr<const Value>>>;
  std::mutex mutex_;
  Entries entries_;
  std::map<Key, typename Entries::iterator> places_;
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

// A part of a call's scratch memory, which XLA gives as one more result.
struct Region {
  int64_t offset = 0, bytes = 0;
};

// Room for a piece of memory behind the first `total` bytes, on a cache line of its own.
inline Region Take(int64_t& total, const Description& description) {
  const Region region{total, static_cast<int64_t>(description.get_size())};
  total += (region.bytes + 63) / 64 * 64;
  return region;
}

inline void CheckScratch(int64_t wanted, const ffi::AnyBuffer& scratch) {
  if (static_cast<int64_t>(scratch.size_bytes()) < wanted) {
    throw std::runtime_error("compiled for another machine or oneDNN: empty the compilation cache");
  }
}

inline dnnl::memory Memory(const Description& description, void* data) {
  return dnnl::memory(description, Engine(), data);
}

// One more layout of the same numbers.
inline void Reorder(const dnnl::memory& from, const dnnl::memory& to) {
  Execute(dnnl::reorder(from, to), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

inline NumberType Type(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::F32:
      return NumberType::f32;
    case ffi::DataType::BF16:
      return NumberType::bf16;
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
