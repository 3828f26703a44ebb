// nearest: the k nearest core rows of rows that are asked for, exactly.
//
//   own, other  rows in tiles, see near.cuh                                    IN
//   asked   [own.tiles] bits; core [other.tiles] bits                          IN
//   best    [own.tiles·64,k] f64 by place, rising: sizes of differences        IN, OUT
//   row     [own.tiles·64,k] i64: which rows, of equally near ones the lowest  IN, OUT
//   looked  [1] i64: pairs of rows whose distance was computed                 OUT, added to
//
// A warp takes a tile: first to the tile that seems nearest, then to subtrees ever farther up from
// it; boxes that are farther than a row's best are passed over. What float32 cannot rule out is
// computed in float64 and put among the best by one lane.
#include "near.cuh"

struct Search {
  const Space& own;
  const Space& other;
  const float* tile;
  float* limit;  // [64] shared: above it, a size in float32 is above the k-th best
  double scale, off, rounding;
  int a, d, k;
  double* best;
  long long* row;
  unsigned long long looked;

  __device__ __forceinline__ float beyond(double exact) const {
    double root = __dmul_rn(POWER == 2 ? __dsqrt_rn(exact) : exact, scale);
    double most = __dmul_rn(__dadd_rn(root, off), rounding);
    if (POWER == 2) most = __dmul_rn(most, most);
    return __double2float_rn(__dmul_rn(__dmul_rn(most, rounding), 1.0000001192092896));
  }

  __device__ __forceinline__ void set_limits() {
    for (int half = 0; half < 2; ++half) {
      int i = 32 * half + lane();
      limit[i] = beyond(best[((long long)a * TILE + i) * k + k - 1]);
    }
    __syncwarp();
  }

  // One lane: put a row among the best of a place, by size, then by number.
  __device__ __forceinline__ void insert(int i, double size, long long number) {
    double* sizes = best + ((long long)a * TILE + i) * k;
    long long* numbers = row + ((long long)a * TILE + i) * k;
    int at = k;
    while (at > 0 && (size < sizes[at - 1] ||
                      (size == sizes[at - 1] && number < numbers[at - 1]))) {
      if (at < k) {
        sizes[at] = sizes[at - 1];
        numbers[at] = numbers[at - 1];
      }
      --at;
    }
    if (at == k) return;
    sizes[at] = size;
    numbers[at] = number;
    limit[i] = beyond(sizes[k - 1]);
  }

  // Let rows look at core rows of tile b.
  __device__ __forceinline__ void look(Bits rows, int b, Bits core) {
    looked += (unsigned long long)__popcll(rows) * TILE;
    for (; rows; rows &= rows - 1) {
      int i = lowest(rows);
      float size[2];
      sizes(tile, i, other, b, d, size);
      float most = limit[i];
      Bits close = vote(!(size[0] > most), !(size[1] > most)) & core;
      __syncwarp();  // all have read the limits that are set below
      const Real* point = own.points + own.order[a * TILE + i] * d;
      double exact[2] = {0.0, 0.0};
      for (int half = 0; half < 2; ++half) {
        int j = 32 * half + lane();
        if (!has(close, j)) continue;
        exact[half] = exact_size(point, other.points + other.order[b * TILE + j] * d, d);
      }
      for (; close; close &= close - 1) {
        int j = lowest(close);
        double found = __shfl_sync(ALL, j < 32 ? exact[0] : exact[1], j & 31);
        if (lane() == 0) insert(i, found, other.order[b * TILE + j]);
      }
      __syncwarp();
    }
  }

  // The sum of how far the rows of tile a are from a box.
  __device__ __forceinline__ float distance_to(int node) const {
    float size[2];
    gaps(tile, other, node, d, size);
    float total = size[0] + size[1];
    for (int offset = 16; offset > 0; offset >>= 1) total += __shfl_xor_sync(ALL, total, offset);
    return __shfl_sync(ALL, total, 0);
  }

  __device__ __forceinline__ int tile_nearby() const {
    int node = 0;
    while (other.tile(node) < 0) {
      int left = node + 1, right = other.skip(left);
      node = distance_to(left) <= distance_to(right) ? left : right;
    }
    return other.tile(node);
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, TILE_BLOCKS)
nearest(const float* __restrict__ own_x, const long long* __restrict__ own_order,
        const Bits* __restrict__ own_rows, const float* __restrict__ own_boxes,
        const int* __restrict__ own_tree, const Real* __restrict__ own_points, int own_tiles,
        const float* __restrict__ other_x, const long long* __restrict__ other_order,
        const Bits* __restrict__ other_rows, const float* __restrict__ other_boxes,
        const int* __restrict__ other_tree, const Real* __restrict__ other_points,
        int other_tiles, int d, double scale, double off, double rounding, int k,
        const Bits* __restrict__ asked, const Bits* __restrict__ core, double* best,
        long long* row, unsigned long long* looked) {
  extern __shared__ __align__(16) unsigned char shared[];
  const int warps = THREADS / 32;
  Space own = {own_x, own_order, own_rows, own_boxes, own_tree, own_points, own_tiles};
  Space other = {other_x, other_order, other_rows, other_boxes, other_tree, other_points,
                 other_tiles};
  float* tiles = reinterpret_cast<float*>(shared);
  float* tile = tiles + (threadIdx.x / 32) * d * TILE;
  float* limit = tiles + warps * d * TILE + (threadIdx.x / 32) * TILE;
  int first[MAX_LEVELS], last[MAX_LEVELS], leaf;
  for (int a = blockIdx.x * warps + threadIdx.x / 32; a < own_tiles; a += gridDim.x * warps) {
    if (asked[a] == 0) continue;
    load_tile(own, a, d, tile);
    Search search = {own, other, tile, limit, scale, off, rounding, a, d, k, best, row, 0};
    search.set_limits();
    int b = search.tile_nearby();
    search.look(asked[a], b, core[b]);
    int level = ways_up(other, b, first, last, &leaf);
    while (level > 0) {
      --level;
      for (int node = first[level]; node < last[level];) {
        float size[2];
        gaps(tile, other, node, d, size);
        Bits near = vote(!(size[0] > limit[lane()]), !(size[1] > limit[lane() + 32])) & asked[a];
        if (near == 0) {
          node = other.skip(node);
          continue;
        }
        int b = other.tile(node++);
        if (b >= 0 && core[b]) search.look(near, b, core[b]);
      }
    }
    if (lane() == 0 && search.looked) atomicAdd(looked, search.looked);
  }
}
