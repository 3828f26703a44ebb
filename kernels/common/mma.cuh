// mma.cuh: products of small matrices on tensor cores, from pairs of bfloat16.
//
// A warp computes D = A·B + C with A [16,16], B [16,8], C and D [16,8]. Each lane holds some of
// the elements in registers. With g = lane / 4 and t = lane % 4:
//
//   a[0]: row g,     columns 2t, 2t + 1          b[0]: rows 2t,     2t + 1, column g
//   a[1]: row g + 8, columns 2t, 2t + 1          b[1]: rows 2t + 8, 2t + 9, column g
//   a[2]: row g,     columns 2t + 8, 2t + 9
//   a[3]: row g + 8, columns 2t + 8, 2t + 9
//   c[0], c[1], d[0], d[1]: row g,     columns 2t, 2t + 1
//   c[2], c[3], d[2], d[3]: row g + 8, columns 2t, 2t + 1
//
// The first of the two elements in a register of A or B is in its lower half.
//
// How the 16 products and c are added is not documented: in which order, in how many bits, rounded
// how. Assumed is that an element of D, with S = |c| + the sum of the magnitudes of its products,
//   - is off by at most 18·2^-23·S + 2^-126 while S < 2^127: there is room for 17 additions, each
//     one truncated to 24 bits, for one more rounding, and for small results that become 0;
//   - is 0 where S = 0;
//   - may be infinite or NaN where S is larger.
// The emulator draws results from all of that (tests/emulator/approximate.cpp).
#pragma once

// Two numbers rounded to bfloat16, ties to even; `low` in the lower half. What rounds beyond the
// largest bfloat16 becomes infinite; subnormal numbers are kept, NaN is 0x7fff.
__device__ __forceinline__ unsigned bf16_pair(float low, float high) {
#if !defined(__CUDA_ARCH__)
  return __cvt_rn_bf16x2_f32(high, low);
#elif __CUDA_ARCH__ >= 800
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  __trap();  // no plan asks for it
  return 0;
#endif
}

__device__ __forceinline__ float bf16_low(unsigned pair) { return __uint_as_float(pair << 16); }

__device__ __forceinline__ float bf16_high(unsigned pair) {
  return __uint_as_float(pair & 0xffff0000u);
}

// D = A·B + C, see above. All 32 lanes must call it together. d may be c.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2], const float (&c)[4]) {
#if !defined(__CUDA_ARCH__)
  __mma_m16n8k16_bf16(d, a, b, c);
#elif __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]),
        "f"(c[2]), "f"(c[3]));
#else
  __trap();  // no plan asks for it
#endif
}

// √x with a relative error of at most 2^-23, subnormal x included. ±0 stays what it is, infinity
// too; NaN and what is below 0 give NaN.
__device__ __forceinline__ float approximate_sqrt(float x) {
#if !defined(__CUDA_ARCH__)
  return __sqrt_approx_f32(x);
#else
  float root;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(root) : "f"(x));
  return root;
#endif
}
