// The history of a word of memory: its recent accesses, and their order. Two unordered accesses are
// a race, unless both are reads or both are atomic.
//
// The accesses of one thread are ordered, and accesses before a barrier of the block are ordered
// before those after it; likewise for a __syncwarp, among its lanes. (Shuffles and votes do not
// order memory accesses.) Different blocks of a launch are never ordered, although here they run
// one after another.
#pragma once

#include <cstdint>

namespace emulator {

enum class Kind : uint8_t { read, write, atomic };

struct Access {
  uint32_t block;     // counted over all launches from 1; 0 means that there was no access
  uint32_t barriers;  // that the block had passed
  uint32_t steps;     // __syncwarps that the thread had passed
  uint32_t code;      // the address, relative to the library
  uint16_t thread;
  Kind kind;
  uint8_t bytes;      // of the word: bit i for byte i
};

constexpr unsigned word_bytes = 4;

struct Word {
  Access recent[4];
};

// Returns an access by the running thread.
Access access_now(Kind kind, uint8_t bytes, uint32_t code);

// Returns an earlier access that races with `access`, or null.
const Access* race(const Word& word, const Access& access, bool shared);

void store_access(Word& word, const Access& access, bool shared);

// Returns blockIdx.x of a block of this launch.
unsigned block_index(const Access& access);

void begin_launch_history();
void begin_block_history();

}  // namespace emulator
