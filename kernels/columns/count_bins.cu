// count_bins: count rows by group, feature and bin.
//
//   bins   [n,d] u16, of bin_rows        IN
//   group  [n] i32                       IN
//   count  [groups,d,257] i64            OUT, added to
#define N_COUNTS 257

extern "C" __global__ void __launch_bounds__(THREADS)
count_bins(const unsigned short* __restrict__ bins, long long n, int d,
           const int* __restrict__ group, unsigned long long* count) {
  long long size = n * d;
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < size;
       i += (long long)gridDim.x * THREADS) {
    long long row = i / d;
    int f = (int)(i % d);
    long long place = ((long long)group[row] * d + f) * N_COUNTS + bins[i];
    atomicAdd(&count[place], 1ull);
  }
}
