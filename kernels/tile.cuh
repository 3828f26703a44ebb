// tile.cuh: rows of a tile against groups of centres: the two least scores of each row.
//
// With z = x - s and a = c - s measured from the shift s, the nearest centre has the least score
//     ½|a|² - z·a  =  ½|x - c|² - ½|z|².
// A tile is TILE rows in shared memory, feature by feature: tile[f·TILE + slot]. A thread owns
// ROWS slots side by side and scores them against CENTERS centres at a time. Per feature it
// loads ROWS + CENTERS values and does ROWS·CENTERS fused multiply-adds; running scores stay
// in registers, and no score is ever written to memory.
//
// Where a whole row does not fit (`Space.features` < d), the tile holds some features at a time
// and is fetched anew for each group of centres.
#pragma once

#include "pack.cuh"

#define TILE (THREADS * ROWS)
#define BLOCKS 4  // on a multiprocessor at once: leaves 128 registers a thread

// The rows of a tile: row first + queue[slot] of x for slot < count.
struct Rows {
  const float* x;      // [n,d]
  const float* shift;  // [d]
  int d;
  long long first;
  const int* queue;    // [count], shared
  int count;
};

// The centres of one run, in groups of CENTERS.
struct Run {
  const double* exact;      // [k,d]
  const float* negated;     // [groups,d,CENTERS] = -(c - shift)
  const float* half_norms;  // [groups,CENTERS] = ½|c - shift|², infinite beyond k
  float largest_norm;       // max |c - shift|
  int k, groups;
  int panel;                // where its groups begin in a panel that holds all of them
};

// Shared memory for scoring.
struct Space {
  float* tile;     // [features,TILE]
  float* panel;    // all groups of all runs, or one group's [features,CENTERS]
  int features;    // that fit into the tile
  bool resident;   // whether the panel holds all groups
  int loaded;      // first feature in the tile; -1: none
};

// What was found out about one row: scores as above, squares = |z|².
struct Found {
  float best, second, squares;
  int label;
};

// Fetch features from … from + features of the tile's rows. The last slots of a thread that is
// not full get copies of the last row. 16 bytes a load where rows allow it (VECTOR = 4); four
// loads are under way before the first is waited for.
__device__ inline void load_tile(const Rows& rows, int from, int features, float* tile) {
  const int batch = 4;
  int filled = (rows.count + ROWS - 1) / ROWS * ROWS;
  int pieces = features / VECTOR;
  int slot = threadIdx.x / pieces, piece = threadIdx.x % pieces;
  int slots = THREADS / pieces, rest = THREADS % pieces;
  while (slot < filled) {
    Pack<VECTOR> values[batch];
    int at[batch], feature[batch];
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      at[i] = slot;
      feature[i] = piece * VECTOR;
      if (slot < filled) {
        long long row = rows.first + rows.queue[min(slot, rows.count - 1)];
        values[i] = load<VECTOR>(rows.x + row * rows.d + from + feature[i]);
      }
      slot += slots;
      piece += rest;
      if (piece >= pieces) {
        piece -= pieces;
        slot += 1;
      }
    }
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      if (at[i] >= filled) break;
      for (int j = 0; j < VECTOR; ++j) {
        int f = feature[i] + j;
        tile[f * TILE + at[i]] = values[i].value[j] - rows.shift[from + f];
      }
    }
  }
}

// Copy `count` values, a multiple of 4, into shared memory.
__device__ inline void load_panel(const float* source, int count, float* panel) {
  for (int i = threadIdx.x * 4; i < count; i += THREADS * 4) {
    *reinterpret_cast<Pack<4>*>(panel + i) = load<4>(source + i);
  }
}

// score[r][j] += z_r·(-a_j) over some features; with SQUARES also squares[r] += |z_r|².
template <bool SQUARES>
__device__ inline void add_products(const float* tile, const float* panel, int features,
                                    float (&score)[ROWS][CENTERS], float (&squares)[ROWS]) {
#pragma unroll 4
  for (int f = 0; f < features; ++f) {
    Pack<ROWS> z = load<ROWS>(tile + f * TILE + threadIdx.x * ROWS);
#pragma unroll
    for (int part = 0; part < CENTERS; part += 4) {
      Pack<4> a = load<4>(panel + f * CENTERS + part);
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          score[r][part + j] = fmaf(z.value[r], a.value[j], score[r][part + j]);
        }
      }
    }
#pragma unroll
    for (int r = 0; SQUARES && r < ROWS; ++r) {
      squares[r] = fmaf(z.value[r], z.value[r], squares[r]);
    }
  }
}

// Score the tile's rows against all centres of a run. Every thread of the block must call it;
// `found` of a thread without rows is undefined.
__device__ inline void score_tile(const Rows& rows, const Run& run, Space& space,
                                  Found (&found)[ROWS]) {
  float squares[ROWS] = {};
  const float infinite = __int_as_float(0x7f800000);
#pragma unroll
  for (int r = 0; r < ROWS; ++r) found[r] = {infinite, infinite, 0.0f, 0};
  bool busy = threadIdx.x * ROWS < rows.count;
  for (int group = 0; group < run.groups; ++group) {
    float score[ROWS][CENTERS];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
      for (int j = 0; j < CENTERS; ++j) score[r][j] = run.half_norms[group * CENTERS + j];
    }
    for (int from = 0; from < rows.d; from += space.features) {
      int features = min(space.features, rows.d - from);
      int place = (group * rows.d + from) * CENTERS;
      bool fetch = space.loaded != from;
      if (fetch || !space.resident) {
        __syncthreads();  // all are done with what is replaced now
        if (fetch) load_tile(rows, from, features, space.tile);
        if (!space.resident) load_panel(run.negated + place, features * CENTERS, space.panel);
        space.loaded = from;
        __syncthreads();
      }
      const float* panel = space.panel + (space.resident ? run.panel + place : 0);
      if (busy && group == 0) add_products<true>(space.tile, panel, features, score, squares);
      if (busy && group > 0) add_products<false>(space.tile, panel, features, score, squares);
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
      for (int j = 0; j < CENTERS; ++j) {
        float s = score[r][j];
        found[r].second = fminf(found[r].second, fmaxf(found[r].best, s));
        if (s < found[r].best) {
          found[r].best = s;
          found[r].label = group * CENTERS + j;
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) found[r].squares = squares[r];
}
