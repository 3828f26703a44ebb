// core_counts: the weight of the rows within eps of each row, up to a minimum.
//
//   query, target  rows in tiles (tile_query.cuh); `same`: they are one space     IN
//   weight       [target.n_tiles·64] i64 by slot, or null: ones                   IN
//   n_neighbors  [query.n_tiles·64] i64 by slot                                   IN, OUT, added to
//   n_distances  [1] i64: pairs of rows that were compared                        OUT, added to
//
// A warp takes a tile. In one space its rows are compared with their own tile first, then with
// subtrees ever farther up. A row that has reached `min_weight` is compared with no more rows. A
// row and a tile cost 4·64·d bytes of the L2 cache and 2·64·d FLOP; a node costs 8·d bytes.
#include "dbscan/traversal.cuh"

struct NeighborCounter {
  const QueryTile& query;
  const TileSpace& target;
  const EpsBounds& eps;
  const long long* weight;
  long long min_weight, n_neighbors[2];
  RowMask pending;  // rows that are below the minimum
  unsigned long long n_distances;

  __device__ __forceinline__ long long weight_of(int tile, RowMask rows) const {
    if (!weight) return __popcll(rows);
    long long total = contains(rows, lane()) ? weight[tile * TILE + lane()] : 0;
    if (contains(rows, lane() + 32)) total += weight[tile * TILE + lane() + 32];
    for (int offset = 16; offset > 0; offset >>= 1) {
      total += __shfl_xor_sync(ALL_LANES, total, offset);
    }
    return total;
  }

  __device__ __forceinline__ void update_pending() {
    pending &= ballot(n_neighbors[0] < min_weight, n_neighbors[1] < min_weight);
  }

  __device__ __forceinline__ void add(RowMask rows, long long amount) {
    if (contains(rows, lane())) n_neighbors[0] += amount;
    if (contains(rows, lane() + 32)) n_neighbors[1] += amount;
  }

  __device__ __forceinline__ bool is_done() const { return pending == 0; }

  __device__ __forceinline__ RowMask candidates(int node) const {
    return rows_near(query, target, node, eps) & pending;
  }

  __device__ __forceinline__ void visit(int tile, RowMask rows) {
    const RowMask others = target.rows[tile];
    n_distances += (unsigned long long)__popcll(rows) * TILE;
    for (; rows; rows &= rows - 1) {
      int i = first_row(rows);
      RowMask near = rows_within(query, i, target, tile, others, eps);
      add((RowMask)1 << i, weight_of(tile, near));
    }
    update_pending();
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
core_counts(const TileSpace query, const TileSpace target, const EpsBounds eps, int same,
            const long long* __restrict__ weight, long long min_weight, long long* n_neighbors,
            unsigned long long* n_distances) {
  extern __shared__ __align__(16) unsigned char shared[];
  Siblings siblings;
  for (int a = first_tile(); a < query.n_tiles; a += gridDim.x * WARPS) {
    QueryTile tile = load_tile(query, a, shared);
    long long* counts = n_neighbors + (long long)a * TILE + lane();
    NeighborCounter counter = {tile,       target, eps, weight, min_weight, {counts[0], counts[32]},
                               tile.rows, 0};
    counter.update_pending();
    if (same) {
      int leaf, level = find_siblings(query, a, siblings, &leaf);
      if (is_dense(query, leaf, eps)) {
        counter.add(tile.rows, counter.weight_of(a, tile.rows));
        counter.update_pending();
      } else {
        counter.visit(a, counter.pending);
      }
      while (level-- > 0 && !counter.is_done()) {
        traverse(target, siblings.first[level], siblings.last[level], counter);
      }
    } else {
      traverse(target, 0, target.nodes(), counter);
    }
    counts[0] = counter.n_neighbors[0];
    counts[32] = counter.n_neighbors[1];
    if (lane() == 0 && counter.n_distances) atomicAdd(n_distances, counter.n_distances);
  }
}
