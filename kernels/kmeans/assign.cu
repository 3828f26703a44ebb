// assign: the nearest center of every row, its squared distance, the inertia and the sizes.
//
//   x       [n,d] f32 C-order                                       IN
//   weight  [n] f64, or null: ones                                  IN
//   the centers of one run (score_tile.cuh)                         IN
//   magic   [grids] f64: grids of the inertia, coarse to fine       IN
//   label   [n] i32, ties to the lowest index                       OUT
//   square  [n] f64 = |x - c|², direct form, features in order      OUT
//   sums    [grids] i64: Σ w·|x - c|², in steps of each grid        OUT, added to
//   sizes   [k] i64: rows of each center; only where grids > 0      OUT, added to
//
// 4·d bytes a row are read (again from the L2 cache for the exact distance), 12 written;
// 2·k·d + 3·d FLOP a row, the latter in float64.
#include "common/reproducible_sums.cuh"
#include "kmeans/resolve_uncertain.cuh"

#define MAX_GRIDS 3

struct Totals {
  const double* magic;
  int grids;
  long long steps[MAX_GRIDS];  // of this thread
  int* sizes;                  // [k] of this block, shared; null where they do not fit
  unsigned long long* all_sizes;
};

// Add the term of a row to the inertia and the row to its segment.
__device__ inline void count(Totals& totals, double term, int label) {
  double rest = term;
#pragma unroll
  for (int level = 0; level < MAX_GRIDS; ++level) {
    if (level == totals.grids) break;
    totals.steps[level] += grid_steps(rest, totals.magic[level], &rest);
  }
  if (totals.sizes) {
    atomicAdd(&totals.sizes[label], 1);
  } else {
    atomicAdd(&totals.all_sizes[label], 1ull);
  }
}

// Add the totals of this block to those of all blocks.
__device__ inline void flush(const Totals& totals, int k, unsigned long long* sums) {
  const unsigned all = 0xffffffffu;
#pragma unroll
  for (int level = 0; level < MAX_GRIDS; ++level) {
    if (level == totals.grids) break;
    long long steps = totals.steps[level];
    for (int offset = 16; offset > 0; offset >>= 1) steps += __shfl_xor_sync(all, steps, offset);
    if ((threadIdx.x & 31) == 0) atomicAdd(&sums[level], (unsigned long long)steps);
  }
  __syncthreads();
  for (int j = threadIdx.x; totals.sizes && j < k; j += THREADS) {
    atomicAdd(&totals.all_sizes[j], (unsigned long long)totals.sizes[j]);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
assign(const float* __restrict__ x, const double* __restrict__ weight, long long n, int d, int k,
       const double* __restrict__ exact, const float* __restrict__ shift,
       const float* __restrict__ negated, const float* __restrict__ half_norms,
       float largest_norm, const double* __restrict__ magic, int grids, int* label,
       double* square, unsigned long long* sums, unsigned long long* sizes, int features,
       int resident, int count_in_block) {
  extern __shared__ __align__(16) unsigned char shared[];
  int groups = (k + CENTERS - 1) / CENTERS;
  TileMemory memory = {reinterpret_cast<float*>(shared), 0, features, resident != 0, -1};
  memory.panel = memory.tile + features * TILE;
  int panel_floats = (resident ? groups * d : features) * CENTERS;
  int* queue = reinterpret_cast<int*>(memory.panel + panel_floats);
  Totals totals = {magic, grids, {}, count_in_block ? queue + TILE : 0, sizes};
  if (resident) load_panel(negated, groups * d * CENTERS, memory.panel);
  for (int i = threadIdx.x; i < TILE; i += THREADS) queue[i] = i;
  for (int j = threadIdx.x; totals.sizes && j < k; j += THREADS) totals.sizes[j] = 0;
  __syncthreads();

  RunCenters run = {exact, negated, half_norms, largest_norm, k, groups, 0};
  for (long long first = (long long)blockIdx.x * TILE; first < n;
       first += (long long)gridDim.x * TILE) {
    QueuedRows rows = {x, shift, d, first, queue, (int)min((long long)TILE, n - first)};
    BestScores scores[ROWS];
    float gap[ROWS];
    memory.loaded = -1;
    score_tile(rows, run, memory, scores);
    certify(run, d, scores, gap);
    resolve_uncertain(rows, run, gap, scores);
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      long long row = first + threadIdx.x * ROWS + r;
      if (row >= n) break;
      int nearest = scores[r].label;
      double distance = squared_distance(x + row * d, exact + (long long)nearest * d, d);
      label[row] = nearest;
      square[row] = distance;
      if (grids) count(totals, weight ? __dmul_rn(weight[row], distance) : distance, nearest);
    }
  }
  if (grids) flush(totals, k, sums);
}
