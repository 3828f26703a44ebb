// score_mma.cuh: rows of a tile against centers, by tensor cores, from pairs of bfloat16.
//
// As score_fma.cuh, with z = h + l + ρ and a = h' + l' + ρ', where h and l are bfloat16: h is
// nearest to z and l nearest to z - h, which is exact in float32. Then
//     z·a ≈ h·h' + h·l' + l·h',    accumulated in float32.
// With 8 digits in a bfloat16, |z - h| <= 2^-8·|z| and |ρ| <= 2^-16·|z|, feature by feature. The
// omitted terms, l·l' + ρ·a + z·ρ', are at most 3.05·2^-16·|z|·A by Cauchy and Schwarz: 3.1·2^8
// units of 2^-24. A product of matrices has an error of 18·2^-23 of the terms that it adds
// (mma.cuh). 3·KSTEPS products follow each other, each of them adds the sum so far, and all
// products together are at most 1.016·|z|·A. So the error of a score is at most
//     E = (37·(3·KSTEPS + 1) + d + 8)·u·(½A² + |z|·A) + 3.1·2^8·u·|z|·A,    u = 2^-24,
// where d + 8 covers the roundings of z, a and their norms, as in float32. Rows within the margin
// are resolved in float64. Subnormal values may be flushed to 0: that is less than TINY, than
// u·A², or than the margin's last term in |z|². Where sums may overflow, at 2^127, the margin is
// infinite. A row with a single center has a gap of 1e19, from the padding of its group.
//
// A warp scores 32 rows at a time. A lane holds the fragments of 4 rows and two columns of each
// product. At the end the four lanes of a row merge their scores, and each lane keeps one row:
// slot = 16·m + 8·h + g with g = lane / 4, m = lane / 2 % 2, h = lane % 2. Rows are 8 or 24 floats
// apart, modulo 32, so that the four rows that half a warp reads at a time use different banks.
#pragma once

#include "kmeans/best_scores.cuh"
#include "kmeans/certificate.cuh"
#include "kmeans/tile_stream.cuh"

#define COLUMNS (16 * KSTEPS)  // features, the last ones zero
#define PITCH(d) (COLUMNS + 8)
#define PANEL_FLOATS(groups, d) ((groups) * KSTEPS * 32 * 4)
#define NORM_FLOATS(groups) ((groups) * 16)
#define ORIGIN_FLOATS(d) COLUMNS

__device__ inline int slot_of(int lane, int r) {
  return 16 * (lane / 2 % 2) + 8 * (lane % 2) + lane / 4;
}

__device__ inline Certificate certificate_of(float largest_norm, int d) {
  return certificate(largest_norm, d, 37 * (3 * KSTEPS + 1) + d + 8, 3.1f * 256.0f);
}

// The centers of all runs, in shared memory.
struct Panel {
  const float* centers;  // [groups,KSTEPS,32] times h of b[0], b[1], l of b[0], b[1], see mma.cuh
  const float* norms;    // [groups,4,4]: ½|c - shift|² of a lane's two centers, twice
  const float* origin;   // [COLUMNS], the shift
};

// Two numbers as a pair of bfloat16, and the pair of their remainders.
struct Split {
  unsigned high, low;
};

__device__ inline Split split(float first, float second) {
  unsigned high = bf16_pair(first, second);
  return {high, bf16_pair(first - bf16_low(high), second - bf16_high(high))};
}

__device__ inline void load_panel(const float* negated, const float* half_norms, int groups, int d,
                                  float* centers, float* norms) {
  for (int i = threadIdx.x; i < groups * KSTEPS * 32; i += THREADS) {
    int lane = i % 32, step = i / 32 % KSTEPS, group = i / 32 / KSTEPS;
    for (int b = 0; b < 2; ++b) {
      float pair[2];
      for (int j = 0; j < 2; ++j) {
        int f = 16 * step + 8 * b + 2 * (lane % 4) + j;
        pair[j] = f < d ? negated[(group * d + f) * CENTERS + lane / 4] : 0.0f;
      }
      Split parts = split(pair[0], pair[1]);
      centers[i * 4 + b] = __uint_as_float(parts.high);
      centers[i * 4 + 2 + b] = __uint_as_float(parts.low);
    }
  }
  // Norms of padding are infinite. 2^126 never wins either: where others are as large, the margin
  // is infinite.
  for (int i = threadIdx.x; i < groups * 16; i += THREADS) {
    int center = i / 16 * CENTERS + i / 4 % 4 * 2 + i % 2;
    norms[i] = fminf(half_norms[center], 8.507059e37f);
  }
}

// The fragments of a lane's four rows 16·m + 8·h + g, and their parts of |z|².
struct LaneRows {
  unsigned high[2][KSTEPS][4], low[2][KSTEPS][4];
  float squares[2][2];
};

// The shift of a lane's columns; it stays in registers.
struct LaneOrigin {
  Vector<2> shift[KSTEPS][2];
};

__device__ inline LaneOrigin origin_of(const Panel& panel) {
  LaneOrigin origin;
#pragma unroll
  for (int step = 0; step < KSTEPS; ++step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float* from = panel.origin + 16 * step + 8 * half + 2 * (threadIdx.x % 4);
      origin.shift[step][half] = load<2>(from);
    }
  }
  return origin;
}

