// component_hints.cuh: core rows as elements of the union-find, and what is known of subtrees.
//
// hint[node] is an element of the component that holds all core rows below the node, where they
// are known to be in one component; NO_CORE where there are none; MIXED otherwise. Components only
// grow, so a hint stays true whichever warp reads it. It is read and written as one word.
#pragma once

#include "dbscan/tile_query.cuh"
#include "dbscan/union_find.cuh"

#define NO_CORE -1
#define MIXED -2

struct CoreRows {
  TileSpace space;
  const RowMask* core;   // [n_tiles]
  const int* component;  // [n_tiles·64], the union-find element of each slot
  int* hint;             // [nodes]
};

// Load a word that other warps may change; one lane loads it, so that all lanes agree.
__device__ __forceinline__ int load_volatile(const int* address) {
  return __shfl_sync(ALL_LANES, lane() == 0 ? __ldcv(address) : 0, 0);
}

// Whether two elements, or hints, are known to be in one component; one lane decides for all.
__device__ __forceinline__ bool same_component(int* parent, int i, int j) {
  int same = lane() == 0 && i >= 0 && j >= 0 && find(parent, i) == find(parent, j);
  return __shfl_sync(ALL_LANES, same, 0);
}

// Unite an element with those of some rows of a tile.
__device__ __forceinline__ void unite_all(int* parent, int element, const CoreRows& rows, int tile,
                                          RowMask mask) {
  for (int half = 0; half < 2; ++half) {
    int j = 32 * half + lane();
    if (contains(mask, j)) unite(parent, element, rows.component[tile * TILE + j]);
  }
  __syncwarp();
}

// The hint of a tile that has core rows: the element of one, or MIXED.
__device__ __forceinline__ int hint_of_tile(int* parent, const CoreRows& rows, int tile) {
  RowMask core = rows.core[tile];
  int element = rows.component[tile * TILE + first_row(core)];
  int root = __shfl_sync(ALL_LANES, lane() == 0 ? find(parent, element) : 0, 0);
  bool differs[2];
  for (int half = 0; half < 2; ++half) {
    int j = 32 * half + lane();
    differs[half] =
        contains(core, j) && find(parent, rows.component[tile * TILE + j]) != root;
  }
  return ballot(differs[0], differs[1]) ? MIXED : element;
}

// The hint of a node. Where it was mixed, its children may have become one component since.
__device__ __forceinline__ int hint_of_node(int* parent, const CoreRows& rows, int node) {
  int hint = load_volatile(rows.hint + node);
  if (hint != MIXED || rows.space.tile(node) >= 0) return hint;
  int left = load_volatile(rows.hint + node + 1);
  int right = load_volatile(rows.hint + rows.space.skip(node + 1));
  if (left == NO_CORE) {
    hint = right;
  } else if (right == NO_CORE || same_component(parent, left, right)) {
    hint = left;
  }
  if (hint != MIXED && lane() == 0) atomicExch(rows.hint + node, hint);
  return hint;
}
