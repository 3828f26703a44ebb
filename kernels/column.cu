// column: a column as it was decoded, into its place among the features, rounded to float32.
//
//   values   bytes of a column; its values from `first` on are of the type `type`      IN
//   present  a bit for each value, the lowest of a byte first; or null: all are there  IN
//   x        [n,d] f32 C-order                                                         OUT
//            feature `feature`; and 1 or 0 in `flag` where there is no value, if >= 0
//   weight   [n] f64: takes the values in place of x; or null                          OUT
//   refused  [1] u64: values that are finite and beyond float32, or no weight          OUT, added to
//
// Whole numbers are rounded to float64 first, as on the CPU. A NaN keeps what float32 has room for
// of its bits, which the device's own conversion does not do, since the digest of the content is
// made of them. 1 to 8 bytes a value are read, 32 written: one column of row-major data.
enum Type { I8, I16, I32, I64, U8, U16, U32, U64, F32, F64, BOOL };

#define NOTHING 0x7fc00000u

template <typename T>
__device__ inline double at(const unsigned char* values, long long i) {
  return (double)((const T*)values)[i];
}

__device__ inline double wide(const unsigned char* values, int type, long long i) {
  switch (type) {
    case I8: return at<signed char>(values, i);
    case I16: return at<short>(values, i);
    case I32: return at<int>(values, i);
    case I64: return at<long long>(values, i);
    case U8: return at<unsigned char>(values, i);
    case U16: return at<unsigned short>(values, i);
    case U32: return at<unsigned>(values, i);
    case U64: return at<unsigned long long>(values, i);
    case F32: return at<float>(values, i);
    case F64: return at<double>(values, i);
    default: return values[i] ? 1.0 : 0.0;
  }
}

// The bits of a value as float32.
__device__ inline unsigned narrow(double value) {
  if (!isnan(value)) return __float_as_uint(__double2float_rn(value));
  unsigned long long bits = (unsigned long long)__double_as_longlong(value);
  return ((unsigned)(bits >> 32) & 0x80000000u) | NOTHING | ((unsigned)(bits >> 29) & 0x3fffffu);
}

extern "C" __global__ void __launch_bounds__(THREADS)
column(const unsigned char* __restrict__ values, long long first, int type,
       const unsigned char* __restrict__ present, long long n, float* x, int d, int feature,
       int flag, double* weight, unsigned long long* refused) {
  for (long long row = (long long)blockIdx.x * THREADS + threadIdx.x; row < n;
       row += (long long)gridDim.x * THREADS) {
    long long i = first + row;
    bool there = !present || (present[i >> 3] >> (i & 7) & 1);
    double value = there ? wide(values, type, i) : __longlong_as_double(0x7ff8000000000000ll);
    if (weight) {
      weight[row] = value;
      if (!(value >= 0.0 && value <= 3.4028234663852886e38)) atomicAdd(refused, 1ull);
      continue;
    }
    unsigned bits = there && type == F32 ? ((const unsigned*)values)[i] : narrow(value);
    float rounded = __uint_as_float(bits);
    if (isinf(rounded) && !isinf(value)) atomicAdd(refused, 1ull);
    x[row * d + feature] = rounded;
    if (flag >= 0) x[row * d + flag] = isnan(rounded) ? 1.0f : 0.0f;
  }
}
