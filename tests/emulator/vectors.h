// float2, int4 and similar types, with their alignment in CUDA.
#pragma once

#define EMULATOR_VECTORS(T, name)                                                  \
  struct alignas(2 * sizeof(T)) name##2 {                                          \
    T x, y;                                                                        \
  };                                                                               \
  struct name##3 {                                                                 \
    T x, y, z;                                                                     \
  };                                                                               \
  struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) name##4 {                \
    T x, y, z, w;                                                                  \
  };                                                                               \
  EMULATOR_INTRINSIC name##2 make_##name##2(T x, T y) { return {x, y}; }           \
  EMULATOR_INTRINSIC name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }   \
  EMULATOR_INTRINSIC name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

EMULATOR_VECTORS(float, float)
EMULATOR_VECTORS(double, double)
EMULATOR_VECTORS(signed char, char)
EMULATOR_VECTORS(unsigned char, uchar)
EMULATOR_VECTORS(short, short)
EMULATOR_VECTORS(unsigned short, ushort)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(unsigned, uint)
EMULATOR_VECTORS(long long, longlong)
EMULATOR_VECTORS(unsigned long long, ulonglong)

#undef EMULATOR_VECTORS

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
