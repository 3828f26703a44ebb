// Asynchronous copies in flight.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime.h"

namespace emulator {

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
  Location location;             // where it was issued
  unsigned char data[16];  // what was at the source then
};

struct Pending {
  const Copy* copy;  // null: there is none
  unsigned thread;
};

// Returns a copy to this address that has not arrived yet.
Pending pending_copy_to(uintptr_t address);

// ---- Check mode (check.cpp)

#ifdef EMULATOR_CHECK
void check_copy_issued(const Copy& copy);
void check_copy_arrives(const Copy& copy);
#else
inline void check_copy_issued(const Copy&) {}
inline void check_copy_arrives(const Copy&) {}
#endif

}  // namespace emulator
