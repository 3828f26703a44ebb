// claim: the lowest cluster among the core rows within eps, for rows that are asked for.
//
//   own, other  rows in tiles, see near.cuh                                    IN
//   asked   [own.tiles] bits                                                   IN
//   core    [other.tiles] bits; cluster [other.tiles·64] u32 by place          IN
//   least   [other nodes] u32: the lowest cluster under each                   IN
//   claimed [own.tiles·64] u32 by place                                        IN, OUT, lowered
//   looked  [1] i64: pairs of rows whose distance was computed                 OUT, added to
#include "near.cuh"

#define NO_CLUSTER 0xffffffffu

__device__ inline unsigned lowest_of_warp(unsigned value) {
  for (int offset = 16; offset > 0; offset >>= 1) {
    value = min(value, __shfl_xor_sync(ALL, value, offset));
  }
  return value;
}

extern "C" __global__ void __launch_bounds__(THREADS, TILE_BLOCKS)
claim(const float* __restrict__ own_x, const long long* __restrict__ own_order,
      const Bits* __restrict__ own_rows, const float* __restrict__ own_boxes,
      const int* __restrict__ own_tree, const Real* __restrict__ own_points, int own_tiles,
      const float* __restrict__ other_x, const long long* __restrict__ other_order,
      const Bits* __restrict__ other_rows, const float* __restrict__ other_boxes,
      const int* __restrict__ other_tree, const Real* __restrict__ other_points, int other_tiles,
      int d, float sure, float far, double limit, const Bits* __restrict__ asked,
      const Bits* __restrict__ core, const unsigned* __restrict__ cluster,
      const unsigned* __restrict__ least, unsigned* claimed, unsigned long long* looked) {
  extern __shared__ __align__(16) unsigned char shared[];
  Space own = {own_x, own_order, own_rows, own_boxes, own_tree, own_points, own_tiles};
  Space other = {other_x, other_order, other_rows, other_boxes, other_tree, other_points,
                 other_tiles};
  Reach reach = {sure, far, limit};
  float* tile = reinterpret_cast<float*>(shared) + (threadIdx.x / 32) * d * TILE;
  const int warps = THREADS / 32;
  for (int a = blockIdx.x * warps + threadIdx.x / 32; a < own_tiles; a += gridDim.x * warps) {
    if (asked[a] == 0) continue;
    load_tile(own, a, d, tile);
    unsigned* place = claimed + (long long)a * TILE + lane();
    unsigned by[2] = {place[0], place[32]};
    unsigned long long pairs = 0;
    for (int node = 0; node < other.nodes();) {
      Bits near = 0;
      if (least[node] != NO_CLUSTER) {
        near = rows_near(own, tile, a, other, node, d, reach) & asked[a];
        near &= vote(by[0] > least[node], by[1] > least[node]);
      }
      if (near == 0) {
        node = other.skip(node);
        continue;
      }
      int b = other.tile(node++);
      if (b < 0) continue;
      pairs += (unsigned long long)__popcll(near) * TILE;
      for (; near; near &= near - 1) {
        int i = lowest(near);
        Bits rows = rows_within(own, tile, a, i, other, b, d, reach) & core[b];
        unsigned found = has(rows, lane()) ? cluster[b * TILE + lane()] : NO_CLUSTER;
        if (has(rows, lane() + 32)) found = min(found, cluster[b * TILE + lane() + 32]);
        found = lowest_of_warp(found);
        if (lane() == i % 32) by[i / 32] = min(by[i / 32], found);
      }
    }
    place[0] = by[0];
    place[32] = by[1];
    if (lane() == 0 && pairs) atomicAdd(looked, pairs);
  }
}
