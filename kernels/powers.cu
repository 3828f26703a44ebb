// powers: what the likelihood of Yeo-Johnson transforms of one feature is made of.
//
//   x      [n,d] f32 C-order, of which column f is read                    IN
//   power  [m] f64: λ of each transform t; origin [m] f64                  IN
//   magic  [2,2m+1] f64: grids, coarse and fine (exact.cuh)                IN
//   steps  [2,2m+1] i64: Σ t - origin, Σ (t - origin)², for each λ, and
//          last Σ ±log(1 + |x|), in steps of their grids                   OUT, added to
//
// Block b serves transform b mod (m + 1), the last of which is the logarithm itself. A thread adds
// up its own rows, then a warp its threads. 4 bytes a value, and about 60 FLOP in float64 a λ.
#include "exact.cuh"
#include "numbers.cuh"

struct Column {
  const double* magic;  // coarse, and fine `all` columns further on
  unsigned long long* steps;
  int all;
  long long coarse, fine;  // of this thread
};

__device__ inline void add(Column& column, double value) {
  double rest = value;
  column.coarse += on_grid(rest, column.magic[0], &rest);
  column.fine += on_grid(rest, column.magic[column.all], &rest);
}

// Add what the threads of each warp have found to what all have.
__device__ inline void flush(Column& column) {
  for (int offset = 16; offset > 0; offset >>= 1) {
    column.coarse += __shfl_xor_sync(0xffffffffu, column.coarse, offset);
    column.fine += __shfl_xor_sync(0xffffffffu, column.fine, offset);
  }
  if ((threadIdx.x & 31) == 0) {
    atomicAdd(&column.steps[0], (unsigned long long)column.coarse);
    atomicAdd(&column.steps[column.all], (unsigned long long)column.fine);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
powers(const float* __restrict__ x, long long n, int d, int f, const double* __restrict__ power,
       const double* __restrict__ origin, int m, const double* __restrict__ magic,
       unsigned long long* steps) {
  int own = blockIdx.x % (m + 1), all = 2 * m + 1, groups = gridDim.x / (m + 1);
  Column values = {magic + own, steps + own, all, 0, 0};
  Column squares = {magic + m + own, steps + m + own, all, 0, 0};
  Column& logs = squares;  // for own = m it is column 2m
  for (long long row = (long long)(blockIdx.x / (m + 1)) * THREADS + threadIdx.x; row < n;
       row += (long long)groups * THREADS) {
    double value = x[row * d + f];
    double log = log1p_exactly(fabs(value));
    if (own == m) {
      add(logs, value < 0.0 ? -log : log);
    } else {
      double t = __dsub_rn(yeo_johnson_exactly(log, value < 0.0, power[own]), origin[own]);
      add(values, t);
      add(squares, __dmul_rn(t, t));
    }
  }
  flush(squares);
  if (own < m) flush(values);
}
