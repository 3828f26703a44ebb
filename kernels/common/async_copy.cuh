// async_copy.cuh: copies from global to shared memory that go on while the thread computes.
//
// A thread issues copies, closes a group of them, and later waits until all groups but the N
// closed last have arrived. Then it sees what it has copied itself; others do after a barrier
// that follows the wait. Until then what is at the target is undefined, and neither the target
// nor the source may be written to. Before a target is used again, all who read it must have
// passed a barrier, too.
//
// Below compute capability 8.0 a copy is a load and a store, done at once.
#pragma once

// Copies BYTES (4, 8 or 16) from global to shared memory, where both are at a multiple of BYTES.
// 16 bytes bypass the L1 cache.
template <int BYTES>
__device__ __forceinline__ void copy_async(float* to, const float* from) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "a copy has 4, 8 or 16 bytes");
#if !defined(__CUDA_ARCH__)
  __pipeline_memcpy_async(to, from, BYTES);
#elif __CUDA_ARCH__ >= 800
  unsigned target = (unsigned)__cvta_generic_to_shared(to);
  size_t source = __cvta_generic_to_global(from);
  if constexpr (BYTES == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), "l"(source)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(target), "l"(source), "n"(BYTES)
                 : "memory");
  }
#else
  struct __align__(BYTES) Piece {
    float value[BYTES / 4];
  };
  *reinterpret_cast<Piece*>(to) = *reinterpret_cast<const Piece*>(from);
#endif
}

// Closes a group: the copies that this thread has issued since the last one, if any.
__device__ __forceinline__ void commit_copies() {
#if !defined(__CUDA_ARCH__)
  __pipeline_commit();
#elif __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for the groups of this thread, except for the N that were closed last.
template <int N>
__device__ __forceinline__ void wait_for_copies() {
#if !defined(__CUDA_ARCH__)
  __pipeline_wait_prior(N);
#elif __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}
