// lloyd: one Lloyd iteration of several runs that looks only at the rows that may have moved.
//
//   x         [n,d] f32 C-order                                                IN
//   weight    [n] f64, or null: ones                                           IN
//   the centres of all runs, K together, see tile.cuh                          IN
//   drift     [K] f32                                                          IN
//   fresh     [runs] i32: whether nothing is known of the rows yet             IN
//   magic     [2,d+1] f64: grids of the sums, the last column of the weight    IN
//   label     runs × [n] u8 or i32; slack runs × [n] u16, see state.cuh        IN, OUT
//   sums      [2,K,d+1] i64: by how many steps of each grid the sums change    OUT, added to
//   most_drift [runs] f32: the largest of each run                             IN
//   looked_at [1] i64: rows whose distances were computed                      OUT, added to
//
// A row's slack bounds from below by how much its own centre was nearer than any other when it
// was last looked at, plus the drift of its label then; while it is above its label's drift, the
// label holds (Hamerly, "Making k-means even faster", SDM 2010, both bounds in one number). A
// block takes `rows_per_chunk` consecutive rows at a time:
//   1. it reads their slack, 2 bytes a row, and queues the rows that fail for any run;
//   2. it fetches a tile of queued rows, and scores and labels them for one run after the other;
//   3. it moves the rows that changed their centre from the sums of the old to those of the new.
// A pass moves 2 bytes a row, and 4·d + 5 for the few rows that fail. Where most rows fail,
// lloyd_full.cu is faster.
#include "settle.cuh"
#include "state.cuh"
#include "sums.cuh"

#define PIECE 8    // rows whose slack is 16 bytes
#define PIECES 2   // of a thread, under way at once
#define SCAN (THREADS * PIECE * PIECES)

struct Pass {
  int runs;
  const int *first_center, *first_group;  // [runs+1]
  const float* largest_norm;              // [runs]
  const float *drift, *most_drift;
  const int* fresh;
  Label* const* label;
  Slack* const* slack;

  __device__ Run run(int i, const double* exact, const float* negated, const float* half_norms,
                     int d) const {
    int center = first_center[i], group = first_group[i], place = group * d * CENTERS;
    return {exact + (long long)center * d, negated + place, half_norms + group * CENTERS,
            largest_norm[i], first_center[i + 1] - center, first_group[i + 1] - group, place};
  }
};

// The rows of a tile that changed their centre, in shared memory. A cell is a centre's first
// column in the sums.
struct Moved {
  int* row;     // [TILE] counted from the first row of the chunk
  int* left;    // [TILE] cell of the centre that it left; -1: none
  int* joined;  // [TILE] cell of the centre that it joined
  int* count;
};

// The slack of PIECE rows, two in a word.
struct Slacks {
  unsigned word[4];
};

// The slack of the first `count` rows from `first` on; 0 for those beyond.
__device__ inline Slacks load_slacks(const Slack* slack, long long first, int count) {
  const Slack* from = slack + first;
  Slacks slacks = {};
  if (count == PIECE && reinterpret_cast<unsigned long long>(from) % 16 == 0) {
    Pack<4> bits = load<4>(reinterpret_cast<const float*>(from));
#pragma unroll
    for (int w = 0; w < 4; ++w) slacks.word[w] = __float_as_uint(bits.value[w]);
  } else {
    for (int j = 0; j < count; ++j) slacks.word[j / 2] |= (unsigned)from[j] << 16 * (j % 2);
  }
  return slacks;
}

// A bit for each of `count` rows whose slack is not above the largest drift of their run. A half s
// of a word is above h exactly if (s | 2^15) - (h + 1) keeps bit 15; neither half borrows from the
// other, as s and h are below 2^15.
__device__ inline unsigned low_slack(const Slacks& slacks, float most_drift, int count) {
  unsigned above = upper_half(most_drift) + 1, both = above | above << 16;
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

// A bit for each of `count` rows from `row` on that fails in a run, of those not in `failing`.
__device__ inline unsigned fails(const Pass& pass, int i, long long row, int count,
                                 const Slacks& slacks, unsigned failing) {
  if (pass.fresh[i]) return (1u << count) - 1;
  unsigned low = low_slack(slacks, pass.most_drift[i], count) & ~failing, failed = 0;
  for (; low; low &= low - 1) {  // cold: slack is not above the largest drift
    int j = __ffs(low) - 1;
    unsigned slack = slacks.word[j / 2] >> 16 * (j % 2) & 0xffff;
    float drift = pass.drift[pass.first_center[i] + pass.label[i][row + j]];
    if (slack <= upper_half(drift)) failed |= 1u << j;
  }
  return failed;
}

// Step 1: append the failing ones of the next SCAN rows to the queue.
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
    int place = atomicAdd(length, __popc(failing[p]));
    for (unsigned rows = failing[p]; rows; rows &= rows - 1) {  // cold: rows that are queued
      queue[place++] = from[p] + __ffs(rows) - 1;
    }
  }
}

