// reproducible_sums.cuh: sums that do not depend on their order.
//
// See gpuseg/numerics/reproducible_sums.py. The compiler may fuse a product and a sum into one
// rounding; intrinsics such as __dadd_rn forbid it, so that the bits are those of the CPU.
#pragma once

// Round a value to the grid of a magic number M = 1.5·2^52·q: (v + M) - M, a multiple of q.
// Returns the multiple as a whole number; `rest` is the part that was rounded off, exactly. As
// v + M is in the binade of M, where neighbors are q apart, the difference of the two bit patterns
// counts the steps. Sums of whole numbers do not depend on their order.
__device__ inline long long grid_steps(double value, double magic, double* rest) {
  double shifted = __dadd_rn(value, magic);
  *rest = __dsub_rn(value, __dsub_rn(shifted, magic));
  return __double_as_longlong(shifted) - __double_as_longlong(magic);
}
