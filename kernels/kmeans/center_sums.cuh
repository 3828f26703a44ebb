// center_sums.cuh: sums of rows as whole numbers of grid steps, in any order.
//
// The term of a row is w·(x - shift), in float64, rounded to a grid; the remainder is rounded to a
// finer grid (reproducible_sums.cuh). Counted in steps of the grids, the sums are whole numbers:
// they are exact, and a row leaves a sum with minus the steps that it came with.
//
// A block may keep private sums in shared memory until `flush`. Only 32-bit integer additions are
// native there, so a sum is two words, and the thread that makes the lower word overflow adds one
// to the upper word: all of it is arithmetic modulo 2^64.
#pragma once

#include "common/reproducible_sums.cuh"

struct CenterSums {
  const double* magic;      // [2,d+1]: the last column is that of the weight
  unsigned long long* all;  // [2,K,d+1] step counts of all blocks, global
  unsigned *low, *high;     // [2,K,d+1] of this block, shared; null: none
  int cells;                // K·(d+1)
  int columns;              // d + 1
};

// Whole numbers of steps of the coarse and of the fine grid.
struct Steps {
  long long coarse, fine;
};

__device__ inline Steps steps_of(const CenterSums& sums, double value, int f) {
  double rest;
  long long coarse = grid_steps(value, sums.magic[f], &rest);
  long long fine = grid_steps(rest, sums.magic[sums.columns + f], &rest);
  return {coarse, fine};
}

__device__ inline void add_steps(const CenterSums& sums, int cell, long long steps) {
  if (steps == 0) return;
  if (sums.low) {
    unsigned low = (unsigned)steps;
    unsigned before = atomicAdd(&sums.low[cell], low);
    unsigned carry = before > 0xffffffffu - low;
    unsigned high = (unsigned)((unsigned long long)steps >> 32) + carry;
    if (high) atomicAdd(&sums.high[cell], high);
  } else {
    atomicAdd(&sums.all[cell], (unsigned long long)steps);
  }
}

// Add to column f of the center whose first column is `cell`.
__device__ inline void add_both(const CenterSums& sums, int cell, int f, Steps steps) {
  add_steps(sums, cell + f, steps.coarse);
  add_steps(sums, sums.cells + cell + f, steps.fine);
}

// Set the private sums of the block to zero, without a barrier.
__device__ inline void clear(const CenterSums& sums) {
  for (int cell = threadIdx.x; sums.low && cell < 2 * sums.cells; cell += THREADS) {
    sums.low[cell] = 0;
    sums.high[cell] = 0;
  }
}

// Add the private sums of the block to those of all blocks, without a barrier.
__device__ inline void flush(const CenterSums& sums) {
  for (int cell = threadIdx.x; sums.low && cell < 2 * sums.cells; cell += THREADS) {
    unsigned long long steps = (unsigned long long)sums.high[cell] << 32 | sums.low[cell];
    if (steps) atomicAdd(&sums.all[cell], steps);
  }
}
