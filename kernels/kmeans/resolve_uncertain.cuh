// resolve_uncertain.cuh: labels in float64 for the rows of a tile that float32 cannot decide.
#pragma once

#include "kmeans/certificate.cuh"
#include "kmeans/exact_distances.cuh"
#include "kmeans/score_tile.cuh"

// Write the gaps of all rows of a thread.
__device__ inline void certify(const RunCenters& run, int d, const BestScores (&scores)[ROWS],
                               float (&gap)[ROWS]) {
  Certificate c = certificate(run.largest_norm, d, d + 8, 0.0f);
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    gap[r] = gap_of(c, scores[r].best, scores[r].second, scores[r].squares);
  }
}

// The lanes of a warp handle uncertain rows together, one after the other. All threads of the block
// must call it.
__device__ inline void resolve_uncertain(const QueuedRows& rows, const RunCenters& run,
                                         const float (&gap)[ROWS], BestScores (&scores)[ROWS]) {
  const unsigned all = 0xffffffffu;
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    int slot = threadIdx.x * ROWS + r;
    bool is_uncertain = slot < rows.count && gap[r] == UNCERTAIN;
    unsigned uncertain = __ballot_sync(all, is_uncertain);
    while (uncertain) {
      int source = __ffs(uncertain) - 1;
      uncertain &= uncertain - 1;
      int queued = rows.queue[__shfl_sync(all, slot, source)];
      long long row = rows.first + queued;
      int label = nearest_center(rows.x + row * rows.d, run.exact, run.k, rows.d);
      if ((threadIdx.x & 31) == source) scores[r].label = label;
    }
  }
}
