// exact_distances.cuh: distances in float64, and the nearest center, with the bits of the CPU.
//
// The compiler may fuse a product and a sum into one rounding; intrinsics such as __dadd_rn forbid
// it. Reported distances and uncertain labels are computed here.
#pragma once

// |x - c|², features in order: the definition that all backends share.
//   x [d] f32, c [d] f64
__device__ inline double squared_distance(const float* x, const double* c, int d) {
  double total = 0.0;
  for (int f = 0; f < d; ++f) {
    double difference = __dsub_rn((double)x[f], c[f]);
    total = __dadd_rn(total, __dmul_rn(difference, difference));
  }
  return total;
}

// The nearest of k centers to one row, ties to the lowest index. The lanes of a warp share the
// centers, and all of them must call it.
//   x [d] f32, c [k,d] f64
__device__ inline int nearest_center(const float* x, const double* c, int k, int d) {
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
