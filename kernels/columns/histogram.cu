// histogram: count the sort keys of one column's values, without NaN.
//
//   x        [n,d] f32 C-order, and the column f                                  IN
//   prefix   [p] u32; p = 0: none                                                 IN
//   count    where p = 0: [65536] i64, of the upper 16 bits of the keys;
//            else [p,65536] i64, of the lower 16 bits of the keys with a prefix   OUT, added to
#include "columns/sort_keys.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
histogram(const float* __restrict__ x, long long n, int d, int f,
          const unsigned* __restrict__ prefix, int p, unsigned long long* count) {
  for (long long row = (long long)blockIdx.x * THREADS + threadIdx.x; row < n;
       row += (long long)gridDim.x * THREADS) {
    float value = x[row * d + f];
    if (isnan(value)) continue;
    unsigned key = sort_key(value);
    if (p == 0) atomicAdd(&count[key >> 16], 1ull);
    for (int i = 0; i < p; ++i) {
      if (key >> 16 == prefix[i]) atomicAdd(&count[65536ll * i + (key & 0xffff)], 1ull);
    }
  }
}
