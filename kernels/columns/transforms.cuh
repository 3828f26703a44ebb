// transforms.cuh: log1p and Yeo-Johnson transforms with the bits of the CPU.
//
// They consist of additions, multiplications and divisions only, none of them fused. The formulas
// and their derivations are in gpuseg/numerics/log1p.py and gpuseg/numerics/yeo_johnson.py.
#pragma once

// log(1 + x); NaN where x is not above -1, or infinite.
__device__ inline double portable_log1p(double x) {
  const double log_2 = 0.6931471805599453, sqrt_half = 0.7071067811865476;
  if (!(x > -1.0) || isinf(x)) return __longlong_as_double(0x7ff8000000000000ll);
  double u = __dadd_rn(1.0, x);
  long long bits = __double_as_longlong(u);
  double power = (double)((int)(bits >> 52 & 0x7ff) - 1022);
  double mantissa = __longlong_as_double((bits & 0x000fffffffffffffll) | 1022ll << 52);
  if (mantissa < sqrt_half) {
    mantissa = __dmul_rn(2.0, mantissa);
    power = __dsub_rn(power, 1.0);
  }
  double s = __ddiv_rn(__dsub_rn(mantissa, 1.0), __dadd_rn(mantissa, 1.0));
  double square = __dmul_rn(s, s), series = __ddiv_rn(1.0, 21.0);
  for (int n = 19; n > 0; n -= 2) {
    series = __dadd_rn(__dmul_rn(series, square), __ddiv_rn(1.0, (double)n));
  }
  double log = __dadd_rn(__dmul_rn(power, log_2), __dmul_rn(__dmul_rn(2.0, s), series));
  double lost = __dsub_rn(x, __dsub_rn(u, 1.0));
  return __dadd_rn(log, __ddiv_rn(lost, u));
}

// e^y - 1; |y| beyond 700 is clipped to 700.
__device__ inline double portable_expm1(double y) {
  const double inverse_log_2 = 1.4426950408889634, high = 6.93147180369123816490e-01,
               low = 1.90821492927058770002e-10, round = 1.5 * 4503599627370496.0;
  if (isnan(y)) return y;
  if (y > 700.0) y = 700.0;
  if (y < -700.0) y = -700.0;
  double k = __dsub_rn(__dadd_rn(__dmul_rn(y, inverse_log_2), round), round);
  double r = __dsub_rn(__dsub_rn(y, __dmul_rn(k, high)), __dmul_rn(k, low));
  double factorial = 87178291200.0, series = __ddiv_rn(1.0, factorial);
  for (int n = 14; n > 1; --n) {
    factorial = __ddiv_rn(factorial, (double)n);
    series = __dadd_rn(__dmul_rn(series, r), __ddiv_rn(1.0, factorial));
  }
  double power = __longlong_as_double((long long)(k + 1023.0) << 52);
  return __dadd_rn(__dmul_rn(power, __dmul_rn(series, r)), __dsub_rn(power, 1.0));
}

// The Yeo-Johnson transform of a value x, from log = log(1 + |x|) and the sign of x.
__device__ inline double portable_yeo_johnson(double log, bool negative, double power) {
  double t = negative ? __dsub_rn(2.0, power) : power;
  double magnitude = t == 0.0 ? log : __ddiv_rn(portable_expm1(__dmul_rn(t, log)), t);
  return negative ? -magnitude : magnitude;
}
