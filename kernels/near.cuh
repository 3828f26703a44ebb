// near.cuh: which rows of a tile are within eps of a row, or may be of some row in a box.
//
// A tile is 64 rows, feature by feature: feature f of row i of tile t is x[(t·d + f)·64 + i]. A
// warp works on a tile; a lane has the rows `lane` and `lane + 32`. Sets of rows are 64 bits that
// all lanes know. The size of a difference is Σ t² (POWER 2) or Σ |t| (POWER 1). In float32 it
// decides where it is below `sure` or above `far` (`gpuseg/numerics/eps_bounds.py`); the rest is
// decided by the points themselves, float64 (WIDE) or float32, in float64 without contraction.
//
// Nodes of the tree over the tiles are numbered as they are met from left to right, parents first;
// what is under a node ends before skip. tree[2·node] is skip, tree[2·node + 1] the tile, or -1.
#pragma once

#define TILE 64
#define ALL 0xffffffffu
#define MAX_LEVELS 32
#define TILE_BLOCKS 8  // on a multiprocessor at least: leaves 128 registers a thread

#if WIDE
typedef double Real;
#else
typedef float Real;
#endif
typedef unsigned long long Bits;

struct Space {
  const float* x;          // [tiles·d·64]
  const long long* order;  // [tiles·64], the row at each place
  const Bits* rows;        // [tiles]
  const float* boxes;      // [nodes,2,d]
  const int* tree;         // [nodes,2]
  const Real* points;      // [n,d]
  int tiles;

  __device__ int nodes() const { return 2 * tiles - 1; }
  __device__ int skip(int node) const { return tree[2 * node]; }
  __device__ int tile(int node) const { return tree[2 * node + 1]; }
};

struct Reach {
  float sure, far;
  double limit;
};

__device__ __forceinline__ int lane() { return threadIdx.x & 31; }

__device__ __forceinline__ Bits vote(bool low, bool high) {
  return __ballot_sync(ALL, low) | (Bits)__ballot_sync(ALL, high) << 32;
}

__device__ __forceinline__ bool has(Bits rows, int i) { return rows >> i & 1; }

__device__ __forceinline__ int lowest(Bits rows) { return __ffsll((long long)rows) - 1; }

__device__ __forceinline__ float grown(float size, float t) {
#if POWER == 2
  return size + t * t;
#else
  return size + fabsf(t);
#endif
}

// Copy a tile into the warp's shared memory.
__device__ __forceinline__ void load_tile(const Space& space, int a, int d, float* own) {
  __syncwarp();  // all are done with the tile before
  for (int i = lane(); i < d * TILE; i += 32) own[i] = space.x[(long long)a * d * TILE + i];
  __syncwarp();
}

// How far the two rows of a lane are from row i of the tile in shared memory.
__device__ __forceinline__ void sizes(const float* own, int i, const Space& other, int b, int d,
                             float (&size)[2]) {
  const float* x = other.x + (long long)b * d * TILE + lane();
  size[0] = size[1] = 0.0f;
  for (int f = 0; f < d; ++f) {
    float z = own[f * TILE + i];
    size[0] = grown(size[0], x[f * TILE] - z);
    size[1] = grown(size[1], x[f * TILE + 32] - z);
  }
}

// How far the two rows of a lane, of the tile in shared memory, are from the box of a node.
__device__ __forceinline__ void gaps(const float* own, const Space& other, int node, int d,
                            float (&size)[2]) {
  const float* low = other.boxes + (long long)node * 2 * d;
  size[0] = size[1] = 0.0f;
  for (int f = 0; f < d; ++f) {
    for (int half = 0; half < 2; ++half) {
      float z = own[f * TILE + 32 * half + lane()];
      size[half] = grown(size[half], fmaxf(0.0f, fmaxf(low[f] - z, z - low[d + f])));
    }
  }
}

__device__ __forceinline__ double exact_size(const Real* a, const Real* b, int d) {
  double total = 0.0;
  for (int f = 0; f < d; ++f) {
    double t = __dsub_rn(a[f], b[f]);
    total = __dadd_rn(total, POWER == 2 ? __dmul_rn(t, t) : fabs(t));
  }
  return total;
}

// Rows of tile b within eps of row i of tile a, which is in shared memory.
__device__ __forceinline__ Bits rows_within(const Space& space, const float* own, int a, int i,
                                   const Space& other, int b, int d, const Reach& reach) {
  float size[2];
  sizes(own, i, other, b, d, size);
  Bits near = vote(!(size[0] > reach.far), !(size[1] > reach.far)) & other.rows[b];
  Bits close = near & vote(!(size[0] < reach.sure), !(size[1] < reach.sure));
  if (close == 0) return near;
  const Real* point = space.points + space.order[a * TILE + i] * d;
  bool beyond[2] = {false, false};
  for (int half = 0; half < 2; ++half) {
    int j = 32 * half + lane();
    if (!has(close, j)) continue;
    beyond[half] = exact_size(point, other.points + other.order[b * TILE + j] * d, d) > reach.limit;
  }
  return near & ~vote(beyond[0], beyond[1]);
}

// Rows of tile a, in shared memory, that may be within eps of some row under a node.
__device__ __forceinline__ Bits rows_near(const Space& space, const float* own, int a,
                                          const Space& other, int node, int d,
                                          const Reach& reach) {
  float size[2];
  gaps(own, other, node, d, size);
  return vote(!(size[0] > reach.far), !(size[1] > reach.far)) & space.rows[a];
}

// Whether all rows of a tile are certainly within eps of each other.
__device__ __forceinline__ bool is_dense(const Space& space, int leaf, int d, const Reach& reach) {
  const float* low = space.boxes + (long long)leaf * 2 * d;
  float size = 0.0f;
  for (int f = 0; f < d; ++f) size = grown(size, low[d + f] - low[f]);
  return size < reach.sure;
}

// The subtrees beside the way from a tile up to the root, the largest first: nodes first[i] up to
// last[i]. Together with the tile they hold all rows. Returns how many, and the tile's own node.
__device__ __forceinline__ int ways_up(const Space& space, int a, int* first, int* last,
                                       int* leaf) {
  int node = 0, low = 0, high = space.tiles, count = 0;
  while (high - low > 1) {
    int middle = (low + high + 1) / 2, right = node + 2 * (middle - low);
    bool is_left = a < middle;
    first[count] = is_left ? right : node + 1;
    last[count] = is_left ? space.skip(node) : right;
    ++count;
    node = is_left ? node + 1 : right;
    if (is_left) {
      high = middle;
    } else {
      low = middle;
    }
  }
  *leaf = node;
  return count;
}
