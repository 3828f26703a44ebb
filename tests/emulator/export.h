// Makes a kernel callable from Python: its signature as text, and a call with arguments in cells.
#pragma once

namespace emulator {

// ---- Members of structs

// Initializes a member of any type, in code that is never run.
struct Anything {
  template <class T>
  operator T() const;
};

template <size_t>
using AnyMember = Anything;

template <class T, class Index, class = void>
struct IsMadeOf : std::false_type {};

template <class T, size_t... Index>
struct IsMadeOf<T, std::index_sequence<Index...>, std::void_t<decltype(T{AnyMember<Index>{}...})>>
    : std::true_type {};

constexpr size_t most_members = 8;

template <class T, size_t count = most_members>
constexpr size_t members_of() {
  static_assert(!IsMadeOf<T, std::make_index_sequence<most_members + 1>>::value,
                "a struct has more members than `types_of` knows");
  if constexpr (IsMadeOf<T, std::make_index_sequence<count>>::value) {
    return count;
  } else {
    return members_of<T, count - 1>();
  }
}

template <class... T>
struct Types {};

#define EMULATOR_MEMBERS(count, ...)                     \
  if constexpr (members_of<T>() == count) {              \
    const auto& [__VA_ARGS__] = value;                   \
    return types_of_values(__VA_ARGS__);                 \
  }

template <class... T>
Types<T...> types_of_values(const T&...);

// The types of the members of a struct, of which there may be other structs.
template <class T>
auto types_of(const T& value) {
  EMULATOR_MEMBERS(1, a)
  EMULATOR_MEMBERS(2, a, b)
  EMULATOR_MEMBERS(3, a, b, c)
  EMULATOR_MEMBERS(4, a, b, c, d)
  EMULATOR_MEMBERS(5, a, b, c, d, e)
  EMULATOR_MEMBERS(6, a, b, c, d, e, f)
  EMULATOR_MEMBERS(7, a, b, c, d, e, f, g)
  EMULATOR_MEMBERS(8, a, b, c, d, e, f, g, h)
}

// ---- The signature

template <class T>
void describe(char* text);

template <class... T>
void describe_members(char* text, Types<T...>*) {
  ((describe<T>(text), strcat(text, " ")), ...);
}

// What a pointer points to: vectors are described as their elements.
template <class T>
void describe_target(char* text) {
  if constexpr (std::is_class_v<T>) {
    describe<decltype(T::x)>(text);
  } else {
    describe<T>(text);
  }
}

// Appends a type as NumPy would call it, with a `*` for each pointer and `c` where the target is
// const: `const float* const*` is "f4*c*c". A struct is its members and its size in bytes:
// "{ f4*c i4 }16".
template <class T>
void describe(char* text) {
  if constexpr (std::is_pointer_v<T>) {
    using Target = std::remove_pointer_t<T>;
    describe_target<std::remove_cv_t<Target>>(text);
    strcat(text, std::is_const_v<Target> ? "*c" : "*");
  } else if constexpr (std::is_class_v<T>) {
    strcat(text, "{ ");
    describe_members(text, static_cast<decltype(types_of(std::declval<T>()))*>(nullptr));
    sprintf(text + strlen(text), "}%zu", sizeof(T));
  } else {
    static_assert(std::is_arithmetic_v<T>, "kernels take numbers, structs and pointers");
    strcat(text, std::is_floating_point_v<T> ? "f"
                 : std::is_same_v<T, bool>   ? "b"
                 : std::is_signed_v<T>       ? "i"
                                             : "u");
    strcat(text, sizeof(T) == 8 ? "8" : sizeof(T) == 4 ? "4" : sizeof(T) == 2 ? "2" : "1");
  }
}

template <class... Parameters>
const char* signature_of(void (*)(Parameters...)) {
  static char text[256 * sizeof...(Parameters) + 1];
  text[0] = 0;
  ((describe<std::remove_cv_t<Parameters>>(text), strcat(text, " ")), ...);
  return text;
}

// ---- The call

// The cells are not memory of a kernel; check mode must not see them read.
#define EMULATOR_UNSEEN __attribute__((no_sanitize("thread"), no_sanitize("undefined")))

template <class T>
EMULATOR_UNSEEN T argument(const unsigned char* cell) {
  static_assert(alignof(T) <= cell_bytes && std::is_trivially_copyable_v<T>);
  std::remove_cv_t<T> value;
  memcpy(&value, cell, sizeof value);
  return value;
}

// Where the cells of parameter `index` begin: one cell for each, or as many as a struct fills.
template <class... Parameters>
constexpr size_t offset_of(size_t index) {
  const size_t bytes[] = {sizeof(Parameters)..., 0};
  size_t offset = 0;
  for (size_t i = 0; i < index; i++) {
    offset += (bytes[i] + cell_bytes - 1) / cell_bytes * cell_bytes;
  }
  return offset;
}

template <class... Parameters, size_t... Index>
EMULATOR_UNSEEN void call(void (*kernel)(Parameters...), const unsigned char* cells,
                          std::index_sequence<Index...>) {
  kernel(argument<Parameters>(
      cells + std::integral_constant<size_t, offset_of<Parameters...>(Index)>::value)...);
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
