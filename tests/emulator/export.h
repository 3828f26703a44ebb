// Makes a kernel callable from Python: its signature as text, and a call with arguments in cells.
#pragma once

namespace emulator {

// Appends a type as NumPy would call it, with a `*` for each pointer and `c` where the target is
// const: `const float* const*` is "f4*c*c". Vectors are described as their elements.
template <class T>
void describe(char* text) {
  if constexpr (std::is_pointer_v<T>) {
    using Target = std::remove_pointer_t<T>;
    describe<std::remove_cv_t<Target>>(text);
    strcat(text, std::is_const_v<Target> ? "*c" : "*");
  } else if constexpr (std::is_class_v<T>) {
    describe<decltype(T::x)>(text);
  } else {
    static_assert(std::is_arithmetic_v<T>, "kernels take numbers, vectors and pointers to them");
    strcat(text, std::is_floating_point_v<T> ? "f"
                 : std::is_same_v<T, bool>   ? "b"
                 : std::is_signed_v<T>       ? "i"
                                             : "u");
    strcat(text, sizeof(T) == 8 ? "8" : sizeof(T) == 4 ? "4" : sizeof(T) == 2 ? "2" : "1");
  }
}

template <class... Parameters>
const char* signature_of(void (*)(Parameters...)) {
  static char text[16 * sizeof...(Parameters) + 1];
  text[0] = 0;
  ((describe<std::remove_cv_t<Parameters>>(text), strcat(text, " ")), ...);
  return text;
}

// The cells are not memory of a kernel; check mode must not see them read.
#define EMULATOR_UNSEEN __attribute__((no_sanitize("thread"), no_sanitize("undefined")))

template <class T>
EMULATOR_UNSEEN T argument(const unsigned char* cell) {
  static_assert(sizeof(T) <= cell_bytes && !std::is_class_v<T>, "pass structures by pointer");
  std::remove_cv_t<T> value;
  memcpy(&value, cell, sizeof value);
  return value;
}

template <class... Parameters, size_t... Index>
EMULATOR_UNSEEN void call(void (*kernel)(Parameters...), const unsigned char* cells,
                          std::index_sequence<Index...>) {
  kernel(argument<Parameters>(cells + cell_bytes * Index)...);
}

template <class... Parameters>
EMULATOR_UNSEEN void call(void (*kernel)(Parameters...), const unsigned char* cells) {
  call(kernel, cells, std::index_sequence_for<Parameters...>());
}

}  // namespace emulator

#define EMULATOR_EXPORT(kernel)                                                       \
  EMULATOR_UNSEEN void emulator::run_kernel(const unsigned char* cells) {             \
    emulator::call(kernel, cells);                                                    \
  }                                                                                   \
  extern "C" __attribute__((visibility("default"))) const char* emulator_signature() { \
    return emulator::signature_of(kernel);                                            \
  }
