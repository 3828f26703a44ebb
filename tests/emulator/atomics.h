// Atomic operations. Fibers switch only at intrinsics, so that a read, a change and a write are
// atomic already; check mode is informed of them as one operation.
#pragma once

#ifdef EMULATOR_CHECK
// Not instrumented: check mode must not see a read and a write.
#define EMULATOR_ATOMIC __attribute__((noinline, no_sanitize("thread"), no_sanitize("undefined")))
#else
#define EMULATOR_ATOMIC EMULATOR_INTRINSIC
#endif

namespace emulator {

template <class T, class Change>
EMULATOR_ATOMIC T change(T* target, Change changed) {
#ifdef EMULATOR_CHECK
  check_atomic(target, sizeof(T), __builtin_return_address(0));
#endif
  const T old = *target;
  *target = changed(old);
  return old;
}

// Additions wrap around on a GPU; for signed integers, C++ leaves that undefined.
template <class T>
EMULATOR_INTRINSIC T wrapping_sum(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using Unsigned = std::make_unsigned_t<T>;
    return T(Unsigned(a) + Unsigned(b));
  } else {
    return a + b;
  }
}

}  // namespace emulator

#define EMULATOR_CHANGE(name, T, result)                              \
  EMULATOR_INTRINSIC T name(T* target, T value) {                     \
    return emulator::change(target, [=](T old) -> T { return result; }); \
  }

#define EMULATOR_CHANGE_32(name, result) \
  EMULATOR_CHANGE(name, int, result)     \
  EMULATOR_CHANGE(name, unsigned, result)

#define EMULATOR_CHANGE_64(name, result)   \
  EMULATOR_CHANGE(name, long long, result) \
  EMULATOR_CHANGE(name, unsigned long long, result)

#define EMULATOR_SWAP(T)                                                                       \
  EMULATOR_INTRINSIC T atomicCAS(T* target, T expected, T value) {                             \
    return emulator::change(target, [=](T old) -> T { return old == expected ? value : old; }); \
  }

EMULATOR_CHANGE_32(atomicAdd, emulator::wrapping_sum(old, value))
EMULATOR_CHANGE(atomicAdd, unsigned long long, old + value)
EMULATOR_CHANGE(atomicAdd, float, old + value)
EMULATOR_CHANGE(atomicAdd, double, old + value)

EMULATOR_CHANGE_32(atomicMin, value < old ? value : old)
EMULATOR_CHANGE_64(atomicMin, value < old ? value : old)
EMULATOR_CHANGE_32(atomicMax, old < value ? value : old)
EMULATOR_CHANGE_64(atomicMax, old < value ? value : old)

EMULATOR_CHANGE_32(atomicOr, old | value)
EMULATOR_CHANGE(atomicOr, unsigned long long, old | value)
EMULATOR_CHANGE_32(atomicAnd, old & value)
EMULATOR_CHANGE(atomicAnd, unsigned long long, old & value)

EMULATOR_CHANGE_32(atomicExch, (void(old), value))
EMULATOR_CHANGE(atomicExch, unsigned long long, (void(old), value))
EMULATOR_CHANGE(atomicExch, float, (void(old), value))

// A load that bypasses the caches: it is atomic, and ordered like atomic operations.
template <class T>
EMULATOR_INTRINSIC T __ldcv(const T* source) {
  return emulator::change(const_cast<T*>(source), [](T old) -> T { return old; });
}

EMULATOR_SWAP(int)
EMULATOR_SWAP(unsigned)
EMULATOR_SWAP(unsigned long long)

#undef EMULATOR_CHANGE
#undef EMULATOR_CHANGE_32
#undef EMULATOR_CHANGE_64
#undef EMULATOR_SWAP
