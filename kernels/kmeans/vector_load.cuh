// vector_load.cuh: several floats loaded at once.
#pragma once

#define CENTERS 8  // centers of a group, which are scored together

template <int N>
struct __align__(4 * N) Vector {
  float value[N];
};

template <int N>
__device__ inline Vector<N> load(const float* source) {
  return *reinterpret_cast<const Vector<N>*>(source);
}
