// Asynchronous copies. The hardware may read the source and write the target at any time between
// issue and wait. Here the target becomes garbage when a copy is issued, and the data arrives when
// the thread waits for it, so that whoever relies on an earlier arrival goes wrong; which moment's
// source it is, is drawn. A copy that nobody waits for never arrives.
#include "copies.h"

#include <cstring>
#include <vector>

#include "image.h"
#include "scheduler.h"

namespace emulator {
namespace {

// The copies of one thread, in the order of their issue.
struct Copies {
  std::vector<Copy> pending;
  std::vector<size_t> group_ends;  // of the groups closed so far: how many copies come before
};

std::vector<Copies> copies;  // of each thread

void arrive(const Copy& copy) {
  check_copy_arrives(copy);
  memcpy(copy.to, drawn_number() & 1 ? copy.data : copy.from, copy.bytes);
}

// Forgets the oldest groups, and their copies.
void forget(Copies& mine, size_t groups) {
  const size_t count = mine.group_ends[groups - 1];
  mine.pending.erase(mine.pending.begin(), mine.pending.begin() + ptrdiff_t(count));
  mine.group_ends.erase(mine.group_ends.begin(), mine.group_ends.begin() + ptrdiff_t(groups));
  for (size_t& end : mine.group_ends) end -= count;
}

}  // namespace

void begin_copies() {
  copies.resize(threads.size());
  for (Copies& some : copies) {
    some.pending.clear();
    some.group_ends.clear();
  }
}

void issue_copy(void* to, const void* from, size_t bytes) {
  const Place place = place_before(__builtin_return_address(0));
  if (bytes != 4 && bytes != 8 && bytes != 16) {
    stop("bad size", place, "an asynchronous copy of %zu bytes, which are not 4, 8 or 16", bytes);
  }
  Copy copy = {to, from, bytes, place, {}};
  check_copy_issued(copy);
  memcpy(copy.data, from, bytes);
  memset(to, 0xFF, bytes);
  copies[current->index].pending.push_back(copy);
}

void close_group() {
  Copies& mine = copies[current->index];
  mine.group_ends.push_back(mine.pending.size());
}

void wait_for_groups(size_t groups_left) {
  Copies& mine = copies[current->index];
  if (mine.group_ends.size() <= groups_left) return;
  const size_t groups = mine.group_ends.size() - groups_left;
  for (size_t i = 0; i < mine.group_ends[groups - 1]; i++) arrive(mine.pending[i]);
  forget(mine, groups);
}

Pending pending_copy_to(uintptr_t address) {
  for (unsigned thread = 0; thread < copies.size(); thread++) {
    for (const Copy& copy : copies[thread].pending) {
      if (address - reinterpret_cast<uintptr_t>(copy.to) < copy.bytes) return {&copy, thread};
    }
  }
  return {nullptr, 0};
}

}  // namespace emulator
