// Check mode: checks every memory access before it happens.
#include "check.h"

#include <cstdio>
#include <cstring>

#include "arrays.h"
#include "copies.h"
#include "image.h"
#include "scheduler.h"
#include "shadow.h"

namespace emulator {
namespace {

const char* verb(Kind kind) {
  return kind == Kind::read ? "read of" : kind == Kind::write ? "write to" : "atomic operation on";
}

uintptr_t address_of(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

void let_others_run_sometimes() {
  if (fuzzing && random_number() % 8 == 0) let_others_run();
}

bool in_stack_of(const Thread& thread, uintptr_t address) {
  return thread.stack && address - reinterpret_cast<uintptr_t>(thread.stack) < stack_bytes;
}

bool in_library(uintptr_t address) {
  for (const Range& segment : image.segments) {
    if (segment.contains(address)) return true;
  }
  return false;
}

// The address is in no array: it is a constant of the library, or an error.
void judge_outside(uintptr_t address, size_t bytes, Kind kind, Location location) {
  if (in_library(address)) return;
  for (const Thread& other : threads) {
    if (in_stack_of(other, address)) {
      stop("foreign variable", location, "%s %zu bytes among the variables of thread %u",
           verb(kind),
           bytes, other.index);
    }
  }
  stop("out of bounds", location, "%s %s", verb(kind), name_of(address).c_str());
}

// Reports a race, if there is one, and stores the access.
void judge_order(Region& region, Word& word, const Access& access, uintptr_t address,
                 Location location) {
  if (const Access* other = race(word, access, region.shared)) {
    report("race", location,
           "%s %s; nothing orders it after the %s it by block %u, thread %u in {0x%x}",
           verb(access.kind), name_of(address).c_str(), verb(other->kind), block_index(*other),
           other->thread, other->code);
  }
  store_access(word, access, region.shared);
}

std::string why_unwritten(uintptr_t address) {
  const Pending pending = pending_copy_to(address);
  if (!pending.copy) return "which was never written";
  char text[120];
  snprintf(text, sizeof text, "where thread %u has not waited for its copy issued in {0x%zx}",
           pending.thread, pending.copy->location.line);
  return text;
}

void judge_written(Region& region, size_t word, uint8_t bytes, Kind kind, uintptr_t address,
                   Location location) {
  uint8_t& written = region.written[word];
  if (kind != Kind::write && (bytes & ~written)) {
    report("uninitialized", location, "%s %s, %s", verb(kind), name_of(address).c_str(),
           why_unwritten(address).c_str());
  }
  if (kind != Kind::read) written |= bytes;
}

// Returns the bytes from `address` on, before `end`, of the word of `address`.
uint8_t bytes_of_word(uintptr_t address, uintptr_t end) {
  const unsigned first = address % word_bytes;
  const uintptr_t last = end - (address - first);
  const unsigned below_last = last < word_bytes ? (1u << last) - 1 : 0xfu;
  return uint8_t(below_last & ~((1u << first) - 1));
}

// Calls `judge` for each word from `address` on, with the bytes to check.
template <class Judge>
void for_words(uintptr_t address, size_t bytes, Judge judge) {
  const uintptr_t end = address + bytes;
  while (address < end) {
    judge(address, bytes_of_word(address, end));
    address = (address / word_bytes + 1) * word_bytes;
  }
}

void judge_access(uintptr_t address, size_t bytes, Kind kind, Location location) {
  if (in_stack_of(*current, address)) return;
  Region* region = region_of(address);
  if (!region) return judge_outside(address, bytes, kind, location);
  if (address + bytes > region->range.end) {
    stop("out of bounds", location, "%s %zu bytes from %s on", verb(kind), bytes,
         name_of(address).c_str());
  }
  if (kind != Kind::read && !region->writable) {
    stop("write to const", location, "%s %s", verb(kind), name_of(address).c_str());
  }
  for_words(address, bytes, [=](uintptr_t address, uint8_t touched) {
    const size_t word = region->word_of(address);
    const Access access = access_now(kind, touched, uint32_t(location.line));
    judge_order(*region, region->words[word], access, address, location);
    if (!region->written.empty()) {
      judge_written(*region, word, touched, kind, address, location);
    }
  });
}

// Copies go from global to shared memory. Addresses in no array are checked as accesses.
void judge_places(const Copy& copy, uintptr_t to, uintptr_t from) {
  for (const uintptr_t address : {to, from}) {
    if (address % copy.bytes == 0) continue;
    stop("misaligned", copy.location, "%s is not at a multiple of %zu bytes",
         name_of(address).c_str(), copy.bytes);
  }
  const Region* source = region_of(from);
  if (source ? source->shared : in_stack_of(*current, from)) {
    stop("wrong memory", copy.location, "the source of an asynchronous copy is not global memory");
  }
  const Region* target = region_of(to);
  if (target ? !target->shared : in_stack_of(*current, to) || in_library(to)) {
    stop("wrong memory", copy.location, "the target of an asynchronous copy is not shared memory");
  }
}

}  // namespace

void check_access(const void* pointer, size_t bytes, Kind kind, void* return_address) {
  const uintptr_t address = address_of(pointer);
  if (!current || in_stack_of(*current, address)) return;
  let_others_run_sometimes();
  judge_access(address, bytes, kind, place_before(return_address));
}

void check_atomic(void* target, size_t bytes, void* return_address) {
  const uintptr_t address = address_of(target);
  if (address % bytes) {
    stop("misaligned", place_before(return_address), "%s is not at a multiple of %zu bytes",
         name_of(address).c_str(), bytes);
  }
  check_access(target, bytes, Kind::atomic, return_address);
}

void check_copy_issued(const Copy& copy) {
  let_others_run_sometimes();
  const uintptr_t to = address_of(copy.to), from = address_of(copy.from);
  judge_places(copy, to, from);
  judge_access(from, copy.bytes, Kind::read, copy.location);
  judge_access(to, copy.bytes, Kind::write, copy.location);
  Region* target = region_of(to);
  for_words(to, copy.bytes, [=](uintptr_t address, uint8_t bytes) {
    target->written[target->word_of(address)] &= uint8_t(~bytes);
  });
}

// A copy is checked as a read and a write at its issue and again at its end: the hardware may do it
// at any time between.
void check_copy_arrives(const Copy& copy) {
  let_others_run_sometimes();
  const uintptr_t to = address_of(copy.to), from = address_of(copy.from);
  const Region* target = region_of(to);
  for_words(to, copy.bytes, [&](uintptr_t address, uint8_t bytes) {
    if (!(target->written[target->word_of(address)] & bytes)) return;
    report("race", copy.location,
           "%s was written to while an asynchronous copy to it was in flight",
           name_of(address).c_str());
  });
  if (memcmp(copy.data, copy.from, copy.bytes)) {
    report("race", copy.location,
           "%s was written to while an asynchronous copy of it was in flight",
           name_of(from).c_str());
  }
  judge_access(from, copy.bytes, Kind::read, copy.location);
  judge_access(to, copy.bytes, Kind::write, copy.location);
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
