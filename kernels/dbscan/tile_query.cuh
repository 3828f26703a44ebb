// tile_query.cuh: rows of a tile within eps of a row, and rows that may be within eps of a box.
//
// A tile holds 64 rows, feature by feature: feature f of row i of tile t is x[(t·d + f)·64 + i].
// Row i of tile t is in slot 64·t + i. A warp works on one query tile, which it copies to shared
// memory; a lane handles the rows `lane` and `lane + 32`. A set of rows is a mask of 64 bits that
// all lanes know.
//
// A reduced distance (rdist) is Σ t² (POWER 2), Σ |t| (POWER 1) or max |t| (POWER 0) over the
// differences t. In float32 it decides where it is below `sure` or above `far` (gpuseg/numerics/eps_bounds.py). The
// rest is decided by the points themselves, float64 (WIDE) or float32, in float64 without
// contraction.
//
// The tree over the tiles is stored in depth-first order: a node, its left subtree, its right
// subtree. The descendants of a node end before its `skip`.
#pragma once

#define TILE 64
#define WARPS (THREADS / 32)
#define ALL_LANES 0xffffffffu
#define MIN_BLOCKS 8  // on a multiprocessor: leaves 128 registers for each thread

#if WIDE
typedef double Real;
#else
typedef float Real;
#endif
typedef unsigned long long RowMask;

// Rows in tiles, and the tree over the tiles.
struct TileSpace {
  const float* x;          // [n_tiles,d,64], scaled
  const long long* order;  // [n_tiles·64], the row in each slot
  const RowMask* rows;     // [n_tiles], the slots that hold a row
  const float* boxes;      // [nodes,2,d], lower and upper corner
  const int* tree;         // [nodes,2]: skip, and the tile or -1
  const Real* points;      // [n,d], the rows themselves
  int n_tiles, d;

  __device__ int nodes() const { return 2 * n_tiles - 1; }
  __device__ int skip(int node) const { return tree[2 * node]; }
  __device__ int tile(int node) const { return tree[2 * node + 1]; }
  __device__ const Real* point(int tile, int i) const {
    return points + order[tile * TILE + i] * d;
  }
};

// What float32 can decide about a reduced distance, and the exact limit.
struct EpsBounds {
  float sure, far;
  double limit;
};

// A tile of the query space, in the shared memory of its warp.
struct QueryTile {
  const TileSpace& space;
  const float* x;  // [d,64], shared
  int index;
  RowMask rows;
};

__device__ __forceinline__ int lane() { return threadIdx.x & 31; }

// The first tile of a warp; it takes every gridDim.x · WARPS-th one from there.
__device__ __forceinline__ int first_tile() { return blockIdx.x * WARPS + threadIdx.x / 32; }

__device__ __forceinline__ RowMask ballot(bool low, bool high) {
  return __ballot_sync(ALL_LANES, low) | (RowMask)__ballot_sync(ALL_LANES, high) << 32;
}

__device__ __forceinline__ bool contains(RowMask rows, int i) { return rows >> i & 1; }

__device__ __forceinline__ int first_row(RowMask rows) { return __ffsll((long long)rows) - 1; }

__device__ __forceinline__ float add_term(float rdist, float t) {
#if POWER == 2
  return rdist + t * t;
#elif POWER == 0
  return fmaxf(rdist, fabsf(t));
#else
  return rdist + fabsf(t);
#endif
}

// Copy a tile to the shared memory of the warp: [d,64] floats for each warp of the block.
__device__ __forceinline__ QueryTile load_tile(const TileSpace& space, int index,
                                               unsigned char* shared) {
  float* x = reinterpret_cast<float*>(shared) + (threadIdx.x / 32) * space.d * TILE;
  __syncwarp();  // all lanes are done with the previous tile
  for (int i = lane(); i < space.d * TILE; i += 32) {
    x[i] = space.x[(long long)index * space.d * TILE + i];
  }
  __syncwarp();
  return {space, x, index, space.rows[index]};
}

