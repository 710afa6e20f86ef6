// The power of frames of sound in bands of frequency: window, Fourier transform, filters.
//
// Sixteen frames go side by side, as structure of arrays: a number of each, then the next number of
// each. So every step of the transform is the same arithmetic on whole vectors, which the compiler
// finds by itself, and a group's numbers stay in the near caches.

#include <algorithm>

#include "kernel.h"

namespace nnjax {
namespace {

constexpr int64_t kLanes = 16;

struct Sizes {
  int64_t time, frames, fft, window, hop, bands;

  int64_t half() const { return fft / 2; }
  int64_t plane() const { return half() * kLanes; }  // of a group's real or imaginary parts
};

// What all frames share. The wheel is the unit circle in `fft` steps, clockwise.
struct Tables {
  const float *shape, *cosine, *sine, *filters;
  std::vector<int64_t> first, end;  // each band's bins
};

// One frame, zeros beyond the sound; it begins at sample `start`.
NNJAX_INLINE void Window(const Sizes& s, const float* x, int64_t start, const float* shape,
                         float* __restrict row) {
  const int64_t first = std::clamp<int64_t>(-start, 0, s.window);
  const int64_t end = std::clamp(s.time - start, first, s.window);
  std::fill_n(row, first, 0.0f);
  for (int64_t i = first; i < end; ++i) row[i] = x[start + i] * shape[i];
  std::fill(row + end, row + s.window, 0.0f);
}

// [kLanes, fft] -> [fft / 2, kLanes] of the even places, then as many of the odd ones.
NNJAX_INLINE void Transpose(const Sizes& s, const float* __restrict from, float* __restrict to) {
  for (int64_t row = 0; row < s.half(); ++row) {
    float *const even = to + row * kLanes, *const odd = even + s.plane();
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      even[lane] = from[lane * s.fft + 2 * row];
      odd[lane] = from[lane * s.fft + 2 * row + 1];
    }
  }
}

// The Fourier transform of `radix` points, in place; c and s are the wheel in as many steps.
template <int radix>
NNJAX_INLINE void Butterfly(const float* c, const float* s, float* re, float* im) {
  if constexpr (radix == 2) {
    const float r = re[0] - re[1], i = im[0] - im[1];
    re[0] += re[1], im[0] += im[1];
    re[1] = r, im[1] = i;
  } else if constexpr (radix == 4) {
    const float r0 = re[0] + re[2], r1 = re[0] - re[2], r2 = re[1] + re[3], r3 = re[1] - re[3];
    const float i0 = im[0] + im[2], i1 = im[0] - im[2], i2 = im[1] + im[3], i3 = im[1] - im[3];
    re[0] = r0 + r2, re[1] = r1 + i3, re[2] = r0 - r2, re[3] = r1 - i3;
    im[0] = i0 + i2, im[1] = i1 - r3, im[2] = i0 - i2, im[3] = i1 + r3;
  } else {  // an odd number: points j and radix - j share their products
    float r[radix], i[radix];
    r[0] = re[0], i[0] = im[0];
#pragma GCC unroll 8
    for (int j = 1; j < radix; ++j) r[0] += re[j], i[0] += im[j];
#pragma GCC unroll 8
    for (int k = 1; k <= radix / 2; ++k) {
      float ur = re[0], ui = im[0], vr = 0.0f, vi = 0.0f;
#pragma GCC unroll 8
      for (int j = 1; j <= radix / 2; ++j) {
        const int turn = j * k % radix;
        ur += c[turn] * (re[j] + re[radix - j]), ui += c[turn] * (im[j] + im[radix - j]);
        vr += s[turn] * (re[j] - re[radix - j]), vi += s[turn] * (im[j] - im[radix - j]);
      }
      r[k] = ur - vi, r[radix - k] = ur + vi;
      i[k] = ui + vr, i[radix - k] = ui - vr;
    }
#pragma GCC unroll 8
    for (int k = 0; k < radix; ++k) re[k] = r[k], im[k] = i[k];
  }
}

// A step of Stockham's transform, `side` of them side by side, of radix * m points each.
template <int radix>
NNJAX_INLINE void Step(const Sizes& s, const Tables& t, int64_t m, int64_t side, const float* from,
                       float* to) {
  const int64_t row = side * kLanes, plane = s.plane(), jump = m * row;
  float c[radix], n[radix];
  for (int j = 0; j < radix; ++j) {
    c[j] = t.cosine[s.fft / radix * j], n[j] = t.sine[s.fft / radix * j];
  }
  for (int64_t p = 0; p < m; ++p) {
    float wr[radix], wi[radix];
    for (int k = 0; k < radix; ++k) {
      wr[k] = t.cosine[2 * side * p * k], wi[k] = t.sine[2 * side * p * k];
    }
    const float* const x = from + p * row;
    float* const y = to + p * radix * row;
#pragma GCC ivdep
    for (int64_t q = 0; q < row; ++q) {
      float re[radix], im[radix];
#pragma GCC unroll 8
      for (int j = 0; j < radix; ++j) re[j] = x[q + j * jump], im[j] = x[q + j * jump + plane];
      Butterfly<radix>(c, n, re, im);
      y[q] = re[0], y[q + plane] = im[0];
#pragma GCC unroll 8
      for (int k = 1; k < radix; ++k) {
        y[q + k * row] = re[k] * wr[k] - im[k] * wi[k];
        y[q + k * row + plane] = re[k] * wi[k] + im[k] * wr[k];
      }
    }
  }
}

// The power of each bin, [1 + fft / 2, kLanes]. `re` is the transform of complex numbers, half as
// many: samples at even places are their real parts, those at odd places the imaginary ones.
NNJAX_INLINE void Powers(const Sizes& s, const Tables& t, const float* re,
                         float* __restrict power) {
  const int64_t half = s.half(), plane = s.plane();
  for (int64_t k = 0; k <= half / 2; ++k) {
    const float c = t.cosine[k], n = t.sine[k];
    const float *const a = re + k * kLanes, *const b = re + (half - k) % half * kLanes;
    float *const low = power + k * kLanes, *const high = power + (half - k) * kLanes;
#pragma GCC ivdep
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      // Twice the transforms of the even and of the odd places alone, and that turned by k steps.
      const float ar = a[lane], ai = a[lane + plane], br = b[lane], bi = b[lane + plane];
      const float even_r = ar + br, even_i = ai - bi, odd_r = ai + bi, odd_i = br - ar;
      const float r = c * odd_r - n * odd_i, i = c * odd_i + n * odd_r;
      low[lane] = 0.25f * ((even_r + r) * (even_r + r) + (even_i + i) * (even_i + i));
      high[lane] = 0.25f * ((even_r - r) * (even_r - r) + (even_i - i) * (even_i - i));
    }
  }
}

