// The state that the parts of the runtime share: the threads of the running block, and waiting.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime.h"

namespace emulator {

// A thread of the block; a fiber runs it.
struct Thread {
  unsigned index, lane, warp;
  char* stack;             // its lowest byte; null before the thread begins and after it ends
  void* stack_pointer;     // where it is to go on, while others run
  const bool* until;       // it waits for this to become true; null if it does not wait
  const char* intrinsic;   // where it waits,
  Location location;             // and in which line
  bool ended;
};

// ---- The block (fibers.cpp)

extern std::vector<Thread> threads;
extern unsigned threads_left;  // have not ended
extern Thread* current;        // null outside of kernels
extern size_t shared_bytes;    // dynamic
extern bool fuzzing;           // may threads switch at accesses to memory?

constexpr size_t stack_bytes = 64 * 1024;

unsigned current_block();
uint64_t random_number();  // of the schedule

// Lets others run until `until` is true.
void wait(const bool& until, const char* intrinsic, Location location);

// Lets others run; this thread may continue at any time.
void let_others_run();

// Ends the launch in the middle of a kernel.
[[noreturn]] void abandon();

// ---- Barriers and warps (collectives.cpp)

void begin_collectives();
void leave_collectives(const Thread& ended);

// ---- Asynchronous copies (copies.cpp) and approximate arithmetic (approximate.cpp)

void begin_copies();
void begin_approximations();

// Computes the product of the matrices of a warp's lanes.
void multiply_fragments(unsigned warp, Fragments* const (&lanes)[warp_lanes]);

// ---- Random draws, which differ from run to run (draws.cpp)

void begin_draws(uint64_t seed, uint64_t draws);
uint64_t drawn_number();

// ---- Reports (reports.cpp)

// Returns the text of a line; an address gets a form that module.py replaces by file and line.
std::string text_of(Location location);

// Adds a report. Those after the first of the same kind and line are dropped.
void report(const char* kind, Location location, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

// Adds a report and ends the launch, where a GPU could not continue either.
[[noreturn]] void stop(const char* kind, Location location, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

void forget_reports();
const char* all_reports();

// ---- Check mode (check.cpp)

#ifdef EMULATOR_CHECK
void check_launch_begins();
void check_block_begins();
void check_barrier_passed();
void check_lanes_synchronised(unsigned warp, unsigned lanes);
#else
inline void check_launch_begins() {}
inline void check_block_begins() {}
inline void check_barrier_passed() {}
inline void check_lanes_synchronised(unsigned, unsigned) {}
#endif

}  // namespace emulator
