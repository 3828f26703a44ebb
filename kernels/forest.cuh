// forest.cuh: disjoint sets that all threads join at once.
//
// parent[i] is i for the root of a set, and smaller than i otherwise: there are no circles, and
// the root is the lowest member. A root is hung under a smaller one by compare-and-swap; on the
// way up paths are halved (Jaiganesh and Burtscher, "A high-performance connected components
// implementation for GPUs", HPDC 2018). What the sets are does not depend on the order of calls.
#pragma once

__device__ __forceinline__ int find(int* parent, int i) {
  int above = __ldcv(parent + i);
  while (above != i) {
    int over = __ldcv(parent + above);
    if (over != above) atomicMin(parent + i, over);
    i = above;
    above = over;
  }
  return i;
}

__device__ __forceinline__ void unite(int* parent, int i, int j) {
  i = find(parent, i);
  j = find(parent, j);
  while (i != j) {
    int low = min(i, j), high = max(i, j);
    int before = atomicCAS(parent + high, high, low);
    if (before == high) return;
    i = find(parent, before);
    j = find(parent, low);
  }
}
