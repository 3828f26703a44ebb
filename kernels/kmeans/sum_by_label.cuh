// sum_by_label.cuh: rows of a warp's tile into the sums of centers, or out of them.
//
// Rows of the same center are taken together: their terms are added in registers, as whole numbers
// of grid steps, and each team of lanes adds once per column to the sums (center_sums.cuh). So a
// first pass adds for each center of a tile, not for each row.
#pragma once

#include "kmeans/center_sums.cuh"
#include "kmeans/tile_stream.cuh"

// How the lanes of a warp share rows: a team of 2^j lanes takes a row, a lane a feature. The teams
// take rows in turns; bits of `turns` are the rows of this lane's team.
struct Teams {
  int lanes, feature;
  unsigned turns;
};

__device__ inline Teams teams_of(int d) {
  int lanes = 1;
  while (lanes < d && lanes < 32) lanes *= 2;
  int lane = threadIdx.x % 32, teams = 32 / lanes;
  unsigned first = (unsigned)(0xffffffffull / ((1ull << teams) - 1));
  return {lanes, lane % lanes, first << lane / lanes};
}

// Add (sign = 1) or subtract (sign = -1) rows of one center; bits of `same` are lanes.
__device__ inline void add_rows(const Tile& tile, const Stream& stream, const double* weight,
                                const float* shift, const Teams& teams, const CenterSums& sums,
                                const unsigned (&same)[LANE_ROWS], int cell, int sign) {
  for (int f = teams.feature; f < stream.d; f += teams.lanes) {
    Steps total = {0, 0};
#pragma unroll
    for (int r = 0; r < LANE_ROWS; ++r) {
      for (unsigned bits = same[r] & teams.turns; bits; bits &= bits - 1) {
        int slot = slot_of(__ffs(bits) - 1, r);
        double term = __dsub_rn((double)tile.rows[slot * stream.pitch + f], (double)shift[f]);
        if (weight) term = __dmul_rn(weight[tile.first + slot], term);
        Steps steps = steps_of(sums, term, f);
        total.coarse += steps.coarse;
        total.fine += steps.fine;
      }
    }
    add_both(sums, cell, f, {sign * total.coarse, sign * total.fine});
  }
  int lane = threadIdx.x % 32;
  if (weight) {
#pragma unroll
    for (int r = 0; r < LANE_ROWS; ++r) {
      if (!(same[r] >> lane & 1)) continue;
      Steps steps = steps_of(sums, weight[tile.first + slot_of(lane, r)], stream.d);
      add_both(sums, cell, stream.d, {sign * steps.coarse, sign * steps.fine});
    }
  } else if (lane == 0) {
    int rows = 0;
#pragma unroll
    for (int r = 0; r < LANE_ROWS; ++r) rows += __popc(same[r]);
    Steps steps = steps_of(sums, 1.0, stream.d);
    add_both(sums, cell, stream.d, {sign * rows * steps.coarse, sign * rows * steps.fine});
  }
}

// Add or subtract the rows whose bits are set in `rows`, center by center; `cell` is the first
// column of a row's center. All lanes must call it.
__device__ inline void sum_by_label(const Tile& tile, const Stream& stream, const double* weight,
                                    const float* shift, const Teams& teams, const CenterSums& sums,
                                    const unsigned (&rows)[LANE_ROWS],
                                    const int (&cell)[LANE_ROWS], int sign) {
  const unsigned all = 0xffffffffu;
  unsigned rest[LANE_ROWS], any = 0;
#pragma unroll
  for (int r = 0; r < LANE_ROWS; ++r) any |= rest[r] = rows[r];
  while (any) {
    int common = -1;
#pragma unroll
    for (int r = 0; r < LANE_ROWS; ++r) {  // the cell of the first remaining row
      int first = __shfl_sync(all, cell[r], max(__ffs(rest[r]) - 1, 0));
      if (common < 0 && rest[r]) common = first;
    }
    unsigned same[LANE_ROWS];
    any = 0;
#pragma unroll
    for (int r = 0; r < LANE_ROWS; ++r) {
      same[r] = __ballot_sync(all, cell[r] == common) & rest[r];
      any |= rest[r] &= ~same[r];
    }
    add_rows(tile, stream, weight, shift, teams, sums, same, common, sign);
  }
}
