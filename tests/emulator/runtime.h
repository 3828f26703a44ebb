// The runtime's interface to kernels: between cuda.h and the .cpp files.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulator {

// The maximum shared memory of a block, static and dynamic arrays together (as on compute
// capability 9.0).
constexpr size_t largest_shared = 227 * 1024;

constexpr unsigned warp_lanes = 32;

// Every argument of a kernel is passed in a cell of this many bytes, a struct in several cells.
constexpr size_t cell_bytes = 8;

// A line of the kernel. Where only an address in the code is known, `file` is null and `line` is
// that address, relative to the loaded library; module.py looks up the line.
struct Location {
  const char* file;
  size_t line;
};

// ---- Blocks

// Waits for all threads of the block that have not ended; returns the number of those whose
// predicate is not 0.
int barrier(int predicate, Location location);

// ---- Warps

// All collective operations of a warp are a rendezvous: each lane brings a value, and when all
// lanes of the mask have arrived, each computes its result from all values.
enum class Together {
  synchronise,
  shuffle,
  shuffle_up,
  shuffle_down,
  shuffle_xor,
  ballot,
  match_any,
  add,
  minimum_signed,
  maximum_signed,
  minimum_unsigned,
  maximum_unsigned,
  multiply,  // the value is the address of the lane's Fragments
};

// `argument` and `width` are those of the shuffles; other operations ignore them.
uint64_t meet(Together operation, unsigned mask, uint64_t value, int argument, int width,
              Location location);

// ---- Asynchronous copies

// Begins a copy from global to shared memory by the running thread, which is in no group yet.
void issue_copy(void* to, const void* from, size_t bytes);

// Closes a group of copies.
void close_group();

// Completes the copies of the running thread that are in groups, except for those in the last
// `groups_left` groups.
void wait_for_groups(size_t groups_left);

// ---- Arithmetic with known error bounds

// A lane's operands and results of a product of matrices.
struct Fragments {
  unsigned a[4], b[2];
  float c[4], d[4];
};

// Computes D = A·B + C with all lanes of the warp.
void multiply(Fragments& fragments);

float approximate_root(float x);

// ---- Check mode

// Checks an atomic operation that is about to happen.
void check_atomic(void* target, size_t bytes, void* return_address);

// ---- Supplied by the kernel's side

// Calls the kernel with the arguments in these cells.
void run_kernel(const unsigned char* cells);

}  // namespace emulator

// All dynamic shared arrays are names for this buffer. It is thread_local because __shared__ is
// (see cuda.h); only one thread of the CPU runs a kernel.
extern "C" thread_local unsigned char emulator_dynamic_shared[emulator::largest_shared];
