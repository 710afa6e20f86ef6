// The sums over the rows of [rows, channels] that batch normalisation needs, forward and backward.
//
// Both read memory once, a block of rows at a time, which stays in the nearest cache for what is
// done to it. Rows are cut into pieces, one for a thread each.

#include <algorithm>

#include "kernel.h"

namespace nnjax {
namespace {

constexpr int64_t kBlock = 8192;  // numbers, 32 kB
constexpr int64_t kTogether = 4;  // rows: fewer trips of a sum to memory and back

struct Block {
  int64_t rows, channels;
};

// sum[c] = the sum over rows of value(row, c); `value` is inlined.
template <typename Value>
NNJAX_INLINE void SumRows(const Block& block, float* __restrict sum, const Value& value) {
  int64_t row = 0;
  std::fill_n(sum, block.channels, 0.0f);
  for (; row + kTogether <= block.rows; row += kTogether) {
#pragma GCC ivdep  // what `value` reads is not what is written here
    for (int64_t c = 0; c < block.channels; ++c) {
      sum[c] += (value(row, c) + value(row + 1, c)) + (value(row + 2, c) + value(row + 3, c));
    }
  }
  for (; row < block.rows; ++row) {
#pragma GCC ivdep
    for (int64_t c = 0; c < block.channels; ++c) sum[c] += value(row, c);
  }
}

// mean and m2, the sum of squared differences from it, of two sets of rows become those of both
// (Chan, Golub and LeVeque, 1983). The first set has `before` rows and takes the result.
NNJAX_INLINE void Merge(int64_t channels, float before, float more, float* __restrict mean,
                        float* __restrict m2, const float* __restrict more_mean,
                        const float* __restrict more_m2) {
  const float share = more / (before + more);
  for (int64_t c = 0; c < channels; ++c) {
    const float difference = more_mean[c] - mean[c];
    mean[c] += difference * share;
    m2[c] += more_m2[c] + difference * difference * before * share;
  }
}

// Adds a block to mean and m2, which hold those of `before` rows; spare holds two rows.
template <typename T>
NNJAX_INLINE void Moments(const Block& block, int64_t before, const T* x, float* mean, float* m2,
                          float* spare) {
  const int64_t n = block.channels;
  float *const own = spare, *const squares = spare + n;
  SumRows(block, own, [=](int64_t row, int64_t c) { return Load(x[row * n + c]); });
  for (int64_t c = 0; c < n; ++c) own[c] /= block.rows;
  SumRows(block, squares, [=](int64_t row, int64_t c) {
    const float difference = Load(x[row * n + c]) - own[c];
    return difference * difference;
  });
  Merge(n, before, block.rows, mean, m2, own, squares);
}

// What the gradient's sums read besides its operands, one value a channel.
struct Line {
  const float *mean, *gain, *bias;
};

// Adds a block's sums of g and of g (x - mean) to plain and centred; spare holds two rows.
template <bool relu, typename T>
NNJAX_INLINE void Sums(const Block& block, const T* dy, const T* x, const Line& line, float* plain,
                       float* centred, float* spare) {
  const int64_t n = block.channels;
  const float *const mean = line.mean, *const gain = line.gain, *const bias = line.bias;
  auto g = [=](int64_t row, int64_t c) {
    const float value = Load(dy[row * n + c]);
    if (!relu) return value;
    return (Load(x[row * n + c]) - mean[c]) * gain[c] + bias[c] > 0.0f ? value : 0.0f;
  };
  SumRows(block, spare, g);
  SumRows(block, spare + n, [=](int64_t row, int64_t c) {
    return g(row, c) * (Load(x[row * n + c]) - mean[c]);
  });
  for (int64_t c = 0; c < n; ++c) {
    plain[c] += spare[c];
    centred[c] += spare[n + c];
  }
}

using Bits = const uint16_t*;
using Reals = const float*;

NNJAX_VECTOR void MomentsOf(Block b, int64_t before, Reals x, float* mean, float* m2, float* spare) {
  Moments(b, before, x, mean, m2, spare);
}
NNJAX_VECTOR void MomentsOf(Block b, int64_t before, Bits x, float* mean, float* m2, float* spare) {
  Moments(b, before, x, mean, m2, spare);
}
NNJAX_VECTOR void SumsOf(Block b, Reals dy, Reals x, Line line, bool relu, float* plain,
                         float* centred, float* spare) {
  if (relu) return Sums<true>(b, dy, x, line, plain, centred, spare);
  Sums<false>(b, dy, x, line, plain, centred, spare);
}
NNJAX_VECTOR void SumsOf(Block b, Bits dy, Bits x, Line line, bool relu, float* plain,
                         float* centred, float* spare) {
  if (relu) return Sums<true>(b, dy, x, line, plain, centred, spare);
  Sums<false>(b, dy, x, line, plain, centred, spare);
}

// Cuts the rows of x into pieces of blocks and calls add(first row, block, rows before in this piece,
// two sums, spare). Afterwards join(piece's rows, rows before, its two sums) for one after another.
template <typename Add, typename Join>
void EachBlock(ffi::ThreadPool& pool, int64_t pieces, const ffi::AnyBuffer& x,
               ffi::Result<ffi::AnyBuffer>& scratch, const Add& add, const Join& join) {
  const int64_t channels = x.dimensions().back(), all = x.element_count() / channels;
  const int64_t rows = (all + pieces - 1) / pieces, length = 4 * channels;
  const int64_t step = std::max(kTogether, kBlock / channels);
  CheckScratch(pieces * length * sizeof(float), *scratch);
  float* const memory = Floats(*scratch);
  std::fill_n(memory, pieces * length, 0.0f);
  Parallel(pool, pieces, [&](int64_t piece) {
    float* const own = memory + piece * length;
    const int64_t first = piece * rows, end = std::min(all, first + rows);
    for (int64_t row = first; row < end; row += step) {
      const Block block{std::min(step, end - row), channels};
      add(row, block, row - first, own, own + channels, own + 2 * channels);
    }
  });
  for (int64_t piece = 0; piece < pieces && piece * rows < all; ++piece) {
    const int64_t count = std::min(rows, all - piece * rows);
    join(count, piece * rows, memory + piece * length, memory + piece * length + channels);
  }
}

// x [..., C] -> mean [C], variance [C]
ffi::Error HandleMoments(ffi::ThreadPool pool, int64_t pieces, ffi::AnyBuffer x,
                         ffi::Result<ffi::AnyBuffer> mean, ffi::Result<ffi::AnyBuffer> variance,
                         ffi::Result<ffi::AnyBuffer> scratch) {
  return Guard("moments", x, x, [&] {
    const int64_t channels = x.dimensions().back(), rows = x.element_count() / channels;
    std::fill_n(Floats(*mean), channels, 0.0f);
    std::fill_n(Floats(*variance), channels, 0.0f);
    ByType(x, [&](auto data) {
      EachBlock(
          pool, pieces, x, scratch,
          [&](int64_t row, Block block, int64_t before, float* m, float* m2, float* spare) {
            MomentsOf(block, before, data + row * channels, m, m2, spare);
          },
          [&](int64_t count, int64_t before, float* m, float* m2) {
            Merge(channels, before, count, Floats(*mean), Floats(*variance), m, m2);
          });
    });
    for (int64_t c = 0; c < channels; ++c) Floats(*variance)[c] /= rows;
  });
}

// dy, x [..., C], mean, gain, bias [C] -> the sums of g and of g (x - mean) [C]
ffi::Error HandleSums(ffi::ThreadPool pool, int64_t pieces, int64_t relu, ffi::AnyBuffer dy,
                      ffi::AnyBuffer x, ffi::AnyBuffer mean, ffi::AnyBuffer gain,
                      ffi::AnyBuffer bias, ffi::Result<ffi::AnyBuffer> plain,
                      ffi::Result<ffi::AnyBuffer> centred, ffi::Result<ffi::AnyBuffer> scratch) {
  return Guard("sums of a gradient", dy, x, [&] {
    const int64_t channels = x.dimensions().back();
    const Line line{Floats(mean), Floats(gain), Floats(bias)};
    std::fill_n(Floats(*plain), channels, 0.0f);
    std::fill_n(Floats(*centred), channels, 0.0f);
    ByType(x, [&](auto data) {
      const auto gradient = static_cast<decltype(data)>(dy.untyped_data());
      EachBlock(
          pool, pieces, x, scratch,
          [&](int64_t row, Block block, int64_t, float* one, float* two, float* spare) {
            SumsOf(block, gradient + row * channels, data + row * channels, line, relu, one, two,
                   spare);
          },
          [&](int64_t, int64_t, float* one, float* two) {
            for (int64_t c = 0; c < channels; ++c) {
              Floats(*plain)[c] += one[c];
              Floats(*centred)[c] += two[c];
            }
          });
    });
  });
}

}  // namespace

using Any = ffi::AnyBuffer;

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    ColumnMoments, HandleMoments,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("pieces").Arg<Any>().Ret<Any>().Ret<Any>()
        .Ret<Any>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    ColumnSums, HandleSums,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("pieces").Attr<int64_t>("relu").Arg<Any>()
        .Arg<Any>().Arg<Any>().Arg<Any>().Arg<Any>().Ret<Any>().Ret<Any>().Ret<Any>());

}  // namespace nnjax
