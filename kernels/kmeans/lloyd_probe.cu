// lloyd_probe: how many rows of a sample a Lloyd pass would have to score.
//
//   drift    [K] f32                                        IN
//   label    runs × [n] u8 or i32; slack runs × [n] u16     IN
//   failing  [1] i64: rows of the sample that fail          OUT, added to
//
// The sample is THREADS consecutive rows for each block, the blocks evenly apart. A row fails where
// its slack is not above the drift of its label, for any run (lloyd.cu).
#include "kmeans/row_bounds.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
lloyd_probe(long long n, int runs, const int* __restrict__ first_center,
            const float* __restrict__ drift, const Label* const* label, const Slack* const* slack,
            unsigned long long* failing) {
  long long row = n / gridDim.x * blockIdx.x + threadIdx.x;
  bool fails = false;
  for (int i = 0; i < runs && row < n; ++i) {
    float limit = drift[first_center[i] + label[i][row]];
    fails |= slack[i][row] <= upper_half(limit);
  }
  int count = __syncthreads_count(fails);
  if (threadIdx.x == 0 && count) atomicAdd(failing, (unsigned long long)count);
}
