// lloyd: one Lloyd iteration of several runs that scores only the rows that may have moved.
//
//   x         [n,d] f32 C-order                                                IN
//   weight    [n] f64, or null: ones                                           IN
//   the centers of all runs, K together (score_tile.cuh)                       IN
//   drift     [K] f32                                                          IN
//   fresh     [runs] i32: whether the rows have no bounds yet                  IN
//   magic     [2,d+1] f64: grids of the sums, the last column of the weight    IN
//   label     runs × [n] u8 or i32; slack runs × [n] u16 (row_bounds.cuh)      IN, OUT
//   sums      [2,K,d+1] i64: changes of the sums, in steps of each grid        OUT, added to
//   max_drift [runs] f32: the largest of each run                              IN
//   n_scored  [1] i64: rows that were scored                                   OUT, added to
//
// The slack of a row is a lower bound of how much nearer its center was than any other when the row
// was scored last, plus the drift of its label then. While it is above the drift of the label, the
// label holds (Hamerly, "Making k-means even faster", SDM 2010, both bounds in one number). A block
// takes `rows_per_chunk` consecutive rows at a time:
//   1. it reads their slack, 2 bytes a row, and queues the rows that fail for any run;
//   2. it fetches a tile of queued rows, and scores and labels them for one run after the other;
//   3. it moves the rows that changed their center from the sums of the old to those of the new.
// A pass moves 2 bytes a row, and 4·d + 5 for the few rows that fail. Where most rows fail,
// lloyd_full.cu is faster.
#include "kmeans/center_sums.cuh"
#include "kmeans/resolve_uncertain.cuh"
#include "kmeans/row_bounds.cuh"

#define PIECE 8    // rows that have 16 bytes of slack
#define PIECES 2   // that a thread loads at once
#define SCAN (THREADS * PIECE * PIECES)

struct Pass {
  int runs;
  const int *first_center, *first_group;  // [runs+1]
  const float* largest_norm;              // [runs]
  const float *drift, *max_drift;
  const int* fresh;
  Label* const* label;
  Slack* const* slack;

  __device__ RunCenters run(int i, const double* exact, const float* negated,
                            const float* half_norms, int d) const {
    int center = first_center[i], group = first_group[i], panel = group * d * CENTERS;
    return {exact + (long long)center * d, negated + panel, half_norms + group * CENTERS,
            largest_norm[i], first_center[i + 1] - center, first_group[i + 1] - group, panel};
  }
};

// The rows of a tile that changed their center, in shared memory. A cell is the first column of a
// center in the sums.
struct MovedRows {
  int* row;    // [TILE] counted from the first row of the chunk
  int* from;   // [TILE] cell of the old center; -1: none
  int* to;     // [TILE] cell of the new center
  int* count;
};

// The slack of PIECE rows, two in a word.
struct Slacks {
  unsigned word[4];
};

// The slack of the first `count` rows from `first` on; 0 for those beyond.
__device__ inline Slacks load_slacks(const Slack* slack, long long first, int count) {
  const Slack* source = slack + first;
  Slacks slacks = {};
  if (count == PIECE && reinterpret_cast<unsigned long long>(source) % 16 == 0) {
    Vector<4> bits = load<4>(reinterpret_cast<const float*>(source));
#pragma unroll
    for (int w = 0; w < 4; ++w) slacks.word[w] = __float_as_uint(bits.value[w]);
  } else {
    for (int j = 0; j < count; ++j) slacks.word[j / 2] |= (unsigned)source[j] << 16 * (j % 2);
  }
  return slacks;
}

// A bit for each of `count` rows whose slack is not above the largest drift of their run. A half s
// of a word is above h exactly if (s | 2^15) - (h + 1) keeps bit 15; neither half borrows from the
// other, as s and h are below 2^15.
__device__ inline unsigned low_slack(const Slacks& slacks, float max_drift, int count) {
  unsigned above = upper_half(max_drift) + 1, both = above | above << 16;
  const unsigned signs = 0x80008000u;
  unsigned rest[4], all = signs;
#pragma unroll
  for (int w = 0; w < 4; ++w) all &= rest[w] = (slacks.word[w] | signs) - both;
  if ((all & signs) == signs) return 0;
  unsigned high = 0;
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    unsigned kept = rest[w] & signs;
    high |= ((kept >> 15 & 1) | kept >> 30) << 2 * w;
  }
  return ~high & ((1u << count) - 1);
}

