// Random numbers for what a GPU leaves undefined. They are separate from those of the schedule, so
// that the order of blocks and threads does not depend on them.
#include "scheduler.h"

namespace emulator {
namespace {

uint64_t state;

// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
uint64_t scrambled(uint64_t number) {
  number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9u;
  number = (number ^ number >> 27) * 0x94d049bb133111ebu;
  return number ^ number >> 31;
}

}  // namespace

void begin_draws(uint64_t seed, uint64_t draws) {
  state = scrambled(scrambled(draws + 0x9e3779b97f4a7c15u) + seed) | 1;
}

uint64_t drawn_number() {
  state ^= state << 13;  // Marsaglia's xorshift
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

}  // namespace emulator
