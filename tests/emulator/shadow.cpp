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

bool ordered(const Access& earlier, const Access& access) {
  if (earlier.block != access.block) return earlier.block <= blocks_before;
  if (earlier.thread == access.thread || earlier.barriers < access.barriers) return true;
  return earlier.thread / warp_lanes == access.thread / warp_lanes &&
         earlier.steps < known[access.thread][earlier.thread % warp_lanes];
}

// Shared arrays end with their block, and accesses after a barrier of the block are ordered after
// all earlier ones, which can no longer be part of a race.
bool is_past(const Access& earlier, const Access& access, bool shared) {
  return !earlier.block ||
         (shared && (earlier.block != access.block || earlier.barriers < access.barriers));
}

// Whether everything that races with the earlier access also races with the new one.
bool replaces(const Access& access, const Access& earlier) {
  return (access.kind == Kind::write || access.kind == earlier.kind) &&
         !(earlier.bytes & ~access.bytes) && ordered(earlier, access);
}

// Returns the access to replace when all slots are in use: one like the new one, so that reads do
// not replace a write, nor one warp the accesses of another.
Access& least_useful(Word& word, const Access& access) {
  Access* same_kind = nullptr;
  for (Access& earlier : word.recent) {
    if (earlier.kind != access.kind) continue;
    if (earlier.thread / warp_lanes == access.thread / warp_lanes) return earlier;
    same_kind = &earlier;
  }
  return same_kind ? *same_kind : word.recent[access.thread % std::size(word.recent)];
}

}  // namespace

Access access_now(Kind kind, uint8_t bytes, uint32_t code) {
  const uint32_t block = blocks_before + uint32_t(blocks_run.size());
  const uint16_t thread = uint16_t(current->index);
  return {block, barriers_passed, steps[thread], code, thread, kind, bytes};
}

const Access* race(const Word& word, const Access& access, bool shared) {
  for (const Access& earlier : word.recent) {
    const bool harmless = earlier.kind == access.kind && access.kind != Kind::write;
    if (harmless || !(earlier.bytes & access.bytes)) continue;
    if (!is_past(earlier, access, shared) && !ordered(earlier, access)) return &earlier;
  }
  return nullptr;
}

void store_access(Word& word, const Access& access, bool shared) {
  Access* slot = nullptr;
  for (Access& earlier : word.recent) {
    if (!is_past(earlier, access, shared) && !replaces(access, earlier)) continue;
    earlier = {};
    if (!slot) slot = &earlier;
  }
  (slot ? *slot : least_useful(word, access)) = access;
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

// Afterwards each lane knows what any of them knew, and its operations until now.
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