// A bit for each of `count` rows from `row` on that fails in a run and is not yet in `failing`.
__device__ inline unsigned fails(const Pass& pass, int i, long long row, int count,
                                 const Slacks& slacks, unsigned failing) {
  if (pass.fresh[i]) return (1u << count) - 1;
  unsigned low = low_slack(slacks, pass.max_drift[i], count) & ~failing, failed = 0;
  for (; low; low &= low - 1) {  // cold: slack is not above the largest drift
    int j = __ffs(low) - 1;
    unsigned slack = slacks.word[j / 2] >> 16 * (j % 2) & 0xffff;
    float drift = pass.drift[pass.first_center[i] + pass.label[i][row + j]];
    if (slack <= upper_half(drift)) failed |= 1u << j;
  }
  return failed;
}

// Step 1: append the failing rows among the next SCAN rows to the queue.
__device__ inline void enqueue(const Pass& pass, long long first, int start, int stop, int* queue,
                               int* length) {
  int from[PIECES], count[PIECES];
  unsigned failing[PIECES] = {};
#pragma unroll
  for (int p = 0; p < PIECES; ++p) {
    from[p] = start + (p * THREADS + threadIdx.x) * PIECE;
    count[p] = max(0, min(PIECE, stop - from[p]));
  }
  for (int i = 0; i < pass.runs; ++i) {
    Slacks slacks[PIECES];
#pragma unroll
    for (int p = 0; p < PIECES; ++p) {
      slacks[p] = load_slacks(pass.slack[i], first + from[p], count[p]);
    }
#pragma unroll
    for (int p = 0; p < PIECES; ++p) {
      failing[p] |= fails(pass, i, first + from[p], count[p], slacks[p], failing[p]);
    }
  }
#pragma unroll
  for (int p = 0; p < PIECES; ++p) {
    if (failing[p] == 0) continue;
    int slot = atomicAdd(length, __popc(failing[p]));
    for (unsigned rows = failing[p]; rows; rows &= rows - 1) {  // cold: rows that are queued
      queue[slot++] = from[p] + __ffs(rows) - 1;
    }
  }
}

// End of step 2: store label and slack, and list the rows that changed their center.
__device__ inline void store_bounds(const Pass& pass, int i, const QueuedRows& rows,
                                    const float (&gap)[ROWS], const BestScores (&scores)[ROWS],
                                    const MovedRows& moved) {
  int first_center = pass.first_center[i], columns = rows.d + 1;
  bool fresh = pass.fresh[i];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    int slot = threadIdx.x * ROWS + r;
    if (slot >= rows.count) break;
    long long row = rows.first + rows.queue[slot];
    int now = scores[r].label, before = pass.label[i][row];
    pass.slack[i][row] = slack_of(gap[r], pass.drift[first_center + now]);
    if (!fresh && before == now) continue;
    pass.label[i][row] = (Label)now;
    int index = atomicAdd(moved.count, 1);
    moved.row[index] = rows.queue[slot];
    moved.from[index] = fresh ? -1 : (first_center + before) * columns;
    moved.to[index] = (first_center + now) * columns;
  }
}

// Add a value to column f of the new center, and subtract it from that of the old center.
__device__ inline void move_value(const CenterSums& sums, double value, int f, int from, int to) {
  Steps steps = steps_of(sums, value, f);
  add_both(sums, to, f, steps);
  if (from >= 0) add_both(sums, from, f, {-steps.coarse, -steps.fine});
}

