// Floating-point operations with a given rounding that are never fused, and min and max.
#pragma once

#include <fenv.h>

// A register of floating-point numbers, to inline assembly.
#if defined(__x86_64__)
#define EMULATOR_REGISTER "+x"
#elif defined(__aarch64__)
#define EMULATOR_REGISTER "+w"
#else
#error "the emulator runs on x86-64 and on aarch64"
#endif

namespace emulator {

// Returns `value` and hides its origin from the compiler, so that the operations that produce and
// use it are not fused into one, which would round once instead of twice.
template <class T>
EMULATOR_INTRINSIC T apart(T value) {
  asm("" : EMULATOR_REGISTER(value));
  return value;
}

// Computes `operation(a, b)` with a rounding direction. The compiler ignores rounding modes. But
// volatile assembly keeps its order among the calls of fesetround, and so does an operation that
// takes its operands from one such statement and gives its result to the next.
template <class Operation>
EMULATOR_INTRINSIC float rounded(int direction, float a, float b, Operation operation) {
  fesetround(direction);
  asm volatile("" : EMULATOR_REGISTER(a), EMULATOR_REGISTER(b) : : "memory");
  float result = operation(a, b);
  asm volatile("" : EMULATOR_REGISTER(result) : : "memory");
  fesetround(FE_TONEAREST);
  return result;
}

template <class A, class B>
using Common = std::common_type_t<A, B>;

}  // namespace emulator

// ---- Rounded to nearest like + − × ÷, but never fused

#define EMULATOR_BINARY(name, T, operator)                                          \
  EMULATOR_INTRINSIC T name(T a, T b) {                                             \
    return emulator::apart(emulator::apart(a) operator emulator::apart(b));         \
  }

EMULATOR_BINARY(__fadd_rn, float, +)
EMULATOR_BINARY(__fsub_rn, float, -)
EMULATOR_BINARY(__fmul_rn, float, *)
EMULATOR_BINARY(__fdiv_rn, float, /)
EMULATOR_BINARY(__dadd_rn, double, +)
EMULATOR_BINARY(__dsub_rn, double, -)
EMULATOR_BINARY(__dmul_rn, double, *)
EMULATOR_BINARY(__ddiv_rn, double, /)

#undef EMULATOR_BINARY

EMULATOR_INTRINSIC float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
EMULATOR_INTRINSIC double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
EMULATOR_INTRINSIC float __fsqrt_rn(float x) { return sqrtf(x); }
EMULATOR_INTRINSIC double __dsqrt_rn(double x) { return sqrt(x); }

// ---- Rounded down and up

#define EMULATOR_DIRECTED(name, direction, result)                                         \
  EMULATOR_INTRINSIC float name(float a, float b) {                                        \
    return emulator::rounded(direction, a, b, [](float a, float b) { return result; });    \
  }

EMULATOR_DIRECTED(__fadd_rd, FE_DOWNWARD, a + b)
EMULATOR_DIRECTED(__fadd_ru, FE_UPWARD, a + b)
EMULATOR_DIRECTED(__fsub_rd, FE_DOWNWARD, a - b)
EMULATOR_DIRECTED(__fsub_ru, FE_UPWARD, a - b)
EMULATOR_DIRECTED(__fmul_rd, FE_DOWNWARD, a * b)
EMULATOR_DIRECTED(__fmul_ru, FE_UPWARD, a * b)
EMULATOR_DIRECTED(__fdiv_rd, FE_DOWNWARD, a / b)
EMULATOR_DIRECTED(__fdiv_ru, FE_UPWARD, a / b)

#undef EMULATOR_DIRECTED

EMULATOR_INTRINSIC float __fsqrt_rd(float x) {
  return emulator::rounded(FE_DOWNWARD, x, x, [](float x, float) { return sqrtf(x); });
}

EMULATOR_INTRINSIC float __fsqrt_ru(float x) {
  return emulator::rounded(FE_UPWARD, x, x, [](float x, float) { return sqrtf(x); });
}

// ---- Conversions

EMULATOR_INTRINSIC float __double2float_rn(double x) { return float(x); }
EMULATOR_INTRINSIC double __ll2double_rn(long long x) { return double(x); }

// A GPU saturates, and converts NaN to the smallest integer; C++ leaves both undefined.
EMULATOR_INTRINSIC long long __double2ll_rn(double x) {
  constexpr double end = 9223372036854775808.0;
  constexpr long long largest = 0x7fffffffffffffff;
  return x >= end ? largest : x >= -end ? llrint(x) : -largest - 1;
}

namespace emulator {

// Returns the upper half of a float32: the bfloat16 nearest to x, ties to even.
EMULATOR_INTRINSIC unsigned to_bf16(float x) {
  const unsigned bits = same_bits<unsigned>(x);
  return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

}  // namespace emulator

// The name and the order of operands are those of PTX: the first goes to the upper half.
EMULATOR_INTRINSIC unsigned __cvt_rn_bf16x2_f32(float high, float low) {
  return emulator::to_bf16(high) << 16 | emulator::to_bf16(low);
}

// ---- min and max: of mixed types as in CUDA; of a number and a NaN, the number

template <class A, class B>
EMULATOR_INTRINSIC emulator::Common<A, B> min(A a, B b) {
  using T = emulator::Common<A, B>;
  if constexpr (std::is_floating_point_v<T>) {
    return fmin(T(a), T(b));
  } else {
    return T(b) < T(a) ? T(b) : T(a);
  }
}

template <class A, class B>
EMULATOR_INTRINSIC emulator::Common<A, B> max(A a, B b) {
  using T = emulator::Common<A, B>;
  if constexpr (std::is_floating_point_v<T>) {
    return fmax(T(a), T(b));
  } else {
    return T(a) < T(b) ? T(b) : T(a);
  }
}
