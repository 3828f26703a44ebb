// score_tile.cuh: the two best scores of the rows of a tile against groups of centers.
//
// With z = x - s and a = c - s measured from the shift s, the nearest center has the lowest score
//     ½|a|² - z·a  =  ½|x - c|² - ½|z|².
// A tile is TILE rows in shared memory, feature by feature: tile[f·TILE + slot]. A thread owns
// ROWS adjacent slots and scores them against CENTERS centers at a time. Per feature it loads
// ROWS + CENTERS values and does ROWS·CENTERS fused multiply-adds; running scores stay in
// registers, and no score is written to memory.
//
// Where a whole row does not fit (`TileMemory.features` < d), the tile holds some features at a
// time and is fetched again for each group of centers.
#pragma once

#include "kmeans/best_scores.cuh"
#include "kmeans/vector_load.cuh"

#define TILE (THREADS * ROWS)
#define BLOCKS 4  // at once on a multiprocessor: leaves 128 registers for each thread

// The rows of a tile: row first + queue[slot] of x for slot < count.
struct QueuedRows {
  const float* x;      // [n,d]
  const float* shift;  // [d]
  int d;
  long long first;
  const int* queue;    // [count], shared
  int count;
};

// The centers of one run, in groups of CENTERS.
struct RunCenters {
  const double* exact;      // [k,d]
  const float* negated;     // [groups,d,CENTERS] = -(c - shift)
  const float* half_norms;  // [groups,CENTERS] = ½|c - shift|², infinite beyond k
  float largest_norm;       // max |c - shift|
  int k, groups;
  int panel;                // where its groups begin in a panel of all runs
};

// Shared memory for scoring.
struct TileMemory {
  float* tile;     // [features,TILE]
  float* panel;    // all groups of all runs, or one group's [features,CENTERS]
  int features;    // that fit into the tile
  bool resident;   // whether the panel holds all groups
  int loaded;      // the first feature in the tile; -1: none
};

// Fetch features from … from + features of the tile's rows. The unused slots of a thread get copies
// of the last row. Loads have 16 bytes where rows allow it (VECTOR = 4); four loads are started
// before the first is waited for.
__device__ inline void load_tile(const QueuedRows& rows, int from, int features, float* tile) {
  const int batch = 4;
  int filled = (rows.count + ROWS - 1) / ROWS * ROWS;
  int pieces = features / VECTOR;
  int slot = threadIdx.x / pieces, piece = threadIdx.x % pieces;
  int slots = THREADS / pieces, rest = THREADS % pieces;
  while (slot < filled) {
    Vector<VECTOR> values[batch];
    int target[batch], feature[batch];
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      target[i] = slot;
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
      if (target[i] >= filled) break;
      for (int j = 0; j < VECTOR; ++j) {
        int f = feature[i] + j;
        tile[f * TILE + target[i]] = values[i].value[j] - rows.shift[from + f];
      }
    }
  }
}

// Copy `count` values, a multiple of 4, to shared memory.
__device__ inline void load_panel(const float* source, int count, float* panel) {
  for (int i = threadIdx.x * 4; i < count; i += THREADS * 4) {
    *reinterpret_cast<Vector<4>*>(panel + i) = load<4>(source + i);
  }
}

// score[r][j] += z_r·(-a_j) over some features; with SQUARES also squares[r] += |z_r|².
template <bool SQUARES>
__device__ inline void add_products(const float* tile, const float* panel, int features,
                                    float (&score)[ROWS][CENTERS], float (&squares)[ROWS]) {
#pragma unroll 4
  for (int f = 0; f < features; ++f) {
    Vector<ROWS> z = load<ROWS>(tile + f * TILE + threadIdx.x * ROWS);
#pragma unroll
    for (int part = 0; part < CENTERS; part += 4) {
      Vector<4> a = load<4>(panel + f * CENTERS + part);
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

// Score the tile's rows against all centers of a run. All threads of the block must call it;
// `scores` of a thread without rows is undefined.
__device__ inline void score_tile(const QueuedRows& rows, const RunCenters& run,
                                  TileMemory& memory, BestScores (&scores)[ROWS]) {
  float squares[ROWS] = {};
#pragma unroll
  for (int r = 0; r < ROWS; ++r) scores[r] = no_scores();
  bool has_rows = threadIdx.x * ROWS < rows.count;
  for (int group = 0; group < run.groups; ++group) {
    float score[ROWS][CENTERS];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
      for (int j = 0; j < CENTERS; ++j) score[r][j] = run.half_norms[group * CENTERS + j];
    }
    for (int from = 0; from < rows.d; from += memory.features) {
      int features = min(memory.features, rows.d - from);
      int offset = (group * rows.d + from) * CENTERS;
      bool fetch = memory.loaded != from;
      if (fetch || !memory.resident) {
        __syncthreads();  // all threads are done with what is replaced now
        if (fetch) load_tile(rows, from, features, memory.tile);
        if (!memory.resident) load_panel(run.negated + offset, features * CENTERS, memory.panel);
        memory.loaded = from;
        __syncthreads();
      }
      const float* panel = memory.panel + (memory.resident ? run.panel + offset : 0);
      if (has_rows && group == 0) add_products<true>(memory.tile, panel, features, score, squares);
      if (has_rows && group > 0) add_products<false>(memory.tile, panel, features, score, squares);
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
      for (int j = 0; j < CENTERS; ++j) add_score(scores[r], score[r][j], group * CENTERS + j);
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) scores[r].squares = squares[r];
}
