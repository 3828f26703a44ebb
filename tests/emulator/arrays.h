// The memory that a launch may touch: the arrays among its arguments, and the shared arrays.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image.h"
#include "shadow.h"

namespace emulator {

// Memory that arrays cover without a gap; arrays that overlap share one.
struct Region {
  Range range;
  bool writable, shared;
  Word* words;  // the history, from the word that holds the first byte
  // For each word the bytes that were written, as bits; empty where the launch found all written.
  std::vector<uint8_t> written;

  size_t word_of(uintptr_t address) const {
    return address / word_bytes - range.begin / word_bytes;
  }
};

// Finds the arrays of a launch.
void begin_arrays();

// Shared arrays begin anew with each block.
void begin_shared_arrays();

// Returns the region that an address is in, or null.
Region* region_of(uintptr_t address);

// Names the array and the element at an address, or the nearest.
std::string name_of(uintptr_t address);

}  // namespace emulator
