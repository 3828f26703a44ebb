// prepare: fill, clip, transform and scale every value, in place.
//
//   x          [n,d] f32 C-order                                       IN, OUT
//   fill       [d] f32: for a missing value; NaN: none                 IN
//   bounds     [2,d] f32: what is below or above becomes that          IN
//   transform  [d] i64: 0 none, 1 log1p, 2 Yeo-Johnson                 IN
//   power      [d] f64: λ of the latter                                IN
//   shift, scale [d] f64                                               IN
//
// z = (transform(clip(fill(x))) - shift) / scale in float64, rounded to float32; a logarithm is
// rounded by itself, too. 8·d bytes a row.
#include "numbers.cuh"

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
    double curved = value;
    if (transform[f] == 1) curved = __double2float_rn(log1p_exactly(value));
    if (transform[f] == 2) {
      curved = yeo_johnson_exactly(log1p_exactly(fabs(curved)), value < 0.0f, power[f]);
    }
    x[i] = __double2float_rn(__ddiv_rn(__dsub_rn(curved, shift[f]), scale[f]));
  }
}
