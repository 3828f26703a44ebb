// decode_column: a decoded column, rounded to float32 and written to its feature.
//
//   values   bytes of a column; its values from `first` on have the type `type`         IN
//   present  a bit for each value, the lowest of a byte first; or null: all present     IN
//   x        [n,d] f32 C-order: feature `feature`, and, if `flag` >= 0, feature `flag`:
//            1 where the value is missing, else 0                                       OUT
//   weight   [n] f64: gets the values in place of x; or null                            OUT
//   refused  [1] u64: finite values beyond float32, or invalid weights             OUT, added to
//
// Whole numbers are rounded to float64 first, as on the CPU. A NaN keeps the bits that float32 has
// room for, because the digest of the content covers them; the device's own conversion drops them.
// 1 to 8 bytes a value are read, 32 written: one column of row-major data.
enum Type { I8, I16, I32, I64, U8, U16, U32, U64, F32, F64, BOOL };

#define QUIET_NAN 0x7fc00000u

template <typename T>
__device__ inline double value_at(const unsigned char* values, long long i) {
  return (double)((const T*)values)[i];
}

__device__ inline double to_float64(const unsigned char* values, int type, long long i) {
  switch (type) {
    case I8: return value_at<signed char>(values, i);
    case I16: return value_at<short>(values, i);
    case I32: return value_at<int>(values, i);
    case I64: return value_at<long long>(values, i);
    case U8: return value_at<unsigned char>(values, i);
    case U16: return value_at<unsigned short>(values, i);
    case U32: return value_at<unsigned>(values, i);
    case U64: return value_at<unsigned long long>(values, i);
    case F32: return value_at<float>(values, i);
    case F64: return value_at<double>(values, i);
    default: return values[i] ? 1.0 : 0.0;
  }
}

// The bits of a value as float32.
__device__ inline unsigned float32_bits(double value) {
  if (!isnan(value)) return __float_as_uint(__double2float_rn(value));
  unsigned long long bits = (unsigned long long)__double_as_longlong(value);
  return ((unsigned)(bits >> 32) & 0x80000000u) | QUIET_NAN | ((unsigned)(bits >> 29) & 0x3fffffu);
}

extern "C" __global__ void __launch_bounds__(THREADS)
decode_column(const unsigned char* __restrict__ values, long long first, int type,
              const unsigned char* __restrict__ present, long long n, float* x, int d, int feature,
              int flag, double* weight, unsigned long long* refused) {
  for (long long row = (long long)blockIdx.x * THREADS + threadIdx.x; row < n;
       row += (long long)gridDim.x * THREADS) {
    long long i = first + row;
    bool is_present = !present || (present[i >> 3] >> (i & 7) & 1);
    double value = is_present ? to_float64(values, type, i)
                              : __longlong_as_double(0x7ff8000000000000ll);
    if (weight) {
      weight[row] = value;
      if (!(value >= 0.0 && value <= 3.4028234663852886e38)) atomicAdd(refused, 1ull);
      continue;
    }
    unsigned bits =
        is_present && type == F32 ? ((const unsigned*)values)[i] : float32_bits(value);
    float rounded = __uint_as_float(bits);
    if (isinf(rounded) && !isinf(value)) atomicAdd(refused, 1ull);
    x[row * d + feature] = rounded;
    if (flag >= 0) x[row * d + flag] = isnan(rounded) ? 1.0f : 0.0f;
  }
}
