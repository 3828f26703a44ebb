// power_sums: the sums in the likelihood of Yeo-Johnson transforms of one feature.
//
//   x      [n,d] f32 C-order, of which column f is read                    IN
//   power  [m] f64: λ of each transform t; origin [m] f64                  IN
//   magic  [2,2m+1] f64: coarse and fine grids (reproducible_sums.cuh)     IN
//   steps  [2,2m+1] i64: Σ t - origin and Σ (t - origin)² for each λ, and
//          Σ ±log(1 + |x|) at the end, in steps of their grids             OUT, added to
//
// Block b computes transform b mod (m + 1); the last one is the logarithm itself. A thread sums its
// rows, then a warp its threads. 4 bytes a value, and about 60 FLOP in float64 a λ.
#include "columns/transforms.cuh"
#include "common/reproducible_sums.cuh"

struct ColumnSum {
  const double* magic;  // the coarse grid; the fine one is `columns` further
  unsigned long long* steps;
  int columns;
  long long coarse, fine;  // of this thread
};

__device__ inline void add(ColumnSum& sum, double value) {
  double rest = value;
  sum.coarse += grid_steps(rest, sum.magic[0], &rest);
  sum.fine += grid_steps(rest, sum.magic[sum.columns], &rest);
}

// Add the sums of a warp's threads to the sums of all blocks.
__device__ inline void flush(ColumnSum& sum) {
  for (int offset = 16; offset > 0; offset >>= 1) {
    sum.coarse += __shfl_xor_sync(0xffffffffu, sum.coarse, offset);
    sum.fine += __shfl_xor_sync(0xffffffffu, sum.fine, offset);
  }
  if ((threadIdx.x & 31) == 0) {
    atomicAdd(&sum.steps[0], (unsigned long long)sum.coarse);
    atomicAdd(&sum.steps[sum.columns], (unsigned long long)sum.fine);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
power_sums(const float* __restrict__ x, long long n, int d, int f,
           const double* __restrict__ power, const double* __restrict__ origin, int m,
           const double* __restrict__ magic, unsigned long long* steps) {
  int t = blockIdx.x % (m + 1), columns = 2 * m + 1, groups = gridDim.x / (m + 1);
  ColumnSum values = {magic + t, steps + t, columns, 0, 0};
  ColumnSum squares = {magic + m + t, steps + m + t, columns, 0, 0};
  ColumnSum& logs = squares;  // column 2m for t = m
  for (long long row = (long long)(blockIdx.x / (m + 1)) * THREADS + threadIdx.x; row < n;
       row += (long long)groups * THREADS) {
    double value = x[row * d + f];
    double log = portable_log1p(fabs(value));
    if (t == m) {
      add(logs, value < 0.0 ? -log : log);
    } else {
      double offset = __dsub_rn(portable_yeo_johnson(log, value < 0.0, power[t]), origin[t]);
      add(values, offset);
      add(squares, __dmul_rn(offset, offset));
    }
  }
  flush(squares);
  if (t < m) flush(values);
}
