// Collective operations of the threads of a block or the lanes of a warp.
#pragma once

// ---- Blocks

EMULATOR_INTRINSIC void __syncthreads(EMULATOR_CALLER) {
  emulator::barrier(0, EMULATOR_LOCATION);
}

EMULATOR_INTRINSIC int __syncthreads_count(int predicate, EMULATOR_CALLER) {
  return emulator::barrier(predicate, EMULATOR_LOCATION);
}

EMULATOR_INTRINSIC int __syncthreads_or(int predicate, EMULATOR_CALLER) {
  return emulator::barrier(predicate, EMULATOR_LOCATION) != 0;
}

EMULATOR_INTRINSIC int __syncthreads_and(int predicate, EMULATOR_CALLER) {
  return emulator::barrier(!predicate, EMULATOR_LOCATION) == 0;
}

// ---- Warps

namespace emulator {

template <class T>
EMULATOR_INTRINSIC uint64_t to_bits(T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "lanes exchange values of 4 or 8 bytes");
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  return same_bits<Bits>(value);
}

template <class T>
EMULATOR_INTRINSIC T from_bits(uint64_t bits) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  return same_bits<T>(Bits(bits));
}

template <class T>
EMULATOR_INTRINSIC T exchange(Together operation, unsigned mask, T value, int argument, int width,
                              Location location) {
  return from_bits<T>(meet(operation, mask, to_bits(value), argument, width, location));
}

template <class T>
EMULATOR_INTRINSIC T reduce(Together operation, unsigned mask, T value, Location location) {
  return exchange(operation, mask, value, 0, warp_lanes, location);
}

}  // namespace emulator

EMULATOR_INTRINSIC void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_CALLER) {
  emulator::reduce(emulator::Together::synchronise, mask, 0, EMULATOR_LOCATION);
}

#define EMULATOR_SHUFFLE(name, operation, Argument)                                        \
  template <class T>                                                                       \
  EMULATOR_INTRINSIC T name(unsigned mask, T value, Argument argument, int width = 32,     \
                            EMULATOR_CALLER) {                                             \
    return emulator::exchange(operation, mask, value, int(argument), width, EMULATOR_LOCATION); \
  }

EMULATOR_SHUFFLE(__shfl_sync, emulator::Together::shuffle, int)
EMULATOR_SHUFFLE(__shfl_up_sync, emulator::Together::shuffle_up, unsigned)
EMULATOR_SHUFFLE(__shfl_down_sync, emulator::Together::shuffle_down, unsigned)
EMULATOR_SHUFFLE(__shfl_xor_sync, emulator::Together::shuffle_xor, int)

#undef EMULATOR_SHUFFLE

EMULATOR_INTRINSIC unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_CALLER) {
  return emulator::reduce(emulator::Together::ballot, mask, unsigned(predicate != 0),
                          EMULATOR_LOCATION);
}

EMULATOR_INTRINSIC int __any_sync(unsigned mask, int predicate, EMULATOR_CALLER) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}

EMULATOR_INTRINSIC int __all_sync(unsigned mask, int predicate, EMULATOR_CALLER) {
  return __ballot_sync(mask, !predicate, file, line) == 0;
}

template <class T>
EMULATOR_INTRINSIC unsigned __match_any_sync(unsigned mask, T value, EMULATOR_CALLER) {
  return unsigned(emulator::meet(emulator::Together::match_any, mask, emulator::to_bits(value), 0,
                                 emulator::warp_lanes, EMULATOR_LOCATION));
}

#define EMULATOR_REDUCE(name, T, operation)                                    \
  EMULATOR_INTRINSIC T name(unsigned mask, T value, EMULATOR_CALLER) {         \
    return emulator::reduce(emulator::Together::operation, mask, value, EMULATOR_LOCATION); \
  }

EMULATOR_REDUCE(__reduce_add_sync, int, add)
EMULATOR_REDUCE(__reduce_add_sync, unsigned, add)
EMULATOR_REDUCE(__reduce_min_sync, int, minimum_signed)
EMULATOR_REDUCE(__reduce_min_sync, unsigned, minimum_unsigned)
EMULATOR_REDUCE(__reduce_max_sync, int, maximum_signed)
EMULATOR_REDUCE(__reduce_max_sync, unsigned, maximum_unsigned)

#undef EMULATOR_REDUCE
