// lloyd: one Lloyd iteration of several runs, in one read of x.
//
//   x         [n,d] f32 C-order                                                IN
//   weight    [n] f64, or null: ones                                           IN
//   the centres of all runs, K together, see tile.cuh                          IN
//   drift     [K] f32; most_drift [runs] f32, the largest of each run          IN
//   fresh     [runs] i32: whether nothing is known of the rows yet             IN
//   magic     [2,d+1] f64: grids of the sums, the last column of the weight    IN
//   label     runs × [n] i32; slack runs × [n] f32                             IN, OUT
//   sums      [2,K,d+1] i64: by how many steps of each grid the sums change    OUT, added to
//   looked_at [1] i64: rows whose distances were computed                      OUT, added to
//
// A row's slack bounds from below by how much its own centre was nearer than any other when it
// was last looked at, plus the drift of its label then; while it is above its label's drift, the
// label holds (Hamerly, "Making k-means even faster", SDM 2010, both bounds in one number). A
// block takes `rows_a_chunk` consecutive rows at a time:
//   1. it reads their slack, 4 bytes a row, and queues the rows that fail for any run;
//   2. it fetches a tile of queued rows, and scores and labels them for one run after the other;
//   3. it moves the rows that changed their centre from the sums of the old to those of the new.
// A full pass moves 4·d bytes a row, the first one 8 more for label and slack; a late pass 4 a
// row, and 4·d for the few rows that fail.
#include "certificate.cuh"
#include "sums.cuh"

struct Pass {
  int runs;
  const int *first_center, *first_group;  // [runs+1]
  const float* largest_norm;              // [runs]
  const float *drift, *most_drift;
  const int* fresh;
  int* const* label;
  float* const* slack;

  __device__ Run run(int i, const double* exact, const float* negated, const float* half_norms,
                     int d) const {
    int center = first_center[i], group = first_group[i], place = group * d * CENTERS;
    return {exact + (long long)center * d, negated + place, half_norms + group * CENTERS,
            largest_norm[i], first_center[i + 1] - center, first_group[i + 1] - group, place};
  }
};

// Whether any run has to look at a row again.
__device__ inline bool fails(const Pass& pass, long long row) {
  for (int i = 0; i < pass.runs; ++i) {
    if (pass.fresh[i]) return true;
    float slack = pass.slack[i][row];
    if (slack > pass.most_drift[i]) continue;
    if (!(slack > pass.drift[pass.first_center[i] + pass.label[i][row]])) return true;
  }
  return false;
}

// Step 1: append the failing ones of the next TILE rows to the queue. The lanes of a warp share
// one addition to its length.
__device__ inline void enqueue(const Pass& pass, long long first, int start, int stop, int* queue,
                               int* length) {
  const unsigned all = 0xffffffffu;
  unsigned before = (1u << (threadIdx.x & 31)) - 1;
  for (int i = start + threadIdx.x; i < start + TILE; i += THREADS) {
    bool failing = i < stop && fails(pass, first + i);
    unsigned failed = __ballot_sync(all, failing);
    int place = 0;
    if (before == 0) place = atomicAdd(length, __popc(failed));
    place = __shfl_sync(all, place, 0) + __popc(failed & before);
    if (failing) queue[place] = i;
  }
}

// End of step 2: bring label and slack up to date, and list the rows that changed their centre.
__device__ inline void remember(const Pass& pass, int i, const Rows& rows,
                                const float (&gap)[ROWS], const Found (&found)[ROWS],
                                const Moved& moved) {
  const float rounding = 4.7683716e-7f;  // 2^-21: both terms are rounded, and so was drift
  int first_center = pass.first_center[i], columns = rows.d + 1;
  bool fresh = pass.fresh[i];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    int slot = threadIdx.x * ROWS + r;
    if (slot >= rows.count) break;
    long long row = rows.first + rows.queue[slot];
    int now = found[r].label, before = pass.label[i][row];
    float drift = pass.drift[first_center + now];
    pass.slack[i][row] = gap[r] + drift - rounding * (fabsf(gap[r]) + drift);
    if (!fresh && before == now) continue;
    pass.label[i][row] = now;
    int place = atomicAdd(moved.count, 1);
    moved.row[place] = rows.queue[slot];
    moved.left[place] = fresh ? -1 : (first_center + before) * columns;
    moved.joined[place] = (first_center + now) * columns;
  }
}

