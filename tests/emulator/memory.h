// Loads and stores with a hint for the caches, and fences. There are no caches, and one thread runs
// at a time, so that hints and fences have no effect.
#pragma once

#define EMULATOR_LOAD(name)                      \
  template <class T>                             \
  EMULATOR_INTRINSIC T name(const T* source) {   \
    return *source;                              \
  }

#define EMULATOR_STORE(name)                            \
  template <class T>                                    \
  EMULATOR_INTRINSIC void name(T* target, T value) {    \
    *target = value;                                    \
  }

EMULATOR_LOAD(__ldg)
EMULATOR_LOAD(__ldca)
EMULATOR_LOAD(__ldcg)
EMULATOR_LOAD(__ldcs)
EMULATOR_STORE(__stcg)
EMULATOR_STORE(__stcs)
EMULATOR_STORE(__stwt)

#undef EMULATOR_LOAD
#undef EMULATOR_STORE

EMULATOR_INTRINSIC void __threadfence() {}
EMULATOR_INTRINSIC void __threadfence_block() {}
EMULATOR_INTRINSIC void __threadfence_system() {}
