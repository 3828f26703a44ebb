// traversal.cuh: the walk over the tree of tiles that all kernels of DBSCAN share.
//
// A visitor decides below which nodes the query tile needs to look, and handles the tiles there:
//   bool is_done() const;                   the query tile needs no more tiles
//   RowMask candidates(int node);           query rows that need the tiles below a node; 0 prunes
//   void visit(int tile, RowMask rows);     handle a target tile for these query rows
// All lanes of a warp call them together, and all results are the same for all lanes.
#pragma once

#include "dbscan/tile_query.cuh"

#define MAX_LEVELS 32

// Visit the tiles below the nodes `node` … `last` - 1, in depth-first order.
template <class Visitor>
__device__ __forceinline__ void traverse(const TileSpace& target, int node, int last,
                                         Visitor& visitor) {
  while (node < last && !visitor.is_done()) {
    RowMask rows = visitor.candidates(node);
    if (rows == 0) {
      node = target.skip(node);
      continue;
    }
    int tile = target.tile(node);
    if (tile >= 0) visitor.visit(tile, rows);
    ++node;
  }
}

// The siblings of the nodes on the path from the root to a tile, the largest subtree first: the
// nodes first[i] … last[i] - 1. Together with the tile they hold all rows, and the last ones are
// the nearest.
struct Siblings {
  int first[MAX_LEVELS], last[MAX_LEVELS];
};

// Returns how many there are, and in `leaf` the tile's own node.
__device__ __forceinline__ int find_siblings(const TileSpace& space, int tile, Siblings& siblings,
                                             int* leaf) {
  int node = 0, low = 0, high = space.n_tiles, count = 0;
  while (high - low > 1) {
    int middle = (low + high + 1) / 2, right = node + 2 * (middle - low);
    bool is_left = tile < middle;
    siblings.first[count] = is_left ? right : node + 1;
    siblings.last[count] = is_left ? space.skip(node) : right;
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