// Steps 2 and 3 for one run and one tile; returns whether any row changed its centre.
__device__ inline bool look(const Pass& pass, int i, const Rows& rows, const Run& run,
                            const double* weight, Space& space, const Moved& moved,
                            const Sums& sums) {
  Found found[ROWS];
  float gap[ROWS];
  if (threadIdx.x == 0) *moved.count = 0;
  score_tile(rows, run, space, found);
#pragma unroll
  for (int r = 0; r < ROWS; ++r) gap[r] = gap_of(found[r], run.largest_norm, rows.d);
  settle(rows, run, gap, found);
  __syncthreads();
  remember(pass, i, rows, gap, found, moved);
  __syncthreads();
  bool any = *moved.count > 0;
  move_rows(rows, weight, moved, sums);
  __syncthreads();
  return any;
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
lloyd(const float* __restrict__ x, const double* __restrict__ weight, long long n, int d,
      int runs, const int* __restrict__ first_center, const int* __restrict__ first_group,
      const double* __restrict__ exact, const float* __restrict__ shift,
      const float* __restrict__ negated, const float* __restrict__ half_norms,
      const float* __restrict__ largest_norm, const float* __restrict__ drift,
      const float* __restrict__ most_drift, const int* __restrict__ fresh,
      const double* __restrict__ magic, int* const* label, float* const* slack,
      unsigned long long* all_sums, unsigned long long* looked_at, int rows_a_chunk, int features,
      int resident) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ int length, n_moved;
  int groups = first_group[runs], cells = first_center[runs] * (d + 1);
  Pass pass = {runs, first_center, first_group, largest_norm, drift, most_drift,
               fresh, label, slack};
  Space space = {reinterpret_cast<float*>(shared), 0, features, resident != 0, -1};
  space.panel = space.tile + features * TILE;
  int* queue = reinterpret_cast<int*>(space.panel + (resident ? groups * d : features) * CENTERS);
  Moved moved = {queue + 2 * TILE, queue + 3 * TILE, queue + 4 * TILE, &n_moved};
  Sums sums = {magic, all_sums, 0, 0, cells, d + 1};
#if PRIVATE
  sums.low = reinterpret_cast<unsigned*>(queue + 5 * TILE);
  sums.high = reinterpret_cast<int*>(sums.low + 2 * cells);
  clear(sums);
#endif
  if (resident) load_panel(negated, groups * d * CENTERS, space.panel);

  unsigned long long looked = 0;
  for (long long first = (long long)blockIdx.x * rows_a_chunk; first < n;
       first += (long long)gridDim.x * rows_a_chunk) {
    int stop = (int)min((long long)rows_a_chunk, n - first), queued = 0;
    bool any_moved = false;
    for (int start = 0; start < stop; start += TILE) {
      if (threadIdx.x == 0) length = queued;
      __syncthreads();
      enqueue(pass, first, start, stop, queue, &length);  // 1
      __syncthreads();
      queued = length;
      bool last = start + TILE >= stop;
      while (queued >= TILE || (last && queued > 0)) {
        Rows rows = {x, shift, d, first, queue, min(queued, TILE)};
        space.loaded = -1;
        for (int i = 0; i < runs; ++i) {  // 2, 3
          Run run = pass.run(i, exact, negated, half_norms, d);
          any_moved |= look(pass, i, rows, run, weight, space, moved, sums);
        }
        looked += rows.count;
        queued -= rows.count;
        for (int i = threadIdx.x; i < queued; i += THREADS) queue[i] = queue[TILE + i];
      }
      __syncthreads();
    }
#if PRIVATE
    if (any_moved) flush(sums);
#endif
  }
  if (threadIdx.x == 0 && looked) atomicAdd(looked_at, looked);
}
