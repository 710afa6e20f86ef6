// What the kernels on oneDNN share: its engine, a bounded cache of primitives, scratch memory.
//
// oneDNN would bring a second pool of threads (OpenMP) beside XLA's, and on a busy machine the two
// fight. So every piece of a kernel's work calls oneDNN with a single thread.

#pragma once

#include <algorithm>
#include <list>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dnnl.hpp"
#include "kernel.h"

namespace nnjax {

using Lengths = dnnl::memory::dims;
using Description = dnnl::memory::desc;  // shape, type and layout of a piece of memory
using Arguments = std::unordered_map<int, dnnl::memory>;
using Key = std::vector<int64_t>;
using NumberType = dnnl::memory::data_type;

enum Operand { kX, kW, kY };  // of a convolution; also names the operation: which it computes

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

// A part of a call's scratch memory, which XLA gives as one more result.
struct Region {
  int64_t offset = 0, bytes = 0;
};

// Room for so many bytes behind the first `total`, on a cache line of its own.
inline Region Take(int64_t& total, int64_t bytes) {
  const Region region{total, bytes};
  total += (bytes + 63) / 64 * 64;
  return region;
}

inline Region Take(int64_t& total, const Description& description) {
  return Take(total, static_cast<int64_t>(description.get_size()));
}

inline dnnl::memory Memory(const Description& description, void* data) {
  return dnnl::memory(description, Engine(), data);
}

// A part of a tensor's change of layout, as much of it as one thread makes.
struct Change {
  dnnl::reorder reorder;
  Description from, to;
};

// A change of layout, cut along the first axis for so many threads if it is worth one more.
inline std::vector<Change> Changes(const Description& from, const Description& to, int64_t threads) {
  constexpr int64_t kBlock = 64;  // no layout of oneDNN's has longer blocks
  const dnnl::memory::dims whole = from.get_dims();
  const int64_t blocks = from.get_size() < (1 << 18) ? 1 : whole[0] / kBlock;
  const int64_t parts = std::max<int64_t>(1, std::min(threads, blocks));
  if (parts == 1) return {{dnnl::reorder({Engine(), from, Engine(), to}), from, to}};
  std::vector<Change> changes;
  for (int64_t part = 0; part < parts; ++part) {
    dnnl::memory::dims first(whole.size()), lengths = whole;
    first[0] = blocks * part / parts * kBlock;
    lengths[0] = (part + 1 < parts ? blocks * (part + 1) / parts * kBlock : whole[0]) - first[0];
    const Description a = from.submemory_desc(lengths, first), b = to.submemory_desc(lengths, first);
    changes.push_back({dnnl::reorder({Engine(), a, Engine(), b}), a, b});
  }
  return changes;
}

inline void Make(const std::vector<Change>& changes, void* from, void* to, ffi::ThreadPool& pool) {
  Parallel(pool, changes.size(), [&](int64_t number) {
    const Change& part = changes[number];
    Execute(part.reorder, {{DNNL_ARG_FROM, Memory(part.from, from)},
                           {DNNL_ARG_TO, Memory(part.to, to)}});
  });
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

}  // namespace nnjax
