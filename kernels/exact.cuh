// exact.cuh: float64 arithmetic that gives the same bits as on the CPU.
//
// The compiler may fuse a product and a sum into one rounding; the intrinsics __dadd_rn and its
// like forbid it. What is reported (distances, labels in doubt, sums on a grid) goes through them.
#pragma once

// |x - c|², features in order: the definition that every backend shares.
//   x [d] f32, c [d] f64
__device__ inline double squared_distance(const float* x, const double* c, int d) {
  double total = 0.0;
  for (int f = 0; f < d; ++f) {
    double difference = __dsub_rn((double)x[f], c[f]);
    total = __dadd_rn(total, __dmul_rn(difference, difference));
  }
  return total;
}

// The nearest of k centres to one row, ties to the lowest index; the lanes of a warp share the
// centres and all of them must call it.
//   x [d] f32, c [k,d] f64
__device__ inline int nearest_exactly(const float* x, const double* c, int k, int d) {
  const unsigned all = 0xffffffffu;
  double least = 1.0 / 0.0;
  int label = 0;
  for (int j = threadIdx.x & 31; j < k; j += 32) {
    double distance = squared_distance(x, c + (long long)j * d, d);
    if (distance < least) {
      least = distance;
      label = j;
    }
  }
  for (int offset = 16; offset > 0; offset >>= 1) {
    double other = __shfl_xor_sync(all, least, offset);
    int other_label = __shfl_xor_sync(all, label, offset);
    if (other < least || (other == least && other_label < label)) {
      least = other;
      label = other_label;
    }
  }
  return label;
}

// Round a value to the grid of a magic number M = 1.5·2^52·q: (v + M) - M, a multiple of q.
// Returned is the multiple, a whole number; `rest` is what was rounded off, exactly. As v + M
// lies in the binade of M, whose spacing is q, the difference of the two bit patterns counts it.
// Sums of whole numbers do not depend on their order.
__device__ inline long long on_grid(double value, double magic, double* rest) {
  double shifted = __dadd_rn(value, magic);
  *rest = __dsub_rn(value, __dsub_rn(shifted, magic));
  return __double_as_longlong(shifted) - __double_as_longlong(magic);
}
