// tile_stream.cuh: the rows of a warp, from global memory into two tiles of shared memory in turns.
//
// While a warp works on one tile, the copies into the other one are in flight. A tile is
// `TILE_ROWS` consecutive rows, `pitch` floats apart; the pitch is chosen so that lanes read
// without bank conflicts. Nothing is transposed, and no warp waits for another one.
#pragma once

#include "common/async_copy.cuh"
#include "kmeans/vector_load.cuh"

#define WARPS (THREADS / 32)
#define TILE_ROWS (32 * LANE_ROWS)
#define STAGES 2

// Consecutive rows of x, in shared memory.
struct Tile {
  float* rows;       // [TILE_ROWS,pitch]
  long long first;   // index of the first row in x
  int count;         // rows of x in the tile; the other slots hold old values
};

struct Stream {
  const float* x;  // [n,d]
  long long n;
  int d, pitch;
  float* tiles;    // [STAGES,TILE_ROWS,pitch] of this warp
  // How a lane walks over the pieces of a tile, 32 pieces at a time.
  int width;          // floats of a piece
  int pieces;         // of a row
  int piece, offset;  // where the lane begins: piece of its row, and float of the tile
  int step, rest;     // floats to the lane's next piece in the tile, and pieces beyond whole rows

  // The tile that begins at row `first`, in one of the two stages.
  __device__ Tile tile(int stage, long long first) const {
    int count = (int)max(0ll, min((long long)TILE_ROWS, n - first));
    return {tiles + stage * TILE_ROWS * pitch, first, count};
  }
};

__device__ inline Stream stream_of(const float* x, long long n, int d, int pitch, int width,
                                   float* tiles) {
  int lane = threadIdx.x % 32, pieces = d / width, rest = 32 % pieces;
  return {x, n, d, pitch, tiles, width, pieces, lane % pieces,
          lane / pieces * pitch + lane % pieces * width,
          32 / pieces * pitch + rest * width, rest};
}

// Set both tiles to zero, so that slots without a row can be read.
__device__ inline void clear(const Stream& stream) {
  for (int i = threadIdx.x % 32; i < STAGES * TILE_ROWS * stream.pitch; i += 32) {
    stream.tiles[i] = 0.0f;
  }
  __syncwarp();
}

// Start copying `count` rows from row `first` on, in pieces of WIDTH floats. The lanes take
// consecutive pieces.
template <int WIDTH>
__device__ inline void fetch(const Stream& stream, long long first, int count, float* to) {
  int lane = threadIdx.x % 32, piece = stream.piece;
  int turns = (count * stream.pieces - lane + 31) / 32;
  const float* from = stream.x + first * stream.d + lane * WIDTH;
  to += stream.offset;
  if (stream.rest == 0) {
#pragma unroll 4
    for (int i = 0; i < turns; ++i) {  // trips: pieces of a lane
      copy_async<4 * WIDTH>(to, from);
      from += 32 * WIDTH;
      to += stream.step;
    }
  } else {  // cold: the lanes do not fit a whole number of rows
    for (int i = 0; i < turns; ++i) {
      copy_async<4 * WIDTH>(to, from);
      from += 32 * WIDTH;
      to += stream.step;
      piece += stream.rest;
      if (piece >= stream.pieces) {
        piece -= stream.pieces;
        to += stream.pitch - stream.pieces * WIDTH;
      }
    }
  }
}
