// The transforms of Winograd's minimal filtering, F(2x2, 3x3): see winograd.cc.
//
// The letters are the paper's, with ' for the transpose.

#pragma once

#include <algorithm>

#include "kernel.h"

namespace nnjax {
namespace {

constexpr int64_t kParts = 16;  // numbers of a transformed tile
constexpr int64_t kLanes = 16;  // channels that are transformed together

// Images [count, height, width, channels].
struct Images {
  int64_t count, height, width, channels;
};

// Tiles of 2x2 pixels of `outer` and of the 4x4 pixels of `inner` around them.
struct Tiling {
  Images inner, outer;
  int64_t low[2];  // what comes before the first pixel of inner
  int64_t Rows() const { return (outer.height + 1) / 2; }
  int64_t Columns() const { return (outer.width + 1) / 2; }
  int64_t Count() const { return outer.count * Rows() * Columns(); }
};

typedef float Lane __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

NNJAX_INLINE Lane Read(const float* from) { return *reinterpret_cast<const Lane*>(from); }
NNJAX_INLINE void Write(float* to, Lane value) { *reinterpret_cast<Lane*>(to) = value; }

// Each of these transforms a column; `step` is what lies between its numbers.
NNJAX_INLINE void Inner(const Lane* d, Lane* v, int step) {  // B'
  v[0] = d[0] - d[2 * step];
  v[step] = d[step] + d[2 * step];
  v[2 * step] = d[2 * step] - d[step];
  v[3 * step] = d[step] - d[3 * step];
}
NNJAX_INLINE void Outer(const Lane* m, Lane* y, int step) {  // A'
  y[0] = m[0] + m[step] + m[2 * step];
  y[step] = m[step] - m[2 * step] - m[3 * step];
}
NNJAX_INLINE void Spread(const Lane* y, Lane* z, int step) {  // A
  z[0] = y[0];
  z[step] = y[0] + y[step];
  z[2 * step] = y[0] - y[step];
  z[3 * step] = -y[step];
}
NNJAX_INLINE void Weigh(const Lane* w, Lane* u, int step) {  // G
  const Lane sum = (w[0] + w[2 * step]) * 0.5f, half = w[step] * 0.5f, last = w[2 * step];
  u[0] = w[0];
  u[step] = sum + half;
  u[2 * step] = sum - half;
  u[3 * step] = last;
}
NNJAX_INLINE void Gather(const Lane* u, Lane* w, int step) {  // G'
  const Lane sum = (u[step] + u[2 * step]) * 0.5f, difference = (u[step] - u[2 * step]) * 0.5f;
  w[0] = u[0] + sum;
  w[step] = difference;
  w[2 * step] = sum + u[3 * step];
}

// The addresses of side x side pixels from (row, column) on; those outside are `none`.
template <int side, typename T>
NNJAX_INLINE void Pixels(const Images& images, T* data, int64_t image, int64_t row, int64_t column,
                         T* none, T* at[]) {
  for (int i = 0; i < side; ++i) {
    for (int j = 0; j < side; ++j) {
      const int64_t r = row + i, c = column + j;
      const bool inside = r >= 0 && r < images.height && c >= 0 && c < images.width;
      at[i * side + j] =
          inside ? data + ((image * images.height + r) * images.width + c) * images.channels : none;
    }
  }
}

// parts [16, count, channels] of tiles first, first + 1 ...; zeros for those beyond `end`.
template <bool inner>
NNJAX_INLINE void Transform(const Tiling& g, const float* data, int64_t first, int64_t end,
                            int64_t count, const float* zeros, float* parts) {
  constexpr int side = inner ? 4 : 2;
  const Images& images = inner ? g.inner : g.outer;
  const int64_t n = images.channels, rows = g.Rows(), columns = g.Columns();
  for (int64_t t = 0; t < count; ++t, parts += n) {
    const float* at[side * side];
    const int64_t tile = first + t, row = 2 * (tile / columns % rows);
    const int64_t column = 2 * (tile % columns), above = inner ? g.low[0] : 0;
    const int64_t before = inner ? g.low[1] : 0;
    if (tile < end) {
      Pixels<side>(images, data, tile / (rows * columns), row - above, column - before, zeros, at);
    } else {
      std::fill_n(at, side * side, zeros);
    }
    for (int64_t c = 0; c < n; c += kLanes) {
      Lane d[side * side], half[4 * side], v[16];
      for (int i = 0; i < side * side; ++i) d[i] = Read(at[i] + c);
      for (int j = 0; j < side; ++j) {
        inner ? Inner(d + j, half + j, side) : Spread(d + j, half + j, side);
      }
      for (int i = 0; i < 4; ++i) {
        inner ? Inner(half + i * side, v + i * 4, 1) : Spread(half + i * side, v + i * 4, 1);
      }
      for (int i = 0; i < 16; ++i) Write(parts + i * count * n + c, v[i]);
    }
  }
}

// The pixels of tiles first ... end from their parts [16, count, channels]; those outside are `lost`.
NNJAX_INLINE void Restore(const Tiling& g, const float* parts, int64_t first, int64_t end,
                          int64_t count, float* lost, float* data) {
  const int64_t n = g.outer.channels, rows = g.Rows(), columns = g.Columns();
  for (int64_t tile = first; tile < end; ++tile, parts += n) {
    float* at[4];
    Pixels<2>(g.outer, data, tile / (rows * columns), 2 * (tile / columns % rows),
              2 * (tile % columns), lost, at);
    for (int64_t c = 0; c < n; c += kLanes) {
      Lane m[16], half[8], y[4];
      for (int i = 0; i < 16; ++i) m[i] = Read(parts + i * count * n + c);
      for (int j = 0; j < 4; ++j) Outer(m + j, half + j, 4);
      for (int i = 0; i < 2; ++i) Outer(half + i * 4, y + i * 2, 1);
      for (int i = 0; i < 4; ++i) Write(at[i] + c, y[i]);
    }
  }
}

// w [3, 3, pairs] -> u [16, pairs] for pairs of channels first ... end; or of w turned around.
NNJAX_INLINE void WeighAll(const float* w, int64_t pairs, int64_t first, int64_t end, bool turned,
                           float* u) {
  for (int64_t p = first; p < end; p += kLanes) {
    Lane g[9], half[12], all[16];
    for (int i = 0; i < 9; ++i) g[i] = Read(w + (turned ? 8 - i : i) * pairs + p);
    for (int j = 0; j < 3; ++j) Weigh(g + j, half + j, 3);
    for (int i = 0; i < 4; ++i) Weigh(half + i * 3, all + i * 4, 1);
    for (int i = 0; i < 16; ++i) Write(u + i * pairs + p, all[i]);
  }
}

// u [16, pairs] -> w [3, 3, pairs], the gradient of the former.
NNJAX_INLINE void GatherAll(const float* u, int64_t pairs, int64_t first, int64_t end, float* w) {
  for (int64_t p = first; p < end; p += kLanes) {
    Lane all[16], half[12], g[9];
    for (int i = 0; i < 16; ++i) all[i] = Read(u + i * pairs + p);
    for (int j = 0; j < 4; ++j) Gather(all + j, half + j, 4);
    for (int i = 0; i < 3; ++i) Gather(half + i * 4, g + i * 3, 1);
    for (int i = 0; i < 9; ++i) Write(w + i * pairs + p, g[i]);
  }
}

NNJAX_VECTOR void TransformInner(const Tiling& g, const float* data, int64_t first, int64_t end,
                                 int64_t count, const float* zeros, float* parts) {
  Transform<true>(g, data, first, end, count, zeros, parts);
}
NNJAX_VECTOR void TransformOuter(const Tiling& g, const float* data, int64_t first, int64_t end,
                                 int64_t count, const float* zeros, float* parts) {
  Transform<false>(g, data, first, end, count, zeros, parts);
}
NNJAX_VECTOR void RestoreOuter(const Tiling& g, const float* parts, int64_t first, int64_t end,
                               int64_t count, float* lost, float* data) {
  Restore(g, parts, first, end, count, lost, data);
}
NNJAX_VECTOR void WeighPairs(const float* w, int64_t pairs, int64_t first, int64_t end, bool turned,
                             float* u) {
  WeighAll(w, pairs, first, end, turned, u);
}
NNJAX_VECTOR void GatherPairs(const float* u, int64_t pairs, int64_t first, int64_t end, float* w) {
  GatherAll(u, pairs, first, end, w);
}

}  // namespace
}  // namespace nnjax
