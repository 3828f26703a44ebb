// Random numbers of what a GPU leaves open, apart from those of the schedule: which order blocks
// and threads run in stays the same whatever is drawn here.
#include "scheduler.h"

namespace emulator {
namespace {

uint64_t state;

// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): neighbours become strangers.
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
