// union_find.cuh: disjoint sets that all threads unite at the same time.
//
// parent[i] is i for the root of a set, and smaller than i otherwise. So there are no cycles, and
// the root is the lowest element. A root is attached to a smaller one by compare-and-swap, and
// paths are halved on the way up (Jaiganesh and Burtscher, "A high-performance connected components
// implementation for GPUs", HPDC 2018). The sets do not depend on the order of the calls.
#pragma once

__device__ __forceinline__ int find(int* parent, int i) {
  int next = __ldcv(parent + i);
  while (next != i) {
    int grandparent = __ldcv(parent + next);
    if (grandparent != next) atomicMin(parent + i, grandparent);
    i = next;
    next = grandparent;
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
