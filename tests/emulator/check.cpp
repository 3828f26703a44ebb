// Check mode: judges every access to memory before it happens.
#include "check.h"

#include "arrays.h"
#include "image.h"
#include "scheduler.h"
#include "shadow.h"

namespace emulator {
namespace {

const char* verb(Kind kind) {
  return kind == Kind::read ? "read of" : kind == Kind::write ? "write to" : "atomic operation on";
}

// A call returns behind its instruction; one byte before that is still in it.
Place place_before(void* return_address) {
  return {nullptr, reinterpret_cast<uintptr_t>(return_address) - 1 - image.base};
}

bool in_stack_of(const Thread& thread, uintptr_t address) {
  return thread.stack && address - reinterpret_cast<uintptr_t>(thread.stack) < stack_bytes;
}

// The address is in no array: it may be a constant of the library, or else is wrong.
void judge_outside(uintptr_t address, size_t bytes, Kind kind, Place place) {
  for (const Range& segment : image.segments) {
    if (segment.contains(address)) return;
  }
  for (const Thread& other : threads) {
    if (in_stack_of(other, address)) {
      stop("foreign variable", place, "%s %zu bytes among the variables of thread %u", verb(kind),
           bytes, other.index);
    }
  }
  stop("out of bounds", place, "%s %s", verb(kind), name_of(address).c_str());
}

// Reports a race, if there is one, and remembers the access.
void judge_order(Region& region, Word& word, const Access& mine, uintptr_t address, Place place) {
  if (const Access* other = race(word, mine, region.shared)) {
    report("race", place,
           "%s %s; nothing orders it after the %s it by block %u, thread %u in {0x%x}",
           verb(mine.kind), name_of(address).c_str(), verb(other->kind), block_index(*other),
           other->thread, other->code);
  }
  remember(word, mine, region.shared);
}

void judge_written(Region& region, size_t word, uint8_t bytes, Kind kind, uintptr_t address,
                   Place place) {
  uint8_t& written = region.written[word];
  if (kind != Kind::write && (bytes & ~written)) {
    report("uninitialised", place, "%s %s, which was never written", verb(kind),
           name_of(address).c_str());
  }
  if (kind != Kind::read) written |= bytes;
}

// Returns which bytes of the word that `address` is in lie before `end`, from `address` on.
uint8_t bytes_of_word(uintptr_t address, uintptr_t end) {
  const unsigned first = address % word_bytes;
  const uintptr_t last = end - (address - first);
  const unsigned below_last = last < word_bytes ? (1u << last) - 1 : 0xfu;
  return uint8_t(below_last & ~((1u << first) - 1));
}

}  // namespace

void check_access(const void* pointer, size_t bytes, Kind kind, void* return_address) {
  uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  if (!current || in_stack_of(*current, address)) return;
  if (fuzzing && random_number() % 8 == 0) let_others_run();

  const Place place = place_before(return_address);
  Region* region = region_of(address);
  if (!region) return judge_outside(address, bytes, kind, place);
  const uintptr_t end = address + bytes;
  if (end > region->range.end) {
    stop("out of bounds", place, "%s %zu bytes from %s on", verb(kind), bytes,
         name_of(address).c_str());
  }
  if (kind != Kind::read && !region->writable) {
    stop("write to const", place, "%s %s", verb(kind), name_of(address).c_str());
  }
  while (address < end) {
    const uint8_t touched = bytes_of_word(address, end);
    const size_t word = region->word_of(address);
    const Access mine = access_now(kind, touched, uint32_t(place.line));
    judge_order(*region, region->words[word], mine, address, place);
    if (!region->written.empty()) {
      judge_written(*region, word, touched, kind, address, place);
    }
    address = (address / word_bytes + 1) * word_bytes;
  }
}

void check_atomic(void* target, size_t bytes, void* return_address) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(target);
  if (address % bytes) {
    stop("misaligned", place_before(return_address), "%s is not at a multiple of %zu bytes",
         name_of(address).c_str(), bytes);
  }
  check_access(target, bytes, Kind::atomic, return_address);
}

void check_launch_begins() {
  begin_launch_history();
  begin_arrays();
}

void check_block_begins() {
  begin_block_history();
  begin_shared_arrays();
}

}  // namespace emulator
