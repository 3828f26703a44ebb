// connect_core: unite the core rows of different tiles that are within eps of each other.
//
//   query, target  core rows in tiles (component_hints.cuh); `same`: they are one space;
//                  the hints of both are updated                                IN, OUT
//   parent         [elements] i32, the union-find (union_find.cuh)              IN, OUT
//   n_distances    [1] i64: pairs of rows that were compared                    OUT, added to
//
// A warp takes a tile. In one space it is compared with later tiles only, the nearest subtrees
// first. Subtrees that are in one component with the tile are skipped, so that most pairs are never
// compared.
#include "dbscan/component_hints.cuh"
#include "dbscan/traversal.cuh"

struct CoreConnector {
  const QueryTile& tile;
  const CoreRows& query;
  const CoreRows& target;
  const EpsBounds& eps;
  int* parent;
  const int* tile_hint;  // of the query tile
  int hint;              // of the target node that was tried last
  unsigned long long n_distances;

  __device__ __forceinline__ bool is_done() const { return false; }

  __device__ __forceinline__ RowMask candidates(int node) {
    hint = hint_of_node(parent, target, node);
    if (hint == NO_CORE || same_component(parent, hint, load_volatile(tile_hint))) return 0;
    return rows_near(tile, target.space, node, eps) & query.core[tile.index];
  }

  __device__ __forceinline__ void visit(int target_tile, RowMask rows) {
    const RowMask others = target.core[target_tile];
    for (; rows; rows &= rows - 1) {
      int i = first_row(rows), element = query.component[tile.index * TILE + i];
      if (same_component(parent, hint, element)) continue;
      n_distances += TILE;
      RowMask near = rows_within(tile, i, target.space, target_tile, others, eps);
      if (hint == MIXED) {
        unite_all(parent, element, target, target_tile, near);
      } else if (near && lane() == 0) {
        unite(parent, element, hint);
      }
      __syncwarp();
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
connect_core(const CoreRows query, const CoreRows target, const EpsBounds eps, int same,
             int* parent, unsigned long long* n_distances) {
  extern __shared__ __align__(16) unsigned char shared[];
  Siblings siblings;
  for (int a = first_tile(); a < query.space.n_tiles; a += gridDim.x * WARPS) {
    if (query.core[a] == 0) continue;
    QueryTile tile = load_tile(query.space, a, shared);
    int leaf, level = find_siblings(query.space, a, siblings, &leaf);
    int* tile_hint = query.hint + leaf;
    CoreConnector connector = {tile, query, target, eps, parent, tile_hint, NO_CORE, 0};
    if (!same) traverse(target.space, 0, target.space.nodes(), connector);
    while (same && level-- > 0) {
      if (siblings.first[level] > leaf) {
        traverse(target.space, siblings.first[level], siblings.last[level], connector);
      }
      if (load_volatile(tile_hint) != MIXED) continue;
      int hint = hint_of_tile(parent, query, a);
      if (lane() == 0) atomicExch(tile_hint, hint);
      __syncwarp();
    }
    if (lane() == 0 && connector.n_distances) atomicAdd(n_distances, connector.n_distances);
  }
}
