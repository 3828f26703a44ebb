// Arithmetic of tensor cores and special functions, under the names of PTX. Its results are known
// only within a bound, and the emulator draws them within that bound (approximate.cpp).
#pragma once

EMULATOR_INTRINSIC void __mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4],
                                            const unsigned (&b)[2], const float (&c)[4]) {
  emulator::Fragments fragments = {
      {a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {c[0], c[1], c[2], c[3]}, {}};
  emulator::multiply(fragments);
  for (int i = 0; i < 4; i++) d[i] = fragments.d[i];
}

EMULATOR_INTRINSIC float __sqrt_approx_f32(float x) { return emulator::approximate_root(x); }