// Step 3: 2^j lanes take a row, a lane a feature; then a thread the weight of a row.
__device__ inline void move_rows(const QueuedRows& rows, const double* weight,
                                 const MovedRows& moved, const CenterSums& sums) {
  int lanes = 1;
  while (lanes < rows.d && lanes < 32) lanes *= 2;
  for (int i = threadIdx.x / lanes; i < *moved.count; i += THREADS / lanes) {
    long long row = rows.first + moved.row[i];
    double w = weight ? weight[row] : 1.0;
    for (int f = threadIdx.x % lanes; f < rows.d; f += lanes) {
      double offset = __dsub_rn((double)rows.x[row * rows.d + f], (double)rows.shift[f]);
      move_value(sums, __dmul_rn(w, offset), f, moved.from[i], moved.to[i]);
    }
  }
  for (int i = threadIdx.x; i < *moved.count; i += THREADS) {
    double w = weight ? weight[rows.first + moved.row[i]] : 1.0;
    move_value(sums, w, rows.d, moved.from[i], moved.to[i]);
  }
}

// Steps 2 and 3 for one run and one tile.
__device__ inline void update_run(const Pass& pass, int i, const QueuedRows& rows,
                                  const RunCenters& run, const double* weight, TileMemory& memory,
                                  const MovedRows& moved, const CenterSums& sums) {
  BestScores scores[ROWS];
  float gap[ROWS];
  if (threadIdx.x == 0) *moved.count = 0;
  score_tile(rows, run, memory, scores);
  certify(run, rows.d, scores, gap);
  resolve_uncertain(rows, run, gap, scores);
  __syncthreads();
  store_bounds(pass, i, rows, gap, scores, moved);
  __syncthreads();
  move_rows(rows, weight, moved, sums);
  __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
lloyd(const float* __restrict__ x, const double* __restrict__ weight, long long n, int d,
      int runs, const int* __restrict__ first_center, const int* __restrict__ first_group,
      const double* __restrict__ exact, const float* __restrict__ shift,
      const float* __restrict__ negated, const float* __restrict__ half_norms,
      const float* __restrict__ largest_norm, const float* __restrict__ drift,
      const int* __restrict__ fresh, const double* __restrict__ magic, Label* const* label,
      Slack* const* slack, unsigned long long* all_sums, const float* __restrict__ max_drift,
      unsigned long long* n_scored, int rows_per_chunk, int features, int resident,
      int private_sums) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ int length, n_moved;
  int groups = first_group[runs], cells = first_center[runs] * (d + 1);
  Pass pass = {runs, first_center, first_group, largest_norm, drift, max_drift,
               fresh, label, slack};
  TileMemory memory = {reinterpret_cast<float*>(shared), 0, features, resident != 0, -1};
  memory.panel = memory.tile + features * TILE;
  int panel_floats = (resident ? groups * d : features) * CENTERS;
  int* queue = reinterpret_cast<int*>(memory.panel + panel_floats);
  int* lists = queue + TILE + SCAN;
  MovedRows moved = {lists, lists + TILE, lists + 2 * TILE, &n_moved};
  CenterSums sums = {magic, all_sums, 0, 0, cells, d + 1};
  if (private_sums) {
    sums.low = reinterpret_cast<unsigned*>(lists + 3 * TILE);
    sums.high = sums.low + 2 * cells;
  }
  clear(sums);
  if (resident) load_panel(negated, groups * d * CENTERS, memory.panel);

  unsigned long long scored = 0;
  for (long long first = (long long)blockIdx.x * rows_per_chunk; first < n;
       first += (long long)gridDim.x * rows_per_chunk) {
    int stop = (int)min((long long)rows_per_chunk, n - first), queued = 0;
    for (int start = 0; start < stop; start += SCAN) {
      if (threadIdx.x == 0) length = queued;
      __syncthreads();
      enqueue(pass, first, start, stop, queue, &length);  // 1
      __syncthreads();
      queued = length;
      bool last = start + SCAN >= stop;
      while (queued >= TILE || (last && queued > 0)) {  // cold: a tile of rows to score
        int count = min(queued, TILE);
        QueuedRows rows = {x, shift, d, first, queue + queued - count, count};
        memory.loaded = -1;
        for (int i = 0; i < runs; ++i) {  // 2, 3
          RunCenters run = pass.run(i, exact, negated, half_norms, d);
          update_run(pass, i, rows, run, weight, memory, moved, sums);
        }
        scored += count;
        queued -= count;
      }
      __syncthreads();
    }
  }
  flush(sums);
  if (threadIdx.x == 0 && scored) atomicAdd(n_scored, scored);
}
