// normalize: scale each row to length one, in place; a row of zeros becomes NaN.
//
//   x [n,d] f32 C-order    IN, OUT
//
// One thread sums |x|² of a row, in float64 with the features in order. 8·d bytes a row.
extern "C" __global__ void __launch_bounds__(THREADS)
normalize(float* x, long long n, int d) {
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < n;
       i += (long long)gridDim.x * THREADS) {
    float* row = x + i * d;
    double squares = 0.0;
    for (int f = 0; f < d; ++f) squares = __dadd_rn(squares, __dmul_rn(row[f], row[f]));
    double norm = __dsqrt_rn(squares);
    for (int f = 0; f < d; ++f) row[f] = __double2float_rn(__ddiv_rn(row[f], norm));
  }
}
