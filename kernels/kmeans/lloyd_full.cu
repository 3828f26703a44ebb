// lloyd_full: one Lloyd iteration of several runs that scores every row, streamed once.
//
//   x         [n,d] f32 C-order                                                IN
//   weight    [n] f64, or null: ones                                           IN
//   the centers of all runs, K together in groups of CENTERS                   IN
//   drift     [K] f32                                                          IN
//   fresh     [runs] i32: whether the rows have no bounds yet                  IN
//   magic     [2,d+1] f64: grids of the sums, the last column of the weight    IN
//   label     runs × [n] u8 or i32                                             IN, OUT
//   slack     runs × [n] u16 (row_bounds.cuh)                                  OUT
//   sums      [2,K,d+1] i64: changes of the sums, in steps of each grid        OUT, added to
//
// The results are those of lloyd.cu; only slack may differ, as each value is a lower bound. Each
// warp works on its own, on one tile of consecutive rows after the other. It
//   1. starts copying the next tile, then waits for the current one (tile_stream.cuh);
//   2. scores the rows against the centers of one run after the other, by fused multiply-adds
//      (score_fma.cuh) or, with KSTEPS > 0, by tensor cores (score_mma.cuh);
//   3. certifies the nearest center of each row, or computes it in float64 (certificate.cuh);
//   4. writes slack, and the labels that changed; rows that changed their center are moved from
//      the sums of the old one to those of the new one (sum_by_label.cuh).
// It moves 4·d + 1 bytes a row in and 2 out, for a run with up to 256 centers.
//   THREADS, LABEL_BYTES; VECTOR (floats a lane loads at once: 4, 2 or 1) or KSTEPS (d / 16)
#if KSTEPS
#define LANE_ROWS 1
#define BLOCKS (KSTEPS < 2 ? 4 : KSTEPS < 3 ? 3 : 2)
#include "kmeans/score_mma.cuh"
#else
#define LANE_ROWS 2
#define BLOCKS 4
#include "kmeans/score_fma.cuh"
#endif

#include "kmeans/exact_distances.cuh"
#include "kmeans/row_bounds.cuh"
#include "kmeans/sum_by_label.cuh"

// A run, in shared memory.
struct Run {
  Label* label;         // [n]
  Slack* slack;         // [n]
  const double* exact;  // [k,d]
  Certificate certificate;
  int center, k, group, groups;
  bool fresh;
};

static_assert(sizeof(Run) == 64, "full_pass_plans.py expects this size");

// Step 3 for row r of each lane: its gap, and its label where float32 cannot decide.
__device__ inline float certified(const Run& run, const Tile& tile, const Stream& stream, int r,
                                  BestScores& row) {
  const unsigned all = 0xffffffffu;
  int lane = threadIdx.x % 32;
  bool inside = slot_of(lane, r) < tile.count;
  float gap = gap_of(run.certificate, row.best, row.second, row.squares);
  unsigned uncertain = __ballot_sync(all, inside && gap == UNCERTAIN);
  for (; uncertain; uncertain &= uncertain - 1) {  // cold: uncertain rows
    int source = __ffs(uncertain) - 1;
    const float* x = stream.x + (tile.first + slot_of(source, r)) * stream.d;
    int label = nearest_center(x, run.exact, run.k, stream.d);
    if (lane == source) row.label = label;
  }
  return gap;
}

