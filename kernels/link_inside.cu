// link_inside: join the core rows of each tile, and note the tokens of tiles and nodes.
//
//   the space, see near.cuh; core [tiles] bits, group [tiles·64] i32           IN
//   parent  [groups] i32, see forest.cuh                                       IN, OUT
//   token   [nodes] i32, see link.cuh: those of tiles                          OUT
//   looked  [1] i64: pairs of rows whose distance was computed                 OUT, added to
//
// With `join` 0 only tokens are noted. A warp takes a tile; rows of a dense one are not compared.
#include "link.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, TILE_BLOCKS)
link_inside(const float* __restrict__ x, const long long* __restrict__ order,
            const Bits* __restrict__ rows, const float* __restrict__ boxes,
            const int* __restrict__ tree, const Real* __restrict__ points, int tiles, int d,
            float sure, float far, double limit, const Bits* __restrict__ core,
            const int* __restrict__ group, int* parent, int* token, int join,
            unsigned long long* looked) {
  extern __shared__ __align__(16) unsigned char shared[];
  Space space = {x, order, rows, boxes, tree, points, tiles};
  Reach reach = {sure, far, limit};
  Side side = {space, core, group, token};
  float* tile = reinterpret_cast<float*>(shared) + (threadIdx.x / 32) * d * TILE;
  int first[MAX_LEVELS], last[MAX_LEVELS], leaf;
  const int warps = THREADS / 32;
  for (int a = blockIdx.x * warps + threadIdx.x / 32; a < tiles; a += gridDim.x * warps) {
    ways_up(space, a, first, last, &leaf);
    if (core[a] == 0) {
      if (lane() == 0) token[leaf] = NONE;
      continue;
    }
    if (join && is_dense(space, leaf, d, reach)) {
      unite_all(parent, group[a * TILE + lowest(core[a])], side, a, core[a]);
    } else if (join) {
      load_tile(space, a, d, tile);
      for (Bits left = core[a]; left; left &= left - 1) {
        int i = lowest(left);
        Bits near = rows_within(space, tile, a, i, space, a, d, reach) & left;
        unite_all(parent, group[a * TILE + i], side, a, near);
      }
      if (lane() == 0) atomicAdd(looked, (unsigned long long)__popcll(core[a]) * TILE);
    }
    int own = token_of_tile(parent, side, a);
    if (lane() == 0) token[leaf] = own;
  }
}
