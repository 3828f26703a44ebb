// sums.cuh: rows that change their centre, into its sums and out of those of the old one.
//
// A row's term is w·(x - shift), in float64, rounded to a grid and to a finer one for what the
// first rounds off (exact.cuh). Counted in steps of the grids the sums are whole numbers: they are
// exact, and -v is rounded to minus what v is rounded to, so a row leaves as it was added.
//
// PRIVATE = 1 keeps a block's sums in shared memory until `flush`, each in two 32-bit words, for
// only 32-bit integer additions are native there. It asks for grids of n >= 2^17 terms and for a
// flush after at most 2^13 rows: a count is then below 2^35, low words of 18 bits add up to less
// than 2^32, and high words to less than 2^31.
#pragma once

#include "exact.cuh"
#include "tile.cuh"

#define LOW_BITS 18

// The rows of a tile that changed their centre, in shared memory. A cell is a centre's first
// column in the sums.
struct Moved {
  int* row;     // [TILE] counted from the first row of the chunk
  int* left;    // [TILE] cell of the centre that it left; -1: none
  int* joined;  // [TILE] cell of the centre that it joined
  int* count;
};

struct Sums {
  const double* magic;      // [2,d+1]: the last column is that of the weight
  unsigned long long* all;  // [2,K,d+1] step counts of all blocks, global
  unsigned* low;            // [2,K,d+1] of this block, shared; with PRIVATE
  int* high;
  int cells;                // K·(d+1)
  int columns;              // d + 1
};

__device__ inline void add_steps(const Sums& sums, int cell, long long steps) {
#if PRIVATE
  atomicAdd(&sums.low[cell], (unsigned)(steps & ((1 << LOW_BITS) - 1)));
  atomicAdd(&sums.high[cell], (int)(steps >> LOW_BITS));
#else
  atomicAdd(&sums.all[cell], (unsigned long long)steps);
#endif
}

// Add one value to column f of the centre joined, and take it from that of the one left.
__device__ inline void move_value(const Sums& sums, double value, int f, int left, int joined) {
  double rest = value;
#pragma unroll
  for (int level = 0; level < 2; ++level) {
    long long steps = on_grid(rest, sums.magic[level * sums.columns + f], &rest);
    add_steps(sums, level * sums.cells + joined + f, steps);
    if (left >= 0) add_steps(sums, level * sums.cells + left + f, -steps);
  }
}

// Move all rows of the list: 2^j lanes take a row, a lane a feature; then a thread a row's weight.
__device__ inline void move_rows(const Rows& rows, const double* weight, const Moved& moved,
                                 const Sums& sums) {
  int lanes = 1;
  while (lanes < rows.d && lanes < 32) lanes *= 2;
  for (int i = threadIdx.x / lanes; i < *moved.count; i += THREADS / lanes) {
    long long row = rows.first + moved.row[i];
    double heavy = weight ? weight[row] : 1.0;
    for (int f = threadIdx.x % lanes; f < rows.d; f += lanes) {
      double offset = __dsub_rn((double)rows.x[row * rows.d + f], (double)rows.shift[f]);
      move_value(sums, __dmul_rn(heavy, offset), f, moved.left[i], moved.joined[i]);
    }
  }
  for (int i = threadIdx.x; i < *moved.count; i += THREADS) {
    double heavy = weight ? weight[rows.first + moved.row[i]] : 1.0;
    move_value(sums, heavy, rows.d, moved.left[i], moved.joined[i]);
  }
}

#if PRIVATE
// Set the block's own sums to zero, without a barrier.
__device__ inline void clear(const Sums& sums) {
  for (int cell = threadIdx.x; cell < 2 * sums.cells; cell += THREADS) {
    sums.low[cell] = 0;
    sums.high[cell] = 0;
  }
}

// Add the block's own sums to those of all blocks and set them to zero, without a barrier.
__device__ inline void flush(const Sums& sums) {
  for (int cell = threadIdx.x; cell < 2 * sums.cells; cell += THREADS) {
    long long steps = ((long long)sums.high[cell] << LOW_BITS) + sums.low[cell];
    if (steps) atomicAdd(&sums.all[cell], (unsigned long long)steps);
  }
  clear(sums);
}
#endif
