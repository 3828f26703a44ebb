// link.cuh: core rows as what they stand for in the forest, and what is known of subtrees.
//
// token[node] is the group of a core row under the node where all core rows under it are known to
// be in one set, NONE where there are none, and MIXED otherwise. Sets only grow, so a token stays
// true whichever warp reads it; it is read and written as a whole.
#pragma once
#include "forest.cuh"
#include "near.cuh"

#define NONE -1
#define MIXED -2

struct Side {
  const Space& space;
  const Bits* core;  // [tiles]
  const int* group;  // [tiles·64] by place
  int* token;        // [nodes]
};

// What other warps may change meanwhile: read by one lane, so that all go on alike.
__device__ __forceinline__ int glance(const int* place) {
  return __shfl_sync(ALL, lane() == 0 ? __ldcv(place) : 0, 0);
}

// Whether two groups, or tokens, are known to be in one set; one lane looks for all.
__device__ __forceinline__ bool are_one(int* parent, int i, int j) {
  int one = lane() == 0 && i >= 0 && j >= 0 && find(parent, i) == find(parent, j);
  return __shfl_sync(ALL, one, 0);
}

// Join a group with those of rows of a tile.
__device__ __forceinline__ void unite_all(int* parent, int group, const Side& side, int b,
                                          Bits rows) {
  for (int half = 0; half < 2; ++half) {
    int j = 32 * half + lane();
    if (has(rows, j)) unite(parent, group, side.group[b * TILE + j]);
  }
  __syncwarp();
}

// The group of a core row of a tile that has some, or MIXED where they are in several sets.
__device__ __forceinline__ int token_of_tile(int* parent, const Side& side, int b) {
  Bits rows = side.core[b];
  int group = side.group[b * TILE + lowest(rows)];
  int root = __shfl_sync(ALL, lane() == 0 ? find(parent, group) : 0, 0);
  bool other[2];
  for (int half = 0; half < 2; ++half) {
    int j = 32 * half + lane();
    other[half] = has(rows, j) && find(parent, side.group[b * TILE + j]) != root;
  }
  return vote(other[0], other[1]) ? MIXED : group;
}

// The token of a node; where it was mixed, its children may have become one set since.
__device__ __forceinline__ int token_of(int* parent, const Side& side, int node) {
  int token = glance(side.token + node);
  if (token != MIXED || side.space.tile(node) >= 0) return token;
  int left = glance(side.token + node + 1);
  int right = glance(side.token + side.space.skip(node + 1));
  if (left == NONE) {
    token = right;
  } else if (right == NONE || are_one(parent, left, right)) {
    token = left;
  }
  if (token != MIXED && lane() == 0) atomicExch(side.token + node, token);
  return token;
}
