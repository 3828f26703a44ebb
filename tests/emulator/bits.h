// Bits of integers, and conversions between floating-point numbers and their bits.
#pragma once

namespace emulator {

template <class To, class From>
EMULATOR_INTRINSIC To same_bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "both types must have the same number of bits");
  To result;
  memcpy(&result, &value, sizeof result);
  return result;
}

}  // namespace emulator

EMULATOR_INTRINSIC int __float_as_int(float x) { return emulator::same_bits<int>(x); }
EMULATOR_INTRINSIC unsigned __float_as_uint(float x) { return emulator::same_bits<unsigned>(x); }
EMULATOR_INTRINSIC float __int_as_float(int x) { return emulator::same_bits<float>(x); }
EMULATOR_INTRINSIC float __uint_as_float(unsigned x) { return emulator::same_bits<float>(x); }

EMULATOR_INTRINSIC long long __double_as_longlong(double x) {
  return emulator::same_bits<long long>(x);
}

EMULATOR_INTRINSIC double __longlong_as_double(long long x) {
  return emulator::same_bits<double>(x);
}

EMULATOR_INTRINSIC int __popc(unsigned x) { return __builtin_popcount(x); }
EMULATOR_INTRINSIC int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
EMULATOR_INTRINSIC int __ffs(int x) { return __builtin_ffs(x); }
EMULATOR_INTRINSIC int __ffsll(long long x) { return __builtin_ffsll(x); }
EMULATOR_INTRINSIC int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
EMULATOR_INTRINSIC int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }

EMULATOR_INTRINSIC unsigned __brev(unsigned x) {
  // Swap the halves, then the quarters within the halves, and so on.
  x = x >> 16 | x << 16;
  x = (x >> 8 & 0x00ff00ffu) | (x & 0x00ff00ffu) << 8;
  x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
  x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
  return (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
}

EMULATOR_INTRINSIC unsigned __umulhi(unsigned a, unsigned b) {
  return unsigned(uint64_t(a) * b >> 32);
}

EMULATOR_INTRINSIC unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)(a)*b >> 64);
}