// Reduced distances of a lane's two rows of a target tile from row i of the query tile.
__device__ __forceinline__ void rdist_to_row(const QueryTile& query, int i,
                                             const TileSpace& target, int tile,
                                             float (&rdist)[2]) {
  const int d = query.space.d;
  const float* x = target.x + (long long)tile * d * TILE + lane();
  rdist[0] = rdist[1] = 0.0f;
  for (int f = 0; f < d; ++f) {
    float z = query.x[f * TILE + i];
    rdist[0] = add_term(rdist[0], x[f * TILE] - z);
    rdist[1] = add_term(rdist[1], x[f * TILE + 32] - z);
  }
}

// Reduced distances of a lane's two rows of the query tile from the box of a node.
__device__ __forceinline__ void rdist_to_box(const QueryTile& query, const TileSpace& target,
                                             int node, float (&rdist)[2]) {
  const int d = query.space.d;
  const float* low = target.boxes + (long long)node * 2 * d;
  rdist[0] = rdist[1] = 0.0f;
  for (int f = 0; f < d; ++f) {
    for (int half = 0; half < 2; ++half) {
      float z = query.x[f * TILE + 32 * half + lane()];
      float gap = fmaxf(low[f] - z, z - low[d + f]);
      rdist[half] = add_term(rdist[half], fmaxf(0.0f, gap));
    }
  }
}

// Add the difference of a feature to a reduced distance in float64.
__device__ __forceinline__ double add_exactly(double rdist, double t) {
#if POWER == 2
  return __dadd_rn(rdist, __dmul_rn(t, t));
#elif POWER == 0
  return fabs(t) > rdist ? fabs(t) : rdist;
#else
  return __dadd_rn(rdist, fabs(t));
#endif
}

// The reduced distance of two points in float64.
__device__ __forceinline__ double exact_rdist(const Real* a, const Real* b, int d) {
  double total = 0.0;
  for (int f = 0; f < d; ++f) {
    total = add_exactly(total, __dsub_rn(a[f], b[f]));
  }
  return total;
}

// Those of some rows of a target tile that are within eps of row i of the query tile.
__device__ __forceinline__ RowMask rows_within(const QueryTile& query, int i,
                                               const TileSpace& target, int tile, RowMask rows,
                                               const EpsBounds& eps) {
  float rdist[2];
  rdist_to_row(query, i, target, tile, rdist);
  RowMask near = ballot(!(rdist[0] > eps.far), !(rdist[1] > eps.far)) & rows;
  RowMask uncertain = near & ballot(!(rdist[0] < eps.sure), !(rdist[1] < eps.sure));
  if (uncertain == 0) return near;
  const Real* point = query.space.point(query.index, i);
  bool beyond[2] = {false, false};
  for (int half = 0; half < 2; ++half) {
    int j = 32 * half + lane();
    if (!contains(uncertain, j)) continue;
    beyond[half] = exact_rdist(point, target.point(tile, j), query.space.d) > eps.limit;
  }
  return near & ~ballot(beyond[0], beyond[1]);
}

// Rows of the query tile that may be within eps of some row below a node.
__device__ __forceinline__ RowMask rows_near(const QueryTile& query, const TileSpace& target,
                                             int node, const EpsBounds& eps) {
  float rdist[2];
  rdist_to_box(query, target, node, rdist);
  return ballot(!(rdist[0] > eps.far), !(rdist[1] > eps.far)) & query.rows;
}

// Whether all rows of a tile are certainly within eps of each other; `leaf` is the tile's node.
__device__ __forceinline__ bool is_dense(const TileSpace& space, int leaf, const EpsBounds& eps) {
  const float* low = space.boxes + (long long)leaf * 2 * space.d;
  float rdist = 0.0f;
  for (int f = 0; f < space.d; ++f) {
    rdist = add_term(rdist, low[space.d + f] - low[f]);
  }
  return rdist < eps.sure;
}