// Steps 3 and 4 for one run.
__device__ inline void update_run(const Run& run, const Tile& tile, const Stream& stream,
                                  const double* weight, const float* shift, const float* drift,
                                  const Teams& teams, const CenterSums& sums,
                                  const int (&before)[LANE_ROWS],
                                  BestScores (&scores)[LANE_ROWS]) {
  int lane = threadIdx.x % 32;
  unsigned moved[LANE_ROWS], any = 0;
#pragma unroll
  for (int r = 0; r < LANE_ROWS; ++r) {
    float gap = certified(run, tile, stream, r, scores[r]);
    int slot = slot_of(lane, r), now = scores[r].label;
    bool inside = slot < tile.count, moves = inside && now != before[r];
    if (inside) run.slack[tile.first + slot] = slack_of(gap, drift[run.center + now]);
    if (moves) run.label[tile.first + slot] = (Label)now;
    any |= moved[r] = __ballot_sync(0xffffffffu, moves);
  }
  if (any == 0) return;  // cold: rows that change their center
  int from[LANE_ROWS], to[LANE_ROWS];
#pragma unroll
  for (int r = 0; r < LANE_ROWS; ++r) {
    from[r] = (run.center + before[r]) * sums.columns;
    to[r] = (run.center + scores[r].label) * sums.columns;
  }
  sum_by_label(tile, stream, weight, shift, teams, sums, moved, to, 1);
  if (!run.fresh) sum_by_label(tile, stream, weight, shift, teams, sums, moved, from, -1);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
lloyd_full(const float* __restrict__ x, const double* __restrict__ weight, long long n, int d,
           int runs, const int* __restrict__ first_center, const int* __restrict__ first_group,
           const double* __restrict__ exact, const float* __restrict__ shift,
           const float* __restrict__ negated, const float* __restrict__ half_norms,
           const float* __restrict__ largest_norm, const float* __restrict__ drift,
           const int* __restrict__ fresh, const double* __restrict__ magic, Label* const* label,
           Slack* const* slack, unsigned long long* all_sums, int width, int private_sums) {
  extern __shared__ __align__(16) unsigned char shared[];
  int groups = first_group[runs], centers = first_center[runs], cells = centers * (d + 1);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Run* table = reinterpret_cast<Run*>(shared);
  float* panel_centers = reinterpret_cast<float*>(table + runs);
  float* panel_norms = panel_centers + PANEL_FLOATS(groups, d);
  float* origin = panel_norms + NORM_FLOATS(groups);
  float* tiles = origin + ORIGIN_FLOATS(d);
  float* drifts = tiles + WARPS * STAGES * TILE_ROWS * PITCH(d);
  CenterSums sums = {magic, all_sums, 0, 0, cells, d + 1};
  if (private_sums) {
    sums.low = reinterpret_cast<unsigned*>(drifts + centers);
    sums.high = sums.low + 2 * cells;
  }
  clear(sums);
  load_panel(negated, half_norms, groups, d, panel_centers, panel_norms);
  for (int f = threadIdx.x; f < ORIGIN_FLOATS(d); f += THREADS) origin[f] = f < d ? shift[f] : 0.0f;
  for (int j = threadIdx.x; j < centers; j += THREADS) drifts[j] = drift[j];
  for (int i = threadIdx.x; i < runs; i += THREADS) {
    int center = first_center[i], group = first_group[i];
    table[i] = {label[i], slack[i], exact + (long long)center * d,
                certificate_of(largest_norm[i], d), center, first_center[i + 1] - center,
                group, first_group[i + 1] - group, fresh[i] != 0};
  }
  Stream stream = stream_of(x, n, d, PITCH(d), width,
                            tiles + warp * STAGES * TILE_ROWS * PITCH(d));
  clear(stream);
  Panel panel = {panel_centers, panel_norms, origin};
  Teams teams = teams_of(d);
  __syncthreads();

  LaneOrigin lane_origin = origin_of(panel);
  long long step = (long long)gridDim.x * WARPS * TILE_ROWS;
  long long first = ((long long)blockIdx.x * WARPS + warp) * TILE_ROWS;
  Tile tile = stream.tile(0, first), next;
  fetch_tile(stream, tile);
  commit_copies();
  for (int stage = 0; first < n; first += step, stage = 1 - stage, tile = next) {
    next = stream.tile(1 - stage, first + step);
    fetch_tile(stream, next);  // 1
    commit_copies();
    wait_for_copies<1>();
    __syncwarp();  // the copies of the other lanes have arrived
    LaneRows rows = load_rows(tile, lane_origin, d);
#pragma unroll 1
    for (int i = 0; i < runs; ++i) {  // trips: runs
      Run run = table[i];
      int before[LANE_ROWS];
#pragma unroll
      for (int r = 0; r < LANE_ROWS; ++r) {
        int slot = slot_of(lane, r);
        before[r] = run.fresh || slot >= tile.count ? -1 : (int)run.label[first + slot];
      }
      BestScores scores[LANE_ROWS];
      score(rows, panel, run.group, run.groups, d, scores);  // 2
      update_run(run, tile, stream, weight, origin, drifts, teams, sums, before, scores);
    }
    __syncwarp();  // all lanes are done with the tile before it is replaced
  }
  __syncthreads();
  flush(sums);
}
