// connect_core_in_tiles: unite the core rows of each tile that are within eps of each other.
//
//   rows         core rows in tiles (component_hints.cuh)                       IN
//                their hints: those of the tiles                                OUT
//   parent       [elements] i32, the union-find (union_find.cuh)                IN, OUT
//   n_distances  [1] i64: pairs of rows that were compared                      OUT, added to
//
// With `connect` 0 only the hints are written. A warp takes a tile; rows of a dense tile are not
// compared.
#include "dbscan/component_hints.cuh"
#include "dbscan/traversal.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
connect_core_in_tiles(const CoreRows rows, const EpsBounds eps, int connect, int* parent,
                      unsigned long long* n_distances) {
  extern __shared__ __align__(16) unsigned char shared[];
  Siblings siblings;
  for (int a = first_tile(); a < rows.space.n_tiles; a += gridDim.x * WARPS) {
    int leaf;
    find_siblings(rows.space, a, siblings, &leaf);
    RowMask core = rows.core[a];
    if (core == 0) {
      if (lane() == 0) rows.hint[leaf] = NO_CORE;
      continue;
    }
    const int* component = rows.component + a * TILE;
    if (connect && is_dense(rows.space, leaf, eps)) {
      unite_all(parent, component[first_row(core)], rows, a, core);
    } else if (connect) {
      QueryTile tile = load_tile(rows.space, a, shared);
      for (RowMask rest = core; rest; rest &= rest - 1) {
        int i = first_row(rest);
        RowMask near = rows_within(tile, i, rows.space, a, rest, eps);
        unite_all(parent, component[i], rows, a, near);
      }
      if (lane() == 0) atomicAdd(n_distances, (unsigned long long)__popcll(core) * TILE);
    }
    int hint = hint_of_tile(parent, rows, a);
    if (lane() == 0) rows.hint[leaf] = hint;
  }
}
