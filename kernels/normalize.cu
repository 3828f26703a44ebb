// normalize: scale each row to length one, in place; a row of zeros becomes NaN.
//
//   x [n,d] f32 C-order    IN, OUT
//
// |x|² is summed in float64 with the features in order, by one thread a row. 8·d bytes a row.
extern "C" __global__ void __launch_bounds__(THREADS)
normalize(float* x, long long n, int d) {
  for (long long row = (long long)blockIdx.x * THREADS + threadIdx.x; row < n;
       row += (long long)gridDim.x * THREADS) {
    float* own = x + row * d;
    double squares = 0.0;
    for (int f = 0; f < d; ++f) squares = __dadd_rn(squares, __dmul_rn(own[f], own[f]));
    double norm = __dsqrt_rn(squares);
    for (int f = 0; f < d; ++f) own[f] = __double2float_rn(__ddiv_rn(own[f], norm));
  }
}
