// The addresses of a kernel's library in memory: its code, its constants, its shared arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime.h"

namespace emulator {

struct Range {
  uintptr_t begin, end;

  bool contains(uintptr_t address) const { return address - begin < end - begin; }
  size_t bytes() const { return end - begin; }
};

struct Image {
  uintptr_t base;               // what addresses in the file are relative to
  std::vector<Range> segments;  // code, constants, global variables
  Range arrays_before, arrays_after;  // static shared arrays, around the dynamic ones
  Range dynamic;                // as long as it can be; a launch has a part of it
};

extern Image image;

// Returns the call that returns to this address, as a location without a file.
Location place_before(void* return_address);

// Fills in `image`. Each thread of the CPU has its shared arrays; these are those of the caller.
void find_image();

}  // namespace emulator
