// link: join core rows within eps of each other, of different tiles.
//
//   own, other  rows in tiles, see near.cuh; the same twice, or two spaces     IN
//   core [tiles] bits, group [tiles·64] i32 of each                            IN
//   token [nodes] i32 of each, see link.cuh                                    IN, OUT
//   parent  [groups] i32, see forest.cuh                                       IN, OUT
//   looked  [1] i64: pairs of rows whose distance was computed                 OUT, added to
//
// A warp takes a tile. In the same space it looks at tiles after it only, the nearest first; what
// is in one set with it is passed over, whole subtrees at a time. Most pairs are never looked at.
#include "link.cuh"

struct Linker {
  const Side& own;
  const Side& other;
  const Reach& reach;
  const float* tile;
  int* parent;
  int a, leaf, d;
  unsigned long long looked;

  // Join rows of tile a with the core rows of tile b.
  __device__ __forceinline__ void link(Bits rows, int b, int token) {
    for (; rows; rows &= rows - 1) {
      int i = lowest(rows), group = own.group[a * TILE + i];
      if (are_one(parent, token, group)) continue;
      looked += TILE;
      Bits near = rows_within(own.space, tile, a, i, other.space, b, d, reach) & other.core[b];
      if (token == MIXED) {
        unite_all(parent, group, other, b, near);
      } else if (near && lane() == 0) {
        unite(parent, group, token);
      }
      __syncwarp();
    }
  }

  // Join the core rows of tile a with all under nodes node … last.
  __device__ __forceinline__ void link_under(int node, int last) {
    while (node < last) {
      int token = token_of(parent, other, node);
      Bits near = 0;
      if (token != NONE && !are_one(parent, token, glance(own.token + leaf))) {
        near = rows_near(own.space, tile, a, other.space, node, d, reach) & own.core[a];
      }
      if (near == 0) {
        node = other.space.skip(node);
        continue;
      }
      if (other.space.tile(node) >= 0) link(near, other.space.tile(node), token);
      ++node;
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, TILE_BLOCKS)
link(const float* __restrict__ own_x, const long long* __restrict__ own_order,
     const Bits* __restrict__ own_rows, const float* __restrict__ own_boxes,
     const int* __restrict__ own_tree, const Real* __restrict__ own_points, int own_tiles,
     const float* __restrict__ other_x, const long long* __restrict__ other_order,
     const Bits* __restrict__ other_rows, const float* __restrict__ other_boxes,
     const int* __restrict__ other_tree, const Real* __restrict__ other_points, int other_tiles,
     int d, float sure, float far, double limit, int same, const Bits* __restrict__ own_core,
     const int* __restrict__ own_group, int* own_token, const Bits* __restrict__ other_core,
     const int* __restrict__ other_group, int* other_token, int* parent,
     unsigned long long* looked) {
  extern __shared__ __align__(16) unsigned char shared[];
  Space own_space = {own_x, own_order, own_rows, own_boxes, own_tree, own_points, own_tiles};
  Space other_space = {other_x, other_order, other_rows, other_boxes, other_tree, other_points,
                       other_tiles};
  Side own = {own_space, own_core, own_group, own_token};
  Side other = {other_space, other_core, other_group, other_token};
  Reach reach = {sure, far, limit};
  float* tile = reinterpret_cast<float*>(shared) + (threadIdx.x / 32) * d * TILE;
  int first[MAX_LEVELS], last[MAX_LEVELS], leaf;
  const int warps = THREADS / 32;
  for (int a = blockIdx.x * warps + threadIdx.x / 32; a < own_tiles; a += gridDim.x * warps) {
    if (own_core[a] == 0) continue;
    load_tile(own_space, a, d, tile);
    int level = ways_up(own_space, a, first, last, &leaf);
    Linker linker = {own, other, reach, tile, parent, a, leaf, d, 0};
    if (!same) linker.link_under(0, other_space.nodes());
    while (same && level > 0) {
      --level;
      if (first[level] > leaf) linker.link_under(first[level], last[level]);
      if (glance(own_token + leaf) != MIXED) continue;
      int token = token_of_tile(parent, own, a);
      if (lane() == 0) atomicExch(own_token + leaf, token);
      __syncwarp();
    }
    if (lane() == 0 && linker.looked) atomicAdd(looked, linker.looked);
  }
}
