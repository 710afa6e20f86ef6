// Maximum pooling of [N, H, W, C] and its gradient: each image by one thread.
//
// The first of equal maxima, in row-major order, is the maximum; NaN is greater than everything.

#include <algorithm>
#include <limits>

#include "kernel.h"

namespace nnjax {
namespace {

struct Geometry {
  int64_t height, width, channels;  // of x
  int64_t rows, columns;            // of y
  int64_t window[2], strides[2], low[2];
};

// The taps of a window that lie inside of the image.
struct Window {
  int64_t top, bottom, left, right;
};

NNJAX_INLINE Window Place(const Geometry& g, int64_t row, int64_t column) {
  const int64_t top = row * g.strides[0] - g.low[0], left = column * g.strides[1] - g.low[1];
  return {std::max<int64_t>(top, 0), std::min(top + g.window[0], g.height),
          std::max<int64_t>(left, 0), std::min(left + g.window[1], g.width)};
}

// One image's y; best holds the maxima of a window, [C].
template <typename T>
NNJAX_INLINE void Maximum(const Geometry& g, const T* x, T* y, float* __restrict best) {
  const int64_t n = g.channels;
  for (int64_t at = 0; at < g.rows * g.columns; ++at, y += n) {
    const Window w = Place(g, at / g.columns, at % g.columns);
    std::fill_n(best, n, -std::numeric_limits<float>::infinity());
    for (int64_t i = w.top; i < w.bottom; ++i) {
      for (int64_t j = w.left; j < w.right; ++j) {
        const T* const tap = x + (i * g.width + j) * n;
#pragma GCC ivdep
        for (int64_t c = 0; c < n; ++c) {
          const float value = Load(tap[c]);
          best[c] = value > best[c] || value != value ? value : best[c];
        }
      }
    }
#pragma GCC ivdep
    for (int64_t c = 0; c < n; ++c) y[c] = Store<T>(best[c]);
  }
}

// One image's dx, float: dy of a window goes to where its maximum was; spare holds two rows of C.
template <typename T>
NNJAX_INLINE void Spread(const Geometry& g, const T* x, const T* dy, float* __restrict dx,
                         float* __restrict spare) {
  const int64_t n = g.channels;
  float* __restrict const best = spare;
  int32_t* __restrict const place = reinterpret_cast<int32_t*>(spare + n);
  std::fill_n(dx, g.height * g.width * n, 0.0f);
  for (int64_t at = 0; at < g.rows * g.columns; ++at, dy += n) {
    const Window w = Place(g, at / g.columns, at % g.columns);
    std::fill_n(best, n, -std::numeric_limits<float>::infinity());
    std::fill_n(place, n, 0);
    int32_t tap = 0;
    for (int64_t i = w.top; i < w.bottom; ++i) {
      for (int64_t j = w.left; j < w.right; ++j, ++tap) {
        const T* const from = x + (i * g.width + j) * n;
#pragma GCC ivdep
        for (int64_t c = 0; c < n; ++c) {
          const float value = Load(from[c]), before = best[c];
          const bool better = value > before || (value != value && before == before);
          best[c] = better ? value : before;
          place[c] = better ? tap : place[c];
        }
      }
    }
    tap = 0;
    for (int64_t i = w.top; i < w.bottom; ++i) {
      for (int64_t j = w.left; j < w.right; ++j, ++tap) {
        float* const into = dx + (i * g.width + j) * n;
#pragma GCC ivdep
        for (int64_t c = 0; c < n; ++c) into[c] += place[c] == tap ? Load(dy[c]) : 0.0f;
      }
    }
  }
}

NNJAX_VECTOR void MaximumOf(const Geometry& g, const float* x, float* y, float* spare) {
  Maximum(g, x, y, spare);
}
NNJAX_VECTOR void MaximumOf(const Geometry& g, const uint16_t* x, uint16_t* y, float* spare) {
  Maximum(g, x, y, spare);
}
NNJAX_VECTOR void SpreadOf(const Geometry& g, const float* x, const float* dy, float* dx,
                           float* spare) {
  Spread(g, x, dy, dx, spare);
}
NNJAX_VECTOR void SpreadOf(const Geometry& g, const uint16_t* x, const uint16_t* dy, float* dx,
                           float* spare) {
  Spread(g, x, dy, dx, spare);
}

// Calls work(first image, its end, memory for two rows of C) for each piece of the batch.
template <typename Work>
void EachPiece(ffi::ThreadPool& pool, int64_t pieces, const Geometry& g, int64_t images,
               const ffi::AnyBuffer& scratch, const Work& work) {
  const int64_t length = 2 * g.channels, share = (images + pieces - 1) / pieces;
  CheckScratch(pieces * length * sizeof(float), scratch);
  float* const memory = Floats(scratch);
  Parallel(pool, pieces, [&](int64_t piece) {
    work(std::min(piece * share, images), std::min((piece + 1) * share, images), memory + piece * length);
  });
}

using Pair = ffi::Span<const int64_t>;

Geometry Shape(const ffi::AnyBuffer& x, const ffi::AnyBuffer& y, Pair window, Pair strides, Pair low) {
  const auto from = x.dimensions(), to = y.dimensions();
  return {from[1], from[2], from[3], to[1], to[2], {window[0], window[1]},
          {strides[0], strides[1]}, {low[0], low[1]}};
}

// x [N, H, W, C] -> y [N, H', W', C]
ffi::Error HandleMaximum(ffi::ThreadPool pool, int64_t pieces, Pair window, Pair strides, Pair low,
                         ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y,
                         ffi::Result<ffi::AnyBuffer> scratch) {
  return Guard("maximum pool", x, *y, [&] {
    const Geometry g = Shape(x, *y, window, strides, low);
    const int64_t in = g.height * g.width * g.channels, out = g.rows * g.columns * g.channels;
    ByType(x, [&](auto from) {
      auto* const to = reinterpret_cast<std::remove_const_t<std::remove_pointer_t<decltype(from)>>*>(
          y->untyped_data());
      EachPiece(pool, pieces, g, x.dimensions()[0], *scratch,
                [&](int64_t first, int64_t end, float* spare) {
                  for (int64_t i = first; i < end; ++i) {
                    MaximumOf(g, from + i * in, to + i * out, spare);
                  }
                });
    });
  });
}

// x [N, H, W, C], dy [N, H', W', C] -> dx [N, H, W, C], float
ffi::Error HandleSpread(ffi::ThreadPool pool, int64_t pieces, Pair window, Pair strides, Pair low,
                        ffi::AnyBuffer x, ffi::AnyBuffer dy, ffi::Result<ffi::AnyBuffer> dx,
                        ffi::Result<ffi::AnyBuffer> scratch) {
  return Guard("gradient of a maximum pool", x, dy, [&] {
    const Geometry g = Shape(x, dy, window, strides, low);
    const int64_t in = g.height * g.width * g.channels, out = g.rows * g.columns * g.channels;
    float* const into = Floats(*dx);
    ByType(x, [&](auto from) {
      const auto gradient = static_cast<decltype(from)>(dy.untyped_data());
      EachPiece(pool, pieces, g, x.dimensions()[0], *scratch,
                [&](int64_t first, int64_t end, float* spare) {
                  for (int64_t i = first; i < end; ++i) {
                    SpreadOf(g, from + i * in, gradient + i * out, into + i * in, spare);
                  }
                });
    });
  });
}

}  // namespace

using Any = ffi::AnyBuffer;
#define NNJAX_POOL ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("pieces") \
    .Attr<Pair>("window").Attr<Pair>("strides").Attr<Pair>("low").Arg<Any>()

XLA_FFI_DEFINE_HANDLER_SYMBOL(PoolMaximum, HandleMaximum, NNJAX_POOL.Ret<Any>().Ret<Any>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(PoolSpread, HandleSpread, NNJAX_POOL.Arg<Any>().Ret<Any>().Ret<Any>());

}  // namespace nnjax