__device__ inline LaneRows load_rows(const Tile& tile, const LaneOrigin& origin, int d) {
  LaneRows fragments;
  int lane = threadIdx.x % 32, column = 2 * (lane % 4);
  const float* rows = tile.rows + lane / 4 * PITCH(d) + column;
#pragma unroll
  for (int m = 0; m < 2; ++m) fragments.squares[m][0] = fragments.squares[m][1] = 0.0f;
#pragma unroll
  for (int step = 0; step < KSTEPS; ++step) {
#pragma unroll
    for (int a = 0; a < 4; ++a) {
      int h = a % 2, f = 16 * step + 8 * (a / 2);
      Vector<2> shift = origin.shift[step][a / 2];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        Vector<2> z = load<2>(rows + (16 * m + 8 * h) * PITCH(d) + f);
        z.value[0] -= shift.value[0];
        z.value[1] -= shift.value[1];
        fragments.squares[m][h] += z.value[0] * z.value[0];
        fragments.squares[m][h] += z.value[1] * z.value[1];
        Split parts = split(z.value[0], z.value[1]);
        fragments.high[m][step][a] = parts.high;
        fragments.low[m][step][a] = parts.low;
      }
    }
  }
  return fragments;
}

// Merge the scores of the four lanes of each row; each lane returns those of one row.
__device__ inline BestScores merge_lanes(const BestScores (&part)[2][2]) {
  const unsigned all = 0xffffffffu;
  int lane = threadIdx.x % 32;
  bool second_m = lane / 2 % 2, second_h = lane % 2;
  BestScores kept[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    BestScores sent = second_m ? part[0][h] : part[1][h];
    kept[h] = second_m ? part[1][h] : part[0][h];
    merge(kept[h], {__shfl_xor_sync(all, sent.best, 2), __shfl_xor_sync(all, sent.second, 2),
                    __shfl_xor_sync(all, sent.squares, 2), __shfl_xor_sync(all, sent.label, 2)});
  }
  BestScores sent = second_h ? kept[0] : kept[1], row = second_h ? kept[1] : kept[0];
  merge(row, {__shfl_xor_sync(all, sent.best, 1), __shfl_xor_sync(all, sent.second, 1),
              __shfl_xor_sync(all, sent.squares, 1), __shfl_xor_sync(all, sent.label, 1)});
  return row;
}

// Score the lane's four rows against GROUPS groups of centers, from group `group` of the run on.
// Consecutive products belong to different sums, so that none waits for the previous one.
template <int GROUPS>
__device__ inline void score_groups(const LaneRows& rows, const Panel& panel, int first, int group,
                                    BestScores (&part)[2][2]) {
  int lane = threadIdx.x % 32;
  const float* centers = panel.centers + ((first + group) * KSTEPS * 32 + lane) * 4;
  const float* norms = panel.norms + (first + group) * 16 + lane % 4 * 4;
  float sums[GROUPS][2][4];
#pragma unroll
  for (int step = 0; step < KSTEPS; ++step) {
    unsigned high[GROUPS][2], low[GROUPS][2];
    Vector<4> norm[GROUPS];
#pragma unroll
    for (int i = 0; i < GROUPS; ++i) {
      Vector<4> b = load<4>(centers + (i * KSTEPS + step) * 32 * 4);
      high[i][0] = __float_as_uint(b.value[0]);
      high[i][1] = __float_as_uint(b.value[1]);
      low[i][0] = __float_as_uint(b.value[2]);
      low[i][1] = __float_as_uint(b.value[3]);
      if (step == 0) norm[i] = load<4>(norms + i * 16);
    }
#pragma unroll
    for (int product = 0; product < 3; ++product) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int i = 0; i < GROUPS; ++i) {
          mma_bf16(sums[i][m], product < 2 ? rows.high[m][step] : rows.low[m][step],
                   product == 1 ? low[i] : high[i],
                   step + product == 0 ? norm[i].value : sums[i][m]);
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < GROUPS; ++i) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        add_score(part[m][c / 2], sums[i][m][c], (group + i) * CENTERS + lane % 4 * 2 + c % 2);
      }
    }
  }
}

// Score the tile's rows against groups [first, first + groups) of the panel.
__device__ inline void score(const LaneRows& rows, const Panel& panel, int first, int groups,
                             int d, BestScores (&scores)[LANE_ROWS]) {
  BestScores part[2][2];
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      part[m][h] = no_scores();
      part[m][h].squares = rows.squares[m][h];
    }
  }
  int group = 0;
#pragma unroll 1
  for (; group + 1 < groups; group += 2) {  // trips: pairs of groups
    score_groups<2>(rows, panel, first, group, part);
  }
  if (group < groups) score_groups<1>(rows, panel, first, group, part);  // trips: odd group
  scores[0] = merge_lanes(part);
}

// Start copying the rows of a tile. Where there are COLUMNS features, and no row is missing, all
// lanes copy the same number of pieces, at offsets known to the compiler.
__device__ inline void fetch_tile(const Stream& stream, const Tile& tile) {
  if (stream.width == 4 && stream.pieces == COLUMNS / 4 && tile.count == TILE_ROWS) {
    const int pieces = COLUMNS / 4, rows = 32 / pieces;
    if (rows * pieces == 32) {
      const float* from = stream.x + tile.first * COLUMNS + threadIdx.x % 32 * 4;
#pragma unroll 8
      for (int i = 0; i < TILE_ROWS / rows; ++i) {  // trips: copies of a lane
        copy_async<16>(tile.rows + stream.offset + i * rows * PITCH(COLUMNS), from + i * 128);
      }
      return;
    }
  }
  if (stream.width == 4) {  // cold: fewer features, or rows
    fetch<4>(stream, tile.first, tile.count, tile.rows);
  } else if (stream.width == 2) {  // cold: rows at odd places
    fetch<2>(stream, tile.first, tile.count, tile.rows);
  } else {  // cold: rows at odd places
    fetch<1>(stream, tile.first, tile.count, tile.rows);
  }
}
