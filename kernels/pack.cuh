// pack.cuh: several values loaded at once.
#pragma once

#define CENTERS 8  // scored together

template <int N>
struct __align__(4 * N) Pack {
  float value[N];
};

template <int N>
__device__ inline Pack<N> load(const float* source) {
  return *reinterpret_cast<const Pack<N>*>(source);
}
