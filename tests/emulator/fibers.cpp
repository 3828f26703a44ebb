// The scheduler: runs the blocks of a launch one after another, and the threads of a block as
// fibers that switch where an intrinsic makes them wait.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "context.h"
#include "image.h"
#include "scheduler.h"

// For kernels these are constants of the types uint3 and dim3 (cuda.h).
struct Index {
  unsigned x, y, z;
};
extern "C" {
Index threadIdx, blockIdx, blockDim, gridDim;
int emulator_mutant;
}

namespace emulator {

std::vector<Thread> threads;
unsigned threads_left;
Thread* current;
size_t shared_bytes;
bool fuzzing;

namespace {

enum Schedule { up, down, random_order, fuzz };

const unsigned char* cells;
bool abandoned;
void* scheduler_stack;
uint64_t random_state;

// ---- Stacks

std::vector<char*> free_stacks;

// The ends of the stacks are in different sets of the cache. Otherwise the threads of a block would
// evict each other's few lines of stack.
constexpr size_t stack_distance = stack_bytes + 5 * 64;

void map_stacks(size_t count) {
  const size_t bytes = count * stack_distance;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) abort();  // only addresses were reserved
  madvise(memory, bytes, MADV_NOHUGEPAGE);  // most threads touch one page of theirs
  for (size_t i = count; i-- > 0;) {
    free_stacks.push_back(static_cast<char*>(memory) + i * stack_distance);
  }
}

char* take_stack() {
  if (free_stacks.empty()) map_stacks(warp_lanes);
  char* stack = free_stacks.back();
  free_stacks.pop_back();
  return stack;
}

// The last stack that was given back is in the cache and is taken next: threads that never wait all
// use the same stack.
void give_stack_back(Thread& thread) {
  if (thread.stack) free_stacks.push_back(thread.stack);
  thread.stack = nullptr;
}

// ---- Threads

void switch_to_scheduler() { emulator_switch(&current->stack_pointer, scheduler_stack); }

void thread_main() {
  run_kernel(cells);
  current->ended = true;
  threads_left--;
  leave_collectives(*current);
  switch_to_scheduler();
  __builtin_unreachable();
}

bool can_run(const Thread& thread) {
  return !thread.ended && (!thread.until || *thread.until);
}

void run(Thread& thread) {
  if (!thread.stack) {
    thread.stack = take_stack();
    thread.stack_pointer = new_context(thread.stack + stack_bytes, thread_main);
  }
  thread.until = nullptr;
  current = &thread;
  threadIdx.x = thread.index;
  emulator_switch(&scheduler_stack, thread.stack_pointer);
  current = nullptr;
  if (thread.ended) give_stack_back(thread);
}

// ---- Blocks

void report_deadlock() {
  std::map<std::string, unsigned> waiting;
  Location first{nullptr, 0};
  for (const Thread& thread : threads) {
    if (thread.ended) continue;
    if (!first.line) first = thread.location;
    waiting[std::string(thread.intrinsic) + " in " + text_of(thread.location)]++;
  }
  std::string text;
  for (const auto& [where, count] : waiting) {
    text += std::to_string(count) + " threads wait at " + where + ", ";
  }
  const unsigned ended = unsigned(threads.size()) - threads_left;
  report("deadlock", first, "block %u: %s%u have ended", blockIdx.x, text.c_str(), ended);
}

void poison(const Range& range) {
  memset(reinterpret_cast<void*>(range.begin), 0xFF, range.bytes());
}

void begin_block(unsigned block) {
  blockIdx.x = block;
  threads_left = blockDim.x;
  threads.assign(blockDim.x, Thread{});
  for (unsigned i = 0; i < blockDim.x; i++) {
    threads[i].index = i;
    threads[i].lane = i % warp_lanes;
    threads[i].warp = i / warp_lanes;
  }
  // Shared arrays start as garbage, never as zeros.
  poison({image.dynamic.begin, image.dynamic.begin + shared_bytes});
  poison(image.arrays_before);
  poison(image.arrays_after);
  begin_collectives();
  begin_copies();
  begin_approximations();
  check_block_begins();
}

void shuffle(std::vector<unsigned>& order) {
  for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random_number() % i]);
}

std::vector<unsigned> in_order(unsigned count, Schedule schedule) {
  std::vector<unsigned> order(count);
  for (unsigned i = 0; i < count; i++) order[i] = schedule == down ? count - 1 - i : i;
  if (schedule >= random_order) shuffle(order);
  return order;
}

void run_block(Schedule schedule) {
  std::vector<unsigned> order = in_order(blockDim.x, schedule);
  while (threads_left && !abandoned) {
    bool moved = false;
    for (unsigned index : order) {
      if (abandoned || !can_run(threads[index])) continue;
      run(threads[index]);
      moved = true;
    }
    if (!moved) {
      report_deadlock();
      abandoned = true;
    }
    if (schedule >= random_order) shuffle(order);
  }
  for (Thread& thread : threads) give_stack_back(thread);
}

}  // namespace

unsigned current_block() { return blockIdx.x; }

uint64_t random_number() {
  random_state ^= random_state << 13;  // Marsaglia's xorshift
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

void wait(const bool& until, const char* intrinsic, Location location) {
  current->until = &until;
  current->intrinsic = intrinsic;
  current->location = location;
  switch_to_scheduler();
}

void let_others_run() { switch_to_scheduler(); }

void abandon() {
  abandoned = true;
  switch_to_scheduler();
  __builtin_unreachable();
}

}  // namespace emulator

// Launches the kernel; returns the reports. The schedule depends on `seed` only; the random draws
// of the arithmetic depend on `draws` too.
extern "C" __attribute__((visibility("default"))) const char* emulator_launch(
    unsigned blocks, unsigned block_threads, size_t dynamic_bytes, int schedule, uint64_t seed,
    uint64_t draws, int mutant, const unsigned char* argument_cells) {
  using namespace emulator;
  forget_reports();
  find_image();
  const size_t static_bytes = image.arrays_before.bytes() + image.arrays_after.bytes();
  if (blocks < 1 || block_threads < 1 || block_threads > 1024 ||
      static_bytes + dynamic_bytes > largest_shared) {
    report("launch", {}, "%u blocks of %u threads, %zu bytes of shared memory", blocks,
           block_threads, static_bytes + dynamic_bytes);
    return all_reports();
  }
  cells = argument_cells;
  emulator_mutant = mutant;
  shared_bytes = dynamic_bytes;
  fuzzing = schedule == fuzz;
  random_state = seed * 0x9e3779b97f4a7c15u | 1;
  begin_draws(seed, draws);
  abandoned = false;
  gridDim = {blocks, 1, 1};
  blockDim = {block_threads, 1, 1};
  check_launch_begins();
  for (unsigned block : in_order(blocks, Schedule(schedule))) {
    begin_block(block);
    run_block(Schedule(schedule));
    if (abandoned) break;
  }
  return all_reports();
}
