// distance_sums: Σ |x - point| over the rows of each cell, for every point.
//
//   x      [n,d] f32 C-order, sorted by cell                                IN
//   cell   [n] i32, ascending                                               IN
//   point  [d,m] f32: feature by feature                                    IN
//   magic  f64: the grid of the sums (reproducible_sums.cuh)                IN
//   steps  [cells,m] i64: the sums in steps of the grid                     OUT, added to
//
// |x - point|² in float32, the features in order and no product fused; its root in float32. A block
// takes runs of rows, and a thread a point. All threads read one row at a time, which is broadcast,
// and add their sums to the result where the cell changes. 3·d + 8 FLOP a pair.
#include "common/reproducible_sums.cuh"

#define RUN 256

extern "C" __global__ void __launch_bounds__(THREADS)
distance_sums(const float* __restrict__ x, long long n, int d, const int* __restrict__ cell,
              const float* __restrict__ point, int m, double magic, unsigned long long* steps) {
  for (long long first = (long long)blockIdx.x * RUN; first < n;
       first += (long long)gridDim.x * RUN) {
    long long end = min(first + RUN, n);
    for (int j = threadIdx.x; j < m; j += THREADS) {
      long long sum = 0;
      for (long long row = first; row < end; ++row) {
        float square = 0.0f;
        for (int f = 0; f < d; ++f) {
          float difference = __fsub_rn(x[row * d + f], point[(long long)f * m + j]);
          square = __fadd_rn(square, __fmul_rn(difference, difference));
        }
        double rest;
        sum += grid_steps((double)__fsqrt_rn(square), magic, &rest);
        if (row + 1 == end || cell[row + 1] != cell[row]) {
          atomicAdd(&steps[(long long)cell[row] * m + j], (unsigned long long)sum);
          sum = 0;
        }
      }
    }
  }
}
