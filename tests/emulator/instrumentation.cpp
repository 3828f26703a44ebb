// g++ -fsanitize=thread puts a call before every access to memory, and -fsanitize=undefined ones
// where arithmetic is wrong. These functions replace the sanitizers' libraries, which do not know
// blocks and barriers.
#include <cstdint>

#include "arrays.h"
#include "check.h"
#include "scheduler.h"

using emulator::check_access;
using emulator::Kind;
using emulator::name_of;
using emulator::stop;

#define CALLER __builtin_return_address(0)

#define ACCESSES(bytes)                                                                          \
  void __tsan_read##bytes(void* at) { check_access(at, bytes, Kind::read, CALLER); }             \
  void __tsan_write##bytes(void* at) { check_access(at, bytes, Kind::write, CALLER); }           \
  void __tsan_unaligned_read##bytes(void* at) { check_access(at, bytes, Kind::read, CALLER); }   \
  void __tsan_unaligned_write##bytes(void* at) { check_access(at, bytes, Kind::write, CALLER); }

namespace {

// The location that g++ passes; more data follow that depend on the kind of error.
struct Source {
  const char* file;
  uint32_t line, column;

  emulator::Location location() const { return {file, line}; }
};

struct Misalignment {
  Source source;
  const void* type;
  uint8_t log_alignment;
};

}  // namespace

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void* at, size_t bytes) { check_access(at, bytes, Kind::read, CALLER); }
void __tsan_write_range(void* at, size_t bytes) { check_access(at, bytes, Kind::write, CALLER); }

void __ubsan_handle_out_of_bounds(Source* source, uint64_t index) {
  stop("out of bounds", source->location(), "index %lld of an array",
       static_cast<long long>(index));
}

void __ubsan_handle_type_mismatch_v1(Misalignment* error, void* pointer) {
  stop("misaligned", error->source.location(), "%s is not at a multiple of %u bytes",
       name_of(reinterpret_cast<uintptr_t>(pointer)).c_str(), 1u << error->log_alignment);
}

void __ubsan_handle_shift_out_of_bounds(Source* source, uint64_t, uint64_t distance) {
  stop("shift", source->location(), "a shift by %lld bits", static_cast<long long>(distance));
}

void __ubsan_handle_divrem_overflow(Source* source, uint64_t, uint64_t) {
  stop("division", source->location(), "division by 0, or of the smallest integer by -1");
}

void __ubsan_handle_add_overflow(Source* source, uint64_t, uint64_t) {
  stop("overflow", source->location(), "a sum of signed integers overflows");
}

void __ubsan_handle_sub_overflow(Source* source, uint64_t, uint64_t) {
  stop("overflow", source->location(), "a difference of signed integers overflows");
}

void __ubsan_handle_mul_overflow(Source* source, uint64_t, uint64_t) {
  stop("overflow", source->location(), "a product of signed integers overflows");
}

void __ubsan_handle_negate_overflow(Source* source, uint64_t) {
  stop("overflow", source->location(), "the negative of the smallest integer overflows");
}

}  // extern "C"
