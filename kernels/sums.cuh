// sums.cuh: sums of rows as whole numbers of grid steps, in any order.
//
// A row's term is w·(x - shift), in float64, rounded to a grid and to a finer one for what the
// first rounds off (exact.cuh). Counted in steps of the grids the sums are whole numbers: they are
// exact, and a row leaves with minus the steps that it came with.
//
// A block may keep sums of its own in shared memory until `flush`. Only 32-bit integer additions
// are native there, so a sum is two words, and whoever makes the lower one wrap round adds one to
// the upper one: all of it is arithmetic modulo 2^64.
#pragma once

#include "exact.cuh"

struct Sums {
  const double* magic;      // [2,d+1]: the last column is that of the weight
  unsigned long long* all;  // [2,K,d+1] step counts of all blocks, global
  unsigned *low, *high;     // [2,K,d+1] of this block, shared; null: none
  int cells;                // K·(d+1)
  int columns;              // d + 1
};

// Two whole numbers of steps, of the coarse and of the fine grid.
struct Steps {
  long long coarse, fine;
};

__device__ inline Steps steps_of(const Sums& sums, double value, int f) {
  double rest;
  long long coarse = on_grid(value, sums.magic[f], &rest);
  long long fine = on_grid(rest, sums.magic[sums.columns + f], &rest);
  return {coarse, fine};
}

__device__ inline void add_steps(const Sums& sums, int cell, long long steps) {
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

// Add to column f of the centre whose first column is `cell`.
__device__ inline void add_both(const Sums& sums, int cell, int f, Steps steps) {
  add_steps(sums, cell + f, steps.coarse);
  add_steps(sums, sums.cells + cell + f, steps.fine);
}

// Set the block's own sums to zero, without a barrier.
__device__ inline void clear(const Sums& sums) {
  for (int cell = threadIdx.x; sums.low && cell < 2 * sums.cells; cell += THREADS) {
    sums.low[cell] = 0;
    sums.high[cell] = 0;
  }
}

// Add the block's own sums to those of all blocks, without a barrier.
__device__ inline void flush(const Sums& sums) {
  for (int cell = threadIdx.x; sums.low && cell < 2 * sums.cells; cell += THREADS) {
    unsigned long long steps = (unsigned long long)sums.high[cell] << 32 | sums.low[cell];
    if (steps) atomicAdd(&sums.all[cell], steps);
  }
}
