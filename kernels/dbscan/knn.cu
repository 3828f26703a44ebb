// knn: the k nearest core rows of some rows, exactly.
//
//   query, target  rows in tiles (tile_query.cuh)                               IN
//   active       [query.n_tiles] masks: the rows to search for                  IN
//   core         [target.n_tiles] masks                                         IN
//   best_rdist   [query.n_tiles·64,k] f64 by slot, ascending                    IN, OUT
//   best_row     [query.n_tiles·64,k] i64; ties to the lowest row               IN, OUT
//   n_distances  [1] i64: pairs of rows that were compared                      OUT, added to
//
// A warp takes a tile. It compares it with the target tile that seems nearest, then with subtrees
// ever farther up from there, and skips boxes that are farther than the k-th best of each row. What
// float32 cannot rule out is computed in float64 and inserted by one lane.
#include "dbscan/traversal.cuh"

// The error of a reduced distance in float32 (gpuseg/numerics/eps_bounds.py).
struct RdistError {
  double scale, offset, rounding;
};

struct NearestRows {
  const QueryTile& query;
  const TileSpace& target;
  const RdistError& error;
  RowMask active;
  const RowMask* core;
  float* cutoff;  // [64] shared: a reduced distance in float32 above it is above the k-th best
  int k;
  double* best_rdist;
  long long* best_row;
  unsigned long long n_distances;

  __device__ __forceinline__ float cutoff_of(double rdist) const {
    double root = __dmul_rn(POWER == 2 ? __dsqrt_rn(rdist) : rdist, error.scale);
    double upper = __dmul_rn(__dadd_rn(root, error.offset), error.rounding);
    if (POWER == 2) upper = __dmul_rn(upper, upper);
    return __double2float_rn(__dmul_rn(__dmul_rn(upper, error.rounding), 1.0000001192092896));
  }

  __device__ __forceinline__ void set_cutoffs() {
    for (int half = 0; half < 2; ++half) {
      int i = 32 * half + lane();
      cutoff[i] = cutoff_of(best_rdist[((long long)query.index * TILE + i) * k + k - 1]);
    }
    __syncwarp();
  }

  // Insert a row into the sorted best of query row i, by distance, then by row; for one lane.
  __device__ __forceinline__ void insert(int i, double rdist, long long row) {
    double* rdists = best_rdist + ((long long)query.index * TILE + i) * k;
    long long* rows = best_row + ((long long)query.index * TILE + i) * k;
    int at = k;
    while (at > 0 &&
           (rdist < rdists[at - 1] || (rdist == rdists[at - 1] && row < rows[at - 1]))) {
      if (at < k) {
        rdists[at] = rdists[at - 1];
        rows[at] = rows[at - 1];
      }
      --at;
    }
    if (at == k) return;
    rdists[at] = rdist;
    rows[at] = row;
    cutoff[i] = cutoff_of(rdists[k - 1]);
  }

  __device__ __forceinline__ bool is_done() const { return false; }

  __device__ __forceinline__ RowMask candidates(int node) const {
    float rdist[2];
    rdist_to_box(query, target, node, rdist);
    return ballot(!(rdist[0] > cutoff[lane()]), !(rdist[1] > cutoff[lane() + 32])) & active;
  }

  __device__ __forceinline__ void visit(int tile, RowMask rows) {
    if (core[tile]) compare(tile, rows, core[tile]);
  }

  // Compare query rows with core rows of a tile.
  __device__ __forceinline__ void compare(int tile, RowMask rows, RowMask others) {
    n_distances += (unsigned long long)__popcll(rows) * TILE;
    for (; rows; rows &= rows - 1) {
      int i = first_row(rows);
      float rdist[2];
      rdist_to_row(query, i, target, tile, rdist);
      float limit = cutoff[i];
      RowMask close = ballot(!(rdist[0] > limit), !(rdist[1] > limit)) & others;
      __syncwarp();  // all lanes have read the cutoffs that are changed below
      const Real* point = query.space.point(query.index, i);
      double exact[2] = {0.0, 0.0};
      for (int half = 0; half < 2; ++half) {
        int j = 32 * half + lane();
        if (!contains(close, j)) continue;
        exact[half] = exact_rdist(point, target.point(tile, j), query.space.d);
      }
      for (; close; close &= close - 1) {
        int j = first_row(close);
        double nearest = __shfl_sync(ALL_LANES, j < 32 ? exact[0] : exact[1], j & 31);
        if (lane() == 0) insert(i, nearest, target.order[tile * TILE + j]);
      }
      __syncwarp();
    }
  }

  // The sum of the reduced distances of the query rows from a box.
  __device__ __forceinline__ float distance_to(int node) const {
    float rdist[2];
    rdist_to_box(query, target, node, rdist);
    float total = rdist[0] + rdist[1];
    for (int offset = 16; offset > 0; offset >>= 1) {
      total += __shfl_xor_sync(ALL_LANES, total, offset);
    }
    return __shfl_sync(ALL_LANES, total, 0);
  }

  // A target tile near the query tile: down the tree, to the nearer child each time.
  __device__ __forceinline__ int tile_nearby() const {
    int node = 0;
    while (target.tile(node) < 0) {
      int left = node + 1, right = target.skip(left);
      node = distance_to(left) <= distance_to(right) ? left : right;
    }
    return target.tile(node);
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
knn(const TileSpace query, const TileSpace target, const RdistError error, int k,
    const RowMask* __restrict__ active, const RowMask* __restrict__ core, double* best_rdist,
    long long* best_row, unsigned long long* n_distances) {
  extern __shared__ __align__(16) unsigned char shared[];
  float* cutoffs = reinterpret_cast<float*>(shared) + WARPS * query.d * TILE;
  float* cutoff = cutoffs + (threadIdx.x / 32) * TILE;
  Siblings siblings;
  for (int a = first_tile(); a < query.n_tiles; a += gridDim.x * WARPS) {
    if (active[a] == 0) continue;
    QueryTile tile = load_tile(query, a, shared);
    NearestRows nearest = {tile, target, error,      active[a], core,
                           cutoff, k,    best_rdist, best_row,  0};
    nearest.set_cutoffs();
    int start = nearest.tile_nearby();
    nearest.compare(start, active[a], core[start]);
    int leaf, level = find_siblings(target, start, siblings, &leaf);
    while (level-- > 0) {
      traverse(target, siblings.first[level], siblings.last[level], nearest);
    }
    if (lane() == 0 && nearest.n_distances) atomicAdd(n_distances, nearest.n_distances);
  }
}
