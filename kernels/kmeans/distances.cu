// distances: the squared distance of every row to every center.
//
//   x       [n,d] f32 C-order                                      IN
//   c       [k,d] f64                                              IN
//   square  [n,k] f64 = |x - c|², direct form, features in order   OUT
//
// A thread computes one distance at a time. Neighboring threads compute distances of one row, so
// that its features are fetched once. 8·k bytes a row are written, which bounds the speed.
#include "kmeans/exact_distances.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
distances(const float* __restrict__ x, long long n, int d, const double* __restrict__ c, int k,
          double* square) {
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < n * k;
       i += (long long)gridDim.x * THREADS) {
    long long row = i / k;
    int center = (int)(i - row * k);
    square[i] = squared_distance(x + row * d, c + (long long)center * d, d);
  }
}
