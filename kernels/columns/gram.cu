// gram: Σ (x_i - mean_i)·(x_j - mean_j) over the rows, for i <= j.
//
//   x      [n,d] f32 C-order                                              IN
//   mean   [d] f64                                                        IN
//   magic  [2,d,d] f64: coarse and fine grids (reproducible_sums.cuh)     IN
//   steps  [2,d,d] i64: the sums in steps of their grids; 0 for i > j     OUT, added to
//
// A block takes runs of rows, and a thread a pair of features. The rows of a run stay in the L1
// cache while the pairs are summed. d·(d+1)/2 products a row, 7 FLOP each.
#include "common/reproducible_sums.cuh"

#define RUN 128

extern "C" __global__ void __launch_bounds__(THREADS)
gram(const float* __restrict__ x, long long n, int d, const double* __restrict__ mean,
     const double* __restrict__ magic, unsigned long long* steps) {
  for (long long first = (long long)blockIdx.x * RUN; first < n;
       first += (long long)gridDim.x * RUN) {
    const float* run = x + first * d;
    int rows = (int)min((long long)RUN, n - first);
    for (int pair = threadIdx.x; pair < d * d; pair += THREADS) {
      int i = pair / d, j = pair % d;
      if (j < i) continue;
      long long coarse = 0, fine = 0;
      for (int row = 0; row < rows; ++row) {
        double left = __dsub_rn((double)run[row * d + i], mean[i]);
        double right = __dsub_rn((double)run[row * d + j], mean[j]);
        double rest = __dmul_rn(left, right);
        coarse += grid_steps(rest, magic[pair], &rest);
        fine += grid_steps(rest, magic[d * d + pair], &rest);
      }
      atomicAdd(&steps[pair], (unsigned long long)coarse);
      atomicAdd(&steps[d * d + pair], (unsigned long long)fine);
    }
  }
}
