// settle.cuh: in float64, the labels of the rows of a tile that float32 left uncertain.
#pragma once

#include "certificate.cuh"
#include "exact.cuh"
#include "tile.cuh"

// Certify all rows of a thread: write their gaps.
__device__ inline void certify(const Run& run, int d, const Found (&scored)[ROWS],
                               float (&gap)[ROWS]) {
  Certificate c = certificate(run.largest_norm, d, d + 8, 0.0f);
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    gap[r] = gap_of(c, scored[r].best, scored[r].second, scored[r].squares);
  }
}

// The lanes of a warp take uncertain rows one after the other, together; every thread of the
// block must call it.
__device__ inline void settle(const Rows& rows, const Run& run, const float (&gap)[ROWS],
                              Found (&scored)[ROWS]) {
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
      if ((threadIdx.x & 31) == source) scored[r].label = label;
    }
  }
}
