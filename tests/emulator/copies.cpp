// Asynchronous copies. The hardware may read the source and write the target at any time between
// issue and wait. Here the target becomes garbage when a copy is issued, and the data arrives when
// the thread waits for it, so that code that relies on an earlier arrival gives wrong results. The
// time when the source is read is drawn. A copy that is not waited for never arrives.
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

// Removes the oldest groups and their copies.
void forget(Copies& queue, size_t groups) {
  const size_t count = queue.group_ends[groups - 1];
  queue.pending.erase(queue.pending.begin(), queue.pending.begin() + ptrdiff_t(count));
  queue.group_ends.erase(queue.group_ends.begin(), queue.group_ends.begin() + ptrdiff_t(groups));
  for (size_t& end : queue.group_ends) end -= count;
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
  const Location location = place_before(__builtin_return_address(0));
  if (bytes != 4 && bytes != 8 && bytes != 16) {
    stop("bad size", location, "an asynchronous copy of %zu bytes, which are not 4, 8 or 16",
         bytes);
  }
  Copy copy = {to, from, bytes, location, {}};
  check_copy_issued(copy);
  memcpy(copy.data, from, bytes);
  memset(to, 0xFF, bytes);
  copies[current->index].pending.push_back(copy);
}

void close_group() {
  Copies& queue = copies[current->index];
  queue.group_ends.push_back(queue.pending.size());
}

void wait_for_groups(size_t groups_left) {
  Copies& queue = copies[current->index];
  if (queue.group_ends.size() <= groups_left) return;
  const size_t groups = queue.group_ends.size() - groups_left;
  for (size_t i = 0; i < queue.group_ends[groups - 1]; i++) arrive(queue.pending[i]);
  forget(queue, groups);
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
