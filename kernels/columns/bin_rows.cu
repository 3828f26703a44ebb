// bin_rows: the bin of each value, which is the number of its feature's edges below it.
//
//   x      [n,d] f32 C-order                          IN
//   edges  [d,255] f32, not falling in a feature      IN
//   bins   [n,d] u16; 256 for NaN                     OUT
//
// A binary search in eight steps. Comparisons with NaN are false. 6·d bytes a row; the edges of a
// feature take 1 KB, which caches hold.
#define N_EDGES 255
#define MISSING 256

extern "C" __global__ void __launch_bounds__(THREADS)
bin_rows(const float* __restrict__ x, long long n, int d, const float* __restrict__ edges,
         unsigned short* __restrict__ bins) {
  long long size = n * d;
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < size;
       i += (long long)gridDim.x * THREADS) {
    int f = (int)(i % d);
    const float* edge = edges + (long long)f * N_EDGES;
    float value = x[i];
    int place = 0;
    for (int step = 128; step > 0; step >>= 1) {
      place += edge[place + step - 1] < value ? step : 0;
    }
    bins[i] = (unsigned short)(isnan(value) ? MISSING : place);
  }
}
