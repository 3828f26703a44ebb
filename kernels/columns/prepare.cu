// prepare: fill, clip, transform and scale every value, in place.
//
//   x          [n,d] f32 C-order                                       IN, OUT
//   fill       [d] f32: replaces missing values; NaN: none             IN
//   bounds     [2,d] f32: values are clipped to them                   IN
//   transform  [d] i64: 0 none, 1 log1p, 2 Yeo-Johnson                 IN
//   power      [d] f64: λ of Yeo-Johnson                               IN
//   shift, scale [d] f64                                               IN
//
// z = (transform(clip(fill(x))) - shift) / scale in float64, rounded to float32. A logarithm is
// rounded to float32 before it is scaled. 8·d bytes a row.
#include "columns/transforms.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
prepare(float* x, long long n, int d, const float* __restrict__ fill,
        const float* __restrict__ bounds, const long long* __restrict__ transform,
        const double* __restrict__ power, const double* __restrict__ shift,
        const double* __restrict__ scale) {
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < n * d;
       i += (long long)gridDim.x * THREADS) {
    int f = (int)(i % d);
    float value = isnan(x[i]) ? fill[f] : x[i];
    if (value < bounds[f]) value = bounds[f];
    if (value > bounds[d + f]) value = bounds[d + f];
    double transformed = value;
    if (transform[f] == 1) transformed = __double2float_rn(portable_log1p(value));
    if (transform[f] == 2) {
      double log = portable_log1p(fabs(transformed));
      transformed = portable_yeo_johnson(log, value < 0.0f, power[f]);
    }
    x[i] = __double2float_rn(__ddiv_rn(__dsub_rn(transformed, shift[f]), scale[f]));
  }
}
