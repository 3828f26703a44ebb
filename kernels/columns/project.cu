// project: every row in the coordinates of its principal components.
//
//   x          [n,d] f32 C-order                                            IN
//   mean       [d] f64                                                      IN
//   components [p,d] f64                                                    IN
//   y          [n,p] f32: y_j = Σ_f (x_f - mean_f)·components_jf, in f64    OUT
//
// The features are summed in order, and no product is fused with its sum. A thread computes one
// value at a time. Neighboring threads compute values of one row, so that its features are fetched
// once. 4·(d + p) bytes a row.
extern "C" __global__ void __launch_bounds__(THREADS)
project(const float* __restrict__ x, long long n, int d, const double* __restrict__ mean,
        const double* __restrict__ components, int p, float* y) {
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < n * p;
       i += (long long)gridDim.x * THREADS) {
    const float* row = x + i / p * d;
    const double* component = components + i % p * d;
    double total = 0.0;
    for (int f = 0; f < d; ++f) {
      double offset = __dsub_rn((double)row[f], mean[f]);
      total = __dadd_rn(total, __dmul_rn(offset, component[f]));
    }
    y[i] = __double2float_rn(total);
  }
}
