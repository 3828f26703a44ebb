// CUDA's additions to C++, for g++: enough to compile the kernels of this project unchanged.
#pragma once

#include <math.h>

#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

#include "runtime.h"

// ---- Keywords

#define __global__ __attribute__((noinline, noclone))
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

// The shared arrays of a block exist once, because blocks run one after another. `static` would
// mean that, but is not allowed after the `extern` of dynamic arrays; `thread_local` is.
#define __shared__ thread_local

// ---- For the definitions below

// Inlined even without optimisation, so that a memory access belongs to a line of the kernel.
#define EMULATOR_INTRINSIC inline __attribute__((always_inline))

// The last parameters of an intrinsic: the calling line.
#define EMULATOR_CALLER const char *file = __builtin_FILE(), size_t line = __builtin_LINE()
#define EMULATOR_LOCATION (emulator::Location{file, line})

#include "vectors.h"

// ---- Built-in variables

// The scheduler sets these when it switches to another thread. For a thread they are constant, and
// declaring them const keeps check mode from watching them.
extern "C" {
extern const uint3 threadIdx, blockIdx;
extern const dim3 blockDim, gridDim;

// Chooses one of the variants that a kernel may have; the launch sets it.
extern const int emulator_mutant;
}

constexpr int warpSize = emulator::warp_lanes;

#include "bits.h"

#include "approximate.h"
#include "arithmetic.h"
#include "atomics.h"
#include "collectives.h"
#include "export.h"
#include "memory.h"
#include "pipeline.h"
