// The interface between the instrumentation of g++ and check mode.
#pragma once

#include <cstddef>

#include "shadow.h"

namespace emulator {

// Checks an access that is about to happen, by the code before `return_address`.
void check_access(const void* pointer, size_t bytes, Kind kind, void* return_address);

}  // namespace emulator
