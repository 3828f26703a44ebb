// digest: a 64-bit digest of rows and their positions; the digests of runs of rows add up.
//
//   x       [n,d] f32 C-order; weight [n] f64, or null    IN
//   factor  [d] u64: random odd numbers                   IN
//   total   [1] u64                                       OUT, added to
//
// The bits of a row times the factors are added and hashed, then hashed with the weight and the
// position of the row (`Backend.digest`). 4·d bytes a row, 8 more with weights.
#include "columns/splitmix.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
digest(const float* __restrict__ x, const double* __restrict__ weight, long long n, int d,
       const unsigned long long* __restrict__ factor, long long first_row,
       unsigned long long* total) {
  unsigned long long sum = 0;
  for (long long row = (long long)blockIdx.x * THREADS + threadIdx.x; row < n;
       row += (long long)gridDim.x * THREADS) {
    unsigned long long bits = 0;
    for (int f = 0; f < d; ++f) bits += __float_as_uint(x[row * d + f]) * factor[f];
    bits = splitmix64(bits);
    if (weight) bits = splitmix64(bits ^ (unsigned long long)__double_as_longlong(weight[row]));
    sum += splitmix64(bits ^ splitmix64((unsigned long long)(first_row + row)));
  }
  for (int offset = 16; offset > 0; offset >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if ((threadIdx.x & 31) == 0) atomicAdd(total, sum);
}
