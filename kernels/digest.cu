// digest: a 64-bit digest of rows at their places; digests of runs of rows add.
//
//   x       [n,d] f32 C-order; weight [n] f64, or null    IN
//   factor  [d] u64: random odd numbers                   IN
//   total   [1] u64                                       OUT, added to
//
// A row's bits times the factors, added and mixed; then mixed with its weight and its place
// (`Backend.digest`). 4·d bytes a row, 8 more with weights.
#include "numbers.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
digest(const float* __restrict__ x, const double* __restrict__ weight, long long n, int d,
       const unsigned long long* __restrict__ factor, long long first_row,
       unsigned long long* total) {
  unsigned long long own = 0;
  for (long long row = (long long)blockIdx.x * THREADS + threadIdx.x; row < n;
       row += (long long)gridDim.x * THREADS) {
    unsigned long long bits = 0;
    for (int f = 0; f < d; ++f) bits += __float_as_uint(x[row * d + f]) * factor[f];
    bits = mix(bits);
    if (weight) bits = mix(bits ^ (unsigned long long)__double_as_longlong(weight[row]));
    own += mix(bits ^ mix((unsigned long long)(first_row + row)));
  }
  for (int offset = 16; offset > 0; offset >>= 1) own += __shfl_xor_sync(0xffffffffu, own, offset);
  if ((threadIdx.x & 31) == 0) atomicAdd(total, own);
}
