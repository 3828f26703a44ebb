// border_assignment: the lowest cluster among the core rows within eps of border rows.
//
//   query, target   rows in tiles (tile_query.cuh)                              IN
//   active          [query.n_tiles] masks: the rows to assign                   IN
//   core            [target.n_tiles] masks                                      IN
//   cluster         [target.n_tiles·64] u32 by slot                             IN
//   min_cluster     [nodes] u32: the lowest cluster below each target node      IN
//   border_cluster  [query.n_tiles·64] u32 by slot                              IN, OUT, lowered
//   n_distances     [1] i64: pairs of rows that were compared                   OUT, added to
#include "dbscan/traversal.cuh"

#define NO_CLUSTER 0xffffffffu

__device__ inline unsigned min_of_warp(unsigned value) {
  for (int offset = 16; offset > 0; offset >>= 1) {
    value = min(value, __shfl_xor_sync(ALL_LANES, value, offset));
  }
  return value;
}

struct BorderAssigner {
  const QueryTile& query;
  const TileSpace& target;
  const EpsBounds& eps;
  RowMask active;
  const RowMask* core;
  const unsigned *cluster, *min_cluster;
  unsigned assigned[2];
  unsigned long long n_distances;

  __device__ __forceinline__ bool is_done() const { return false; }

  __device__ __forceinline__ RowMask candidates(int node) const {
    unsigned lowest = min_cluster[node];
    if (lowest == NO_CLUSTER) return 0;
    RowMask near = rows_near(query, target, node, eps) & active;
    return near & ballot(assigned[0] > lowest, assigned[1] > lowest);
  }

  __device__ __forceinline__ void visit(int tile, RowMask rows) {
    const RowMask others = core[tile];
    n_distances += (unsigned long long)__popcll(rows) * TILE;
    for (; rows; rows &= rows - 1) {
      int i = first_row(rows);
      RowMask near = rows_within(query, i, target, tile, others, eps);
      unsigned lowest = contains(near, lane()) ? cluster[tile * TILE + lane()] : NO_CLUSTER;
      if (contains(near, lane() + 32)) lowest = min(lowest, cluster[tile * TILE + lane() + 32]);
      lowest = min_of_warp(lowest);
      if (lane() != i % 32) continue;
      if (i < 32) {
        assigned[0] = min(assigned[0], lowest);
      } else {
        assigned[1] = min(assigned[1], lowest);
      }
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
border_assignment(const TileSpace query, const TileSpace target, const EpsBounds eps,
                  const RowMask* __restrict__ active, const RowMask* __restrict__ core,
                  const unsigned* __restrict__ cluster, const unsigned* __restrict__ min_cluster,
                  unsigned* border_cluster, unsigned long long* n_distances) {
  extern __shared__ __align__(16) unsigned char shared[];
  for (int a = first_tile(); a < query.n_tiles; a += gridDim.x * WARPS) {
    if (active[a] == 0) continue;
    QueryTile tile = load_tile(query, a, shared);
    unsigned* assigned = border_cluster + (long long)a * TILE + lane();
    BorderAssigner assigner = {tile,        target, eps, active[a], core, cluster,
                               min_cluster, {assigned[0], assigned[32]}, 0};
    traverse(target, 0, target.nodes(), assigner);
    assigned[0] = assigner.assigned[0];
    assigned[32] = assigner.assigned[1];
    if (lane() == 0 && assigner.n_distances) atomicAdd(n_distances, assigner.n_distances);
  }
}
