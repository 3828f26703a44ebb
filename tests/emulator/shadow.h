// The history of a word of memory: who touched it lately, and what orders one access before
// another. Two accesses that nothing orders are a race, unless both read or both are atomic.
//
// Ordered are: what one thread does; what was done before a barrier of the block and what is done
// after it; likewise before and after a __syncwarp, among its lanes. (Shuffles and votes order
// nothing in memory.) Different blocks of a launch are never ordered, though here they run one
// after another.
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

// Returns an access by the thread that runs.
Access access_now(Kind kind, uint8_t bytes, uint32_t code);

// Returns an earlier access that races with `mine`, or null.
const Access* race(const Word& word, const Access& mine, bool shared);

void remember(Word& word, const Access& mine, bool shared);

// Returns blockIdx.x of a block of this launch.
unsigned block_index(const Access& access);

void begin_launch_history();
void begin_block_history();

}  // namespace emulator
