// count: the weight within eps of each row, until it is enough.
//
//   own, other  rows in tiles, see near.cuh; the same twice, or two spaces     IN
//   weight      [other.tiles·64] i64 by place, or null: ones                   IN
//   found       [own.tiles·64] i64 by place                                    IN, OUT, added to
//   looked      [1] i64: pairs of rows whose distance was computed             OUT, added to
//
// A warp takes a tile. Its rows look at their own tile first, then at subtrees ever farther up;
// a row that has found `least` looks no more. So 4·64·d bytes of the L2 cache and 2·64·d FLOP are
// spent for each row and tile looked at, and 8·d bytes for each node met.
#include "near.cuh"

struct Counter {
  const Space& own;
  const Space& other;
  const Reach& reach;
  const long long* weight;
  const float* tile;
  int a, d;
  long long least, found[2];
  unsigned long long looked;

  __device__ __forceinline__ long long weight_of(int b, Bits rows) const {
    if (!weight) return __popcll(rows);
    long long total = has(rows, lane()) ? weight[b * TILE + lane()] : 0;
    if (has(rows, lane() + 32)) total += weight[b * TILE + lane() + 32];
    for (int offset = 16; offset > 0; offset >>= 1) total += __shfl_xor_sync(ALL, total, offset);
    return total;
  }

  // Who of the rows has not found enough.
  __device__ __forceinline__ Bits lacking(Bits rows) const {
    return rows & vote(found[0] < least, found[1] < least);
  }

  __device__ __forceinline__ void add(Bits rows, long long amount) {
    if (has(rows, lane())) found[0] += amount;
    if (has(rows, lane() + 32)) found[1] += amount;
  }

  // Let rows look at tile b.
  __device__ __forceinline__ void look(Bits rows, int b) {
    looked += (unsigned long long)__popcll(rows) * TILE;
    for (Bits left = rows; left; left &= left - 1) {
      int i = lowest(left);
      add((Bits)1 << i, weight_of(b, rows_within(own, tile, a, i, other, b, d, reach)));
    }
  }

  // Let rows look at all under nodes first … last; returns who lacks some still.
  __device__ __forceinline__ Bits look_under(Bits rows, int node, int last) {
    while (rows && node < last) {
      Bits near = rows_near(own, tile, a, other, node, d, reach) & rows;
      if (near == 0) {
        node = other.skip(node);
        continue;
      }
      if (other.tile(node) >= 0) {
        look(near, other.tile(node));
        rows = lacking(rows);
      }
      ++node;
    }
    return rows;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, TILE_BLOCKS)
count(const float* __restrict__ own_x, const long long* __restrict__ own_order,
      const Bits* __restrict__ own_rows, const float* __restrict__ own_boxes,
      const int* __restrict__ own_tree, const Real* __restrict__ own_points, int own_tiles,
      const float* __restrict__ other_x, const long long* __restrict__ other_order,
      const Bits* __restrict__ other_rows, const float* __restrict__ other_boxes,
      const int* __restrict__ other_tree, const Real* __restrict__ other_points, int other_tiles,
      int d, float sure, float far, double limit, int same, const long long* __restrict__ weight,
      long long least, long long* found, unsigned long long* looked) {
  extern __shared__ __align__(16) unsigned char shared[];
  Space own = {own_x, own_order, own_rows, own_boxes, own_tree, own_points, own_tiles};
  Space other = {other_x, other_order, other_rows, other_boxes, other_tree, other_points,
                 other_tiles};
  Reach reach = {sure, far, limit};
  float* tile = reinterpret_cast<float*>(shared) + (threadIdx.x / 32) * d * TILE;
  int first[MAX_LEVELS], last[MAX_LEVELS], leaf;
  const int warps = THREADS / 32;
  for (int a = blockIdx.x * warps + threadIdx.x / 32; a < own_tiles; a += gridDim.x * warps) {
    load_tile(own, a, d, tile);
    long long* place = found + (long long)a * TILE + lane();
    Counter counter = {own, other, reach, weight, tile, a, d, least, {place[0], place[32]}, 0};
    Bits rows = counter.lacking(own_rows[a]);
    if (same) {
      int level = ways_up(own, a, first, last, &leaf);
      if (is_dense(own, leaf, d, reach)) {
        counter.add(own_rows[a], counter.weight_of(a, own_rows[a]));
      } else {
        counter.look(rows, a);
      }
      rows = counter.lacking(rows);
      while (rows && level > 0) {
        --level;
        rows = counter.look_under(rows, first[level], last[level]);
      }
    } else {
      counter.look_under(rows, 0, other.nodes());
    }
    place[0] = counter.found[0];
    place[32] = counter.found[1];
    if (lane() == 0 && counter.looked) atomicAdd(looked, counter.looked);
  }
}
