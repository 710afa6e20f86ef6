// One step of one row of an LSTM and of a GRU, forward and backward, over n hidden units.
//
// The gates of a step lie side by side: i f g o of an LSTM, r z n of a GRU, whose fourth is a, the
// recurrent part of n before r multiplies it.

#pragma once

#include <cmath>

#include "kernel.h"

namespace nnjax {

// exp within 2e-7 of itself, which the compiler can turn into vectors: 2^k by the bits of a float,
// the rest by a polynomial (Cephes, S. Moshier). NaN stays NaN.
inline float Exp(float x) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const float k = std::nearbyint(x * 1.44269504f);
  const float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const int32_t bits = (static_cast<int32_t>(k) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return (p * r * r + r + 1.0f) * power;
}
inline float Sigmoid(float x) { return 1.0f / (1.0f + Exp(-x)); }
inline float Tanh(float x) { return 2.0f / (1.0f + Exp(-2.0f * x)) - 1.0f; }

// One row, one step: `x` and `r` are the products with the input and with the last output.
NNJAX_VECTOR void LstmForwardRow(int64_t n, const float* __restrict x, const float* __restrict r, const float* __restrict c, float* __restrict gates,
                              float* __restrict c_next, float* __restrict h_next) {
  for (int64_t j = 0; j < n; ++j) {
    const float i = Sigmoid(x[j] + r[j]), f = Sigmoid(x[n + j] + r[n + j]);
    const float g = Tanh(x[2 * n + j] + r[2 * n + j]), o = Sigmoid(x[3 * n + j] + r[3 * n + j]);
    gates[j] = i;
    gates[n + j] = f;
    gates[2 * n + j] = g;
    gates[3 * n + j] = o;
    c_next[j] = f * c[j] + i * g;
    h_next[j] = o * Tanh(c_next[j]);
  }
}

// dh is the whole gradient of h_next; dc that of c_next from the step after, then of c.
NNJAX_VECTOR void LstmBackwardRow(int64_t n, const float* __restrict gates, const float* __restrict c, const float* __restrict c_next,
                               const float* __restrict dh, float* __restrict dc, float* __restrict dx) {
  for (int64_t j = 0; j < n; ++j) {
    const float i = gates[j], f = gates[n + j], g = gates[2 * n + j], o = gates[3 * n + j];
    const float t = Tanh(c_next[j]), d = dc[j] + dh[j] * o * (1.0f - t * t);
    dx[j] = d * g * i * (1.0f - i);
    dx[n + j] = d * c[j] * f * (1.0f - f);
    dx[2 * n + j] = d * i * (1.0f - g * g);
    dx[3 * n + j] = dh[j] * t * o * (1.0f - o);
    dc[j] = d * f;
  }
}

NNJAX_VECTOR void GruForwardRow(int64_t n, const float* __restrict x, const float* __restrict r, const float* __restrict b, const float* __restrict h,
                             float* __restrict gates, float* __restrict h_next) {
  for (int64_t j = 0; j < n; ++j) {
    const float reset = Sigmoid(x[j] + r[j]), z = Sigmoid(x[n + j] + r[n + j]);
    const float a = r[2 * n + j] + b[j], new_ = Tanh(x[2 * n + j] + reset * a);
    gates[j] = reset;
    gates[n + j] = z;
    gates[2 * n + j] = new_;
    gates[3 * n + j] = a;
    h_next[j] = (1.0f - z) * new_ + z * h[j];
  }
}

// dx holds the gradients of r, z, n before their functions, and of a; direct what reaches h past them.
NNJAX_VECTOR void GruBackwardRow(int64_t n, const float* __restrict gates, const float* __restrict h, const float* __restrict dh, float* __restrict dx,
                              float* __restrict direct) {
  for (int64_t j = 0; j < n; ++j) {
    const float r = gates[j], z = gates[n + j], new_ = gates[2 * n + j], a = gates[3 * n + j];
    const float d = dh[j] * (1.0f - z) * (1.0f - new_ * new_);
    dx[j] = d * a * r * (1.0f - r);
    dx[n + j] = dh[j] * (h[j] - new_) * z * (1.0f - z);
    dx[2 * n + j] = d;
    dx[3 * n + j] = d * r;
    direct[j] = dh[j] * z;
  }
}

NNJAX_VECTOR void Add(int64_t n, const float* __restrict a, const float* __restrict b, const float* __restrict c, float* __restrict sum) {
  for (int64_t j = 0; j < n; ++j) sum[j] = a[j] + b[j] + c[j];
}

}  // namespace nnjax
