// The memory that a launch may access: the arrays among its arguments, and the shared arrays.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image.h"
#include "shadow.h"

namespace emulator {

// Memory that arrays cover without a gap; overlapping arrays are in one region.
struct Region {
  Range range;
  bool writable, shared;
  Word* words;  // the history, from the word that holds the first byte
  // A bit for each written byte of each word; empty where all was written before the launch.
  std::vector<uint8_t> written;

  size_t word_of(uintptr_t address) const {
    return address / word_bytes - range.begin / word_bytes;
  }
};

// Finds the arrays of a launch.
void begin_arrays();

// Shared arrays start uninitialized in each block.
void begin_shared_arrays();

// Returns the region of an address, or null.
Region* region_of(uintptr_t address);

// Returns the names of the array and element at an address, or of the nearest.
std::string name_of(uintptr_t address);

}  // namespace emulator
