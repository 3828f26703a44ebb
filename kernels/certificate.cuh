// certificate.cuh: which rows float32 can decide, and by how much the nearest centre is nearer.
//
// With u = 2^-24, A = max |a| and d features, a float32 score (tile.cuh) is off by at most
//     E = (d + 8)·u·(½A² + |z|·A),
// whatever the order of its additions, fused or not. Where the two least scores are more than
// 2E apart, the float32 winner is the exact one; the margin asked for has some more room, for
// the rounding of the float64 formula, and for what underflows (TINY). The derivation stands in
// gpuseg/backends/numba_/nearest.py, which asks for the same margin.
#pragma once

#include "exact.cuh"
#include "tile.cuh"

#define LARGEST_GAP 1e37f
#define UNCERTAIN -1.0f
#define TINY 1e-36f

// At least by how much any other centre is farther from a row than the nearest one,
//     √(|z|² + 2·second - e) - √(|z|² + 2·best + e),    e the error of both radicands,
// or UNCERTAIN. A score that overflows makes the margin infinite: that, too, is uncertain.
__device__ inline float gap_of(const Found& found, float largest_norm, int d) {
  const float unit = 5.9604645e-8f, exact_unit = 1.110223e-16f;  // 2^-24, 2^-53
  const float down = 1.0f - 4.7683716e-7f, up = 1.0f + 4.7683716e-7f;  // 1 ∓ 2^-21
  float scale = d + 8;
  float relative = 2.1f * scale * unit * largest_norm;
  float margin = relative * (0.5f * largest_norm + sqrtf(found.squares)) + TINY;
  margin += scale * exact_unit * (8.0f * (largest_norm * largest_norm + found.squares));
  float error = 1.1f * scale * unit * found.squares + margin;
  float near = sqrtf(fmaxf(2.0f * found.best + found.squares + error, 0.0f)) * up;
  float far = sqrtf(fmaxf(2.0f * found.second + found.squares - error, 0.0f)) * down;
  float gap = fminf(far - near, LARGEST_GAP);
  return margin < found.second - found.best ? gap : UNCERTAIN;
}

// Settle in float64 the labels of rows that float32 left uncertain. The lanes of a warp take
// them one after the other, together; every thread of the block must call it.
__device__ inline void settle(const Rows& rows, const Run& run, const float (&gap)[ROWS],
                              Found (&found)[ROWS]) {
  const unsigned all = 0xffffffffu;
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    int slot = threadIdx.x * ROWS + r;
    bool mine = slot < rows.count && gap[r] == UNCERTAIN;
    unsigned doubtful = __ballot_sync(all, mine);
    while (doubtful) {
      int source = __ffs(doubtful) - 1;
      doubtful &= doubtful - 1;
      int other = __shfl_sync(all, slot, source);
      long long row = rows.first + rows.queue[other];
      int label = nearest_exactly(rows.x + row * rows.d, run.exact, run.k, rows.d);
      if ((threadIdx.x & 31) == source) found[r].label = label;
    }
  }
}