// End of step 2: bring label and slack up to date, and list the rows that changed their centre.
__device__ inline void remember(const Pass& pass, int i, const Rows& rows,
                                const float (&gap)[ROWS], const Found (&found)[ROWS],
                                const Moved& moved) {
  int first_center = pass.first_center[i], columns = rows.d + 1;
  bool fresh = pass.fresh[i];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    int slot = threadIdx.x * ROWS + r;
    if (slot >= rows.count) break;
    long long row = rows.first + rows.queue[slot];
    int now = found[r].label, before = pass.label[i][row];
    pass.slack[i][row] = slack_of(gap[r], pass.drift[first_center + now]);
    if (!fresh && before == now) continue;
    pass.label[i][row] = (Label)now;
    int place = atomicAdd(moved.count, 1);
    moved.row[place] = rows.queue[slot];
    moved.left[place] = fresh ? -1 : (first_center + before) * columns;
    moved.joined[place] = (first_center + now) * columns;
  }
}

// Add one value to column f of the centre joined, and take it from that of the one left.
__device__ inline void move_value(const Sums& sums, double value, int f, int left, int joined) {
  Steps steps = steps_of(sums, value, f);
  add_both(sums, joined, f, steps);
  if (left >= 0) add_both(sums, left, f, {-steps.coarse, -steps.fine});
}

// Step 3: 2^j lanes take a row, a lane a feature; then a thread a row's weight.
__device__ inline void move_rows(const Rows& rows, const double* weight, const Moved& moved,
                                 const Sums& sums) {
  int lanes = 1;
  while (lanes < rows.d && lanes < 32) lanes *= 2;
  for (int i = threadIdx.x / lanes; i < *moved.count; i += THREADS / lanes) {
    long long row = rows.first + moved.row[i];
    double heavy = weight ? weight[row] : 1.0;
    for (int f = threadIdx.x % lanes; f < rows.d; f += lanes) {
      double offset = __dsub_rn((double)rows.x[row * rows.d + f], (double)rows.shift[f]);
      move_value(sums, __dmul_rn(heavy, offset), f, moved.left[i], moved.joined[i]);
    }
  }
  for (int i = threadIdx.x; i < *moved.count; i += THREADS) {
    double heavy = weight ? weight[rows.first + moved.row[i]] : 1.0;
    move_value(sums, heavy, rows.d, moved.left[i], moved.joined[i]);
  }
}

// Steps 2 and 3 for one run and one tile.
__device__ inline void look(const Pass& pass, int i, const Rows& rows, const Run& run,
                            const double* weight, Space& space, const Moved& moved,
                            const Sums& sums) {
  Found found[ROWS];
  float gap[ROWS];
  if (threadIdx.x == 0) *moved.count = 0;
  score_tile(rows, run, space, found);
  certify(run, rows.d, found, gap);
  settle(rows, run, gap, found);
  __syncthreads();
  remember(pass, i, rows, gap, found, moved);
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
      Slack* const* slack, unsigned long long* all_sums, const float* __restrict__ most_drift,
      unsigned long long* looked_at, int rows_per_chunk, int features, int resident,
      int private_sums) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ int length, n_moved;
  int groups = first_group[runs], cells = first_center[runs] * (d + 1);
  Pass pass = {runs, first_center, first_group, largest_norm, drift, most_drift,
               fresh, label, slack};
  Space space = {reinterpret_cast<float*>(shared), 0, features, resident != 0, -1};
  space.panel = space.tile + features * TILE;
  int* queue = reinterpret_cast<int*>(space.panel + (resident ? groups * d : features) * CENTERS);
  int* lists = queue + TILE + SCAN;
  Moved moved = {lists, lists + TILE, lists + 2 * TILE, &n_moved};
  Sums sums = {magic, all_sums, 0, 0, cells, d + 1};
  if (private_sums) {
    sums.low = reinterpret_cast<unsigned*>(lists + 3 * TILE);
    sums.high = sums.low + 2 * cells;
  }
  clear(sums);
  if (resident) load_panel(negated, groups * d * CENTERS, space.panel);

  unsigned long long looked = 0;
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
      while (queued >= TILE || (last && queued > 0)) {  // cold: a tile of rows to look at
        int count = min(queued, TILE);
        Rows rows = {x, shift, d, first, queue + queued - count, count};
        space.loaded = -1;
        for (int i = 0; i < runs; ++i) {  // 2, 3
          Run run = pass.run(i, exact, negated, half_norms, d);
          look(pass, i, rows, run, weight, space, moved, sums);
        }
        looked += count;
        queued -= count;
      }
      __syncthreads();
    }
  }
  flush(sums);
  if (threadIdx.x == 0 && looked) atomicAdd(looked_at, looked);
}
