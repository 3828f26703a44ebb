#include "shadow.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "scheduler.h"

namespace emulator {
namespace {

uint32_t blocks_before;            // in earlier launches
std::vector<unsigned> blocks_run;  // in this launch: their blockIdx.x
uint32_t barriers_passed;

// Vector clocks, each for the lanes of one warp: what lane j did before its `known[i][j]`th
// __syncwarp is ordered before what thread i does now.
uint32_t known[1024][warp_lanes];
uint32_t steps[1024];

bool ordered(const Access& earlier, const Access& mine) {
  if (earlier.block != mine.block) return earlier.block <= blocks_before;
  if (earlier.thread == mine.thread || earlier.barriers < mine.barriers) return true;
  return earlier.thread / warp_lanes == mine.thread / warp_lanes &&
         earlier.steps < known[mine.thread][earlier.thread % warp_lanes];
}

// Shared arrays end with their block, and whatever a block does to them after a barrier is
// ordered after everything before: such accesses can no longer be part of a race.
bool is_past(const Access& earlier, const Access& mine, bool shared) {
  return !earlier.block ||
         (shared && (earlier.block != mine.block || earlier.barriers < mine.barriers));
}

// Is whatever races with the earlier access bound to race with mine too?
bool replaces(const Access& mine, const Access& earlier) {
  return (mine.kind == Kind::write || mine.kind == earlier.kind) &&
         !(earlier.bytes & ~mine.bytes) && ordered(earlier, mine);
}

// Returns which access to forget where all have to be remembered: one like mine, so that reads do
// not push out a write, nor one warp what another did.
Access& least_telling(Word& word, const Access& mine) {
  Access* same_kind = nullptr;
  for (Access& earlier : word.recent) {
    if (earlier.kind != mine.kind) continue;
    if (earlier.thread / warp_lanes == mine.thread / warp_lanes) return earlier;
    same_kind = &earlier;
  }
  return same_kind ? *same_kind : word.recent[mine.thread % std::size(word.recent)];
}

}  // namespace

Access access_now(Kind kind, uint8_t bytes, uint32_t code) {
  const uint32_t block = blocks_before + uint32_t(blocks_run.size());
  const uint16_t thread = uint16_t(current->index);
  return {block, barriers_passed, steps[thread], code, thread, kind, bytes};
}

const Access* race(const Word& word, const Access& mine, bool shared) {
  for (const Access& earlier : word.recent) {
    const bool harmless = earlier.kind == mine.kind && mine.kind != Kind::write;
    if (harmless || !(earlier.bytes & mine.bytes)) continue;
    if (!is_past(earlier, mine, shared) && !ordered(earlier, mine)) return &earlier;
  }
  return nullptr;
}

void remember(Word& word, const Access& mine, bool shared) {
  Access* place = nullptr;
  for (Access& earlier : word.recent) {
    if (!is_past(earlier, mine, shared) && !replaces(mine, earlier)) continue;
    earlier = {};
    if (!place) place = &earlier;
  }
  (place ? *place : least_telling(word, mine)) = mine;
}

unsigned block_index(const Access& access) {
  return blocks_run[access.block - blocks_before - 1];
}

void begin_launch_history() {
  blocks_before += uint32_t(blocks_run.size());
  blocks_run.clear();
}

void begin_block_history() {
  blocks_run.push_back(current_block());
  barriers_passed = 0;
  memset(steps, 0, threads.size() * sizeof steps[0]);
  memset(known, 0, threads.size() * sizeof known[0]);
}

void check_barrier_passed() { barriers_passed++; }

// Afterwards each of the lanes knows what any of them knew, and what each has done itself.
void check_lanes_synchronised(unsigned warp, unsigned lanes) {
  uint32_t together[warp_lanes] = {};
  for (unsigned lane = 0; lane < warp_lanes; lane++) {
    if (!(lanes >> lane & 1)) continue;
    const unsigned thread = warp * warp_lanes + lane;
    known[thread][lane] = ++steps[thread];
    for (unsigned other = 0; other < warp_lanes; other++) {
      together[other] = std::max(together[other], known[thread][other]);
    }
  }
  for (unsigned lane = 0; lane < warp_lanes; lane++) {
    if (lanes >> lane & 1) memcpy(known[warp * warp_lanes + lane], together, sizeof together);
  }
}

}  // namespace emulator