// The sums of powers [1 + fft / 2, kLanes] in bands, y [count, bands].
NNJAX_INLINE void Bands(const Sizes& s, const Tables& t, const float* power, int64_t count,
                        float* __restrict y) {
  for (int64_t band = 0; band < s.bands; ++band) {
    const int64_t first = t.first[band], end = t.end[band];
    // A vector stays in registers, where an array of sums would go to memory and back at every bin.
    using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
    Lanes sums{};
    for (int64_t k = first; k < end; ++k) {
      Lanes x;
      std::memcpy(&x, power + k * kLanes, sizeof x);
      sums += t.filters[k * s.bands + band] * x;
    }
    for (int64_t lane = 0; lane < count; ++lane) y[lane * s.bands + band] = sums[lane];
  }
}

// The bands of up to kLanes frames, from number `from`; spare holds thrice [fft, kLanes].
NNJAX_VECTOR void Group(const Sizes& s, const Tables& t, const float* x, int64_t from,
                        int64_t count, float* spare, float* y) {
  float *one = spare + 2 * s.plane(), *other = spare + 4 * s.plane();
  for (int64_t lane = 0; lane < count; ++lane) {
    const int64_t sound = (from + lane) / s.frames, frame = (from + lane) % s.frames;
    const int64_t start = frame * s.hop - s.half() + (s.fft - s.window) / 2;
    Window(s, x + sound * s.time, start, t.shape, spare + lane * s.fft);
  }
  Transpose(s, spare, one);
  for (int64_t left = s.half(), side = 1; left > 1; std::swap(one, other)) {
    const int64_t radix = left % 4 == 0 ? 4 : left % 5 == 0 ? 5 : left % 3 == 0 ? 3 : 2;
    left /= radix;
    if (radix == 4) Step<4>(s, t, left, side, one, other);
    if (radix == 5) Step<5>(s, t, left, side, one, other);
    if (radix == 3) Step<3>(s, t, left, side, one, other);
    if (radix == 2) Step<2>(s, t, left, side, one, other);
    side *= radix;
  }
  Powers(s, t, one, other);
  Bands(s, t, other, count, y);
}

// x [N, T], shape [window], wheel [2, fft], filters [1 + fft / 2, bands] -> y [N, frames, bands]
ffi::Error HandleMel(ffi::ThreadPool pool, int64_t pieces, int64_t hop, ffi::AnyBuffer x,
                     ffi::AnyBuffer shape, ffi::AnyBuffer wheel, ffi::AnyBuffer filters,
                     ffi::Result<ffi::AnyBuffer> y, ffi::Result<ffi::AnyBuffer> scratch) {
  return Guard("mel bands", x, filters, [&] {
    const int64_t fft = wheel.dimensions()[1], bands = filters.dimensions()[1];
    const Sizes s{x.dimensions()[1], y->dimensions()[1], fft, shape.dimensions()[0], hop, bands};
    Tables t{Floats(shape), Floats(wheel), Floats(wheel) + fft, Floats(filters), {}, {}};
    for (int64_t band = 0; band < bands; ++band) {
      int64_t first = 0, end = s.half() + 1;
      while (first < end && t.filters[first * bands + band] == 0.0f) ++first;
      while (first < end && t.filters[(end - 1) * bands + band] == 0.0f) --end;
      t.first.push_back(first), t.end.push_back(end);
    }
    const int64_t all = x.dimensions()[0] * s.frames, groups = (all + kLanes - 1) / kLanes;
    const int64_t spare = 3 * s.fft * kLanes;
    CheckScratch(pieces * spare * sizeof(float), *scratch);
    float* const memory = Floats(*scratch);
    Parallel(pool, pieces, [&](int64_t piece) {
      float* const own = memory + piece * spare;
      std::fill_n(own, s.fft * kLanes, 0.0f);  // behind a frame's window nothing is written
      const int64_t first = groups * piece / pieces, end = groups * (piece + 1) / pieces;
      for (int64_t from = first * kLanes; from < std::min(end * kLanes, all); from += kLanes) {
        Group(s, t, Floats(x), from, std::min(kLanes, all - from), own, Floats(*y) + from * bands);
      }
    });
  });
}

}  // namespace

using Any = ffi::AnyBuffer;

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    MelBands, HandleMel,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("pieces").Attr<int64_t>("hop").Arg<Any>()
        .Arg<Any>().Arg<Any>().Arg<Any>().Ret<Any>().Ret<Any>());

}  // namespace nnjax
