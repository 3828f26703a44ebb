// score_fma.cuh: rows of a tile against centers, by fused multiply-adds in float32.
//
// With z = x - s and a = c - s measured from the shift s, the nearest center has the lowest score
//     ½|a|² - z·a  =  ½|x - c|² - ½|z|².
// A lane owns LANE_ROWS rows, slot = 32·r + lane, and scores them against CENTERS centers at a
// time. It loads VECTOR features of its rows, which differ from lane to lane, and of the centers,
// which are the same for all lanes; running scores stay in registers. Rows are an odd number of
// VECTOR floats apart, so that lanes that read different rows use different banks.
#pragma once

#include "kmeans/best_scores.cuh"
#include "kmeans/certificate.cuh"
#include "kmeans/tile_stream.cuh"

#define PITCH(d) ((((d) / VECTOR) | 1) * VECTOR)
#define PANEL_FLOATS(groups, d) ((groups) * (d) * CENTERS)
#define NORM_FLOATS(groups) ((groups) * CENTERS)
#define ORIGIN_FLOATS(d) (((d) + 3) / 4 * 4)

__device__ inline int slot_of(int lane, int r) { return 32 * r + lane; }

__device__ inline Certificate certificate_of(float largest_norm, int d) {
  return certificate(largest_norm, d, d + 8, 0.0f);
}

// The centers of all runs, in shared memory.
struct Panel {
  const float* centers;  // [groups,d,CENTERS] = -(c - shift)
  const float* norms;    // [groups,CENTERS] = ½|c - shift|², infinite beyond the last center
  const float* origin;   // [d], the shift
};

__device__ inline void load_panel(const float* negated, const float* half_norms, int groups, int d,
                                  float* centers, float* norms) {
  for (int i = threadIdx.x; i < groups * d * CENTERS; i += THREADS) centers[i] = negated[i];
  for (int i = threadIdx.x; i < groups * CENTERS; i += THREADS) norms[i] = half_norms[i];
}

// The rows of a lane; they stay in shared memory.
struct LaneRows {
  const float* rows;  // the first one
};

struct LaneOrigin {};

__device__ inline LaneOrigin origin_of(const Panel&) { return {}; }

__device__ inline LaneRows load_rows(const Tile& tile, const LaneOrigin&, int d) {
  return {tile.rows + threadIdx.x % 32 * PITCH(d)};
}

// score[r][j] += z_r·(-a_j); with SQUARES also |z_r|².
template <bool SQUARES>
__device__ inline void add_products(const float* rows, const Panel& panel, const float* centers,
                                    int d, float (&score)[LANE_ROWS][CENTERS],
                                    BestScores (&scores)[LANE_ROWS]) {
#pragma unroll 4
  for (int from = 0; from < d; from += VECTOR) {  // trips: pieces of a row
    Vector<VECTOR> shift = load<VECTOR>(panel.origin + from), z[LANE_ROWS];
#pragma unroll
    for (int r = 0; r < LANE_ROWS; ++r) z[r] = load<VECTOR>(rows + 32 * r * PITCH(d) + from);
#pragma unroll
    for (int f = 0; f < VECTOR; ++f) {
#pragma unroll
      for (int r = 0; r < LANE_ROWS; ++r) {
        z[r].value[f] -= shift.value[f];
        float square = z[r].value[f] * z[r].value[f];
        if (SQUARES) scores[r].squares += square;
      }
#pragma unroll
      for (int part = 0; part < CENTERS; part += 4) {
        Vector<4> a = load<4>(centers + (from + f) * CENTERS + part);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
          for (int r = 0; r < LANE_ROWS; ++r) {
            score[r][part + j] = fmaf(z[r].value[f], a.value[j], score[r][part + j]);
          }
        }
      }
    }
  }
}

// Score the lane's rows against groups [first, first + groups) of the panel.
__device__ inline void score(const LaneRows& lane_rows, const Panel& panel, int first, int groups,
                             int d, BestScores (&scores)[LANE_ROWS]) {
#pragma unroll
  for (int r = 0; r < LANE_ROWS; ++r) scores[r] = no_scores();
#pragma unroll 1
  for (int group = 0; group < groups; ++group) {  // trips: groups
    const float* centers = panel.centers + (first + group) * d * CENTERS;
    float sums[LANE_ROWS][CENTERS];
#pragma unroll
    for (int part = 0; part < CENTERS; part += 4) {
      Vector<4> norm = load<4>(panel.norms + (first + group) * CENTERS + part);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int r = 0; r < LANE_ROWS; ++r) sums[r][part + j] = norm.value[j];
      }
    }
    if (group == 0) {
      add_products<true>(lane_rows.rows, panel, centers, d, sums, scores);
    } else {  // cold: groups after the first
      add_products<false>(lane_rows.rows, panel, centers, d, sums, scores);
    }
#pragma unroll
    for (int j = 0; j < CENTERS; ++j) {
#pragma unroll
      for (int r = 0; r < LANE_ROWS; ++r) add_score(scores[r], sums[r][j], group * CENTERS + j);
    }
  }
}

__device__ inline void fetch_tile(const Stream& stream, const Tile& tile) {
  fetch<VECTOR>(stream, tile.first, tile.count, tile.rows);
}
