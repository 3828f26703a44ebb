// certificate.cuh: which rows float32 can decide, and by how much the nearest center is nearer.
//
// With u = 2^-24, A = max |a| and d features, a score in float32 (score_fma.cuh) is off by at most
//     E = (d + 8)·u·(½A² + |z|·A),
// whatever the order of its additions, fused or not. Where the two lowest scores are more than 2E
// apart, the float32 winner is the exact one. The margin required here is a little larger, for the
// rounding of the float64 formula and for underflow (TINY). The derivation is in
// gpuseg/backends/numba/kmeans/nearest_center.py, which requires the same margin. Scores of tensor
// cores have a larger E, see score_mma.cuh.
#pragma once

#include "common/mma.cuh"

#define LARGEST_GAP 1e37f
#define UNCERTAIN -1.0f
#define TINY 1e-36f
#define UNIT 5.9604645e-8f         // 2^-24
#define EXACT_UNIT 1.110223e-16f   // 2^-53

// The terms of a run's margin: constant + slope·|z| + exact·8·|z|².
struct Certificate {
  float constant, slope, exact;
  float squares;  // the relative error of |z|²
};

// `sum` bounds the relative error of a sum of products, and `product` that of each product, both in
// units of 2^-24.
__device__ inline Certificate certificate(float largest_norm, int d, float sum, float product) {
  float a = largest_norm, exact = (d + 8) * EXACT_UNIT;
  float relative = 2.1f * UNIT * a;
  // Eight first: where |x - c|², at most twice the sum, overflows, so does the margin.
  float constant = relative * sum * (0.5f * a) + TINY + exact * (8.0f * (a * a));
  return {constant, relative * (sum + product), exact, 1.1f * (d + 8) * UNIT};
}

// A lower bound of how much farther any other center is from a row than the nearest one,
//     √(|z|² + 2·second - e) - √(|z|² + 2·best + e),    e the error of both radicands,
// or UNCERTAIN. A score that overflows makes the margin infinite, which is uncertain too. The roots
// may have a relative error of 2^-23.
__device__ inline float gap_of(const Certificate& c, float best, float second, float squares) {
  const float down = 1.0f - 4.7683716e-7f, up = 1.0f + 4.7683716e-7f;  // 1 ∓ 2^-21
  float margin = c.constant + c.slope * approximate_sqrt(squares) + c.exact * (8.0f * squares);
  float error = c.squares * squares + margin;
  float near = approximate_sqrt(fmaxf(2.0f * best + squares + error, 0.0f)) * up;
  float far = approximate_sqrt(fmaxf(2.0f * second + squares - error, 0.0f)) * down;
  float gap = fminf(far - near, LARGEST_GAP);
  return margin < second - best ? gap : UNCERTAIN;
}
