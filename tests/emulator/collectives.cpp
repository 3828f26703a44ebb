// Barriers of a block, and collective operations of a warp.
#include <algorithm>
#include <cstring>
#include <deque>

#include "image.h"
#include "scheduler.h"

namespace emulator {
namespace {

// ---- Barriers

struct BlockBarrier {
  unsigned arrived = 0;
  int predicates = 0;
  Location location{};
  bool complete = false;
};

// The barrier that threads arrive at, and the previous one, which some may not have left yet.
BlockBarrier barriers[2];
unsigned turn;

void complete_barrier() {
  barriers[turn].complete = true;
  turn = 1 - turn;
  barriers[turn] = {};  // as all threads were at the one just completed, none is in here
  check_barrier_passed();
}

bool same(Location a, Location b) { return a.line == b.line && strcmp(a.file, b.file) == 0; }

// ---- Warps

constexpr unsigned all_lanes = 0xffffffffu;

// One meeting of the lanes in `mask`; reused once all lanes have left.
struct Meeting {
  Together operation;
  unsigned mask = 0, arrived = 0, inside = 0;
  bool complete = false;
  uint64_t values[warp_lanes];
};

struct Warp {
  unsigned alive;                 // lanes that have not ended
  std::deque<Meeting> meetings;   // a deque: threads hold references while others are added
};

std::vector<Warp> warps;

const char* intrinsic_of(Together operation) {
  switch (operation) {
    case Together::synchronise: return "__syncwarp";
    case Together::shuffle: return "__shfl_sync";
    case Together::shuffle_up: return "__shfl_up_sync";
    case Together::shuffle_down: return "__shfl_down_sync";
    case Together::shuffle_xor: return "__shfl_xor_sync";
    case Together::ballot: return "a vote";
    case Together::match_any: return "__match_any_sync";
    case Together::add: return "__reduce_add_sync";
    case Together::minimum_signed:
    case Together::minimum_unsigned: return "__reduce_min_sync";
    case Together::maximum_signed:
    case Together::maximum_unsigned: return "__reduce_max_sync";
    case Together::multiply: return "mma";
  }
  return "a warp intrinsic";
}

// Returns the open meeting of lanes with this mask, or opens one.
Meeting& meeting_of(Warp& warp, unsigned mask, Together operation) {
  Meeting* unused = nullptr;
  for (Meeting& meeting : warp.meetings) {
    if (!meeting.inside) {
      unused = &meeting;
    } else if (!meeting.complete && meeting.mask == mask) {
      return meeting;
    }
  }
  if (!unused) unused = &warp.meetings.emplace_back();
  unused->operation = operation;
  unused->mask = mask;
  unused->arrived = 0;
  unused->complete = false;
  return *unused;
}

void multiply_for(const Meeting& meeting, unsigned warp) {
  Fragments* lanes[warp_lanes];
  for (unsigned lane = 0; lane < warp_lanes; lane++) {
    lanes[lane] = reinterpret_cast<Fragments*>(meeting.values[lane]);
  }
  multiply_fragments(warp, lanes);
}

void complete_if_all_are_there(Meeting& meeting, unsigned warp) {
  if (meeting.arrived != (meeting.mask & warps[warp].alive)) return;
  meeting.complete = true;
  if (meeting.operation == Together::synchronise) {
    check_lanes_synchronised(warp, meeting.arrived);
  } else if (meeting.operation == Together::multiply && meeting.arrived == all_lanes) {
    multiply_for(meeting, warp);
  }
}

// Returns the lane that a shuffle reads; a lane whose source is out of range reads itself.
int source_lane(Together operation, int lane, int argument, int width) {
  const int first = lane & ~(width - 1);
  argument &= int(warp_lanes - 1);
  int source;
  switch (operation) {
    case Together::shuffle: return first + (argument & (width - 1));
    case Together::shuffle_up: return lane - argument >= first ? lane - argument : lane;
    case Together::shuffle_down: source = lane + argument; break;
    default: source = lane ^ argument; break;
  }
  return source < first + width ? source : lane;
}

uint64_t shuffled(const Meeting& meeting, int argument, int width, Location location) {
  if (width < 1 || width > int(warp_lanes) || (width & (width - 1))) {
    stop("bad width", location, "a shuffle of width %d, which is not a power of 2 up to 32", width);
  }
  const int source = source_lane(meeting.operation, int(current->lane), argument, width);
  if (!(meeting.arrived >> source & 1)) {
    stop("absent lane", location, "%s reads lane %d, which takes no part in mask 0x%08x",
         intrinsic_of(meeting.operation), source, meeting.mask);
  }
  return meeting.values[source];
}

uint32_t combined(Together operation, uint32_t a, uint32_t b) {
  switch (operation) {
    case Together::add: return a + b;
    case Together::minimum_signed: return uint32_t(std::min(int32_t(a), int32_t(b)));
    case Together::maximum_signed: return uint32_t(std::max(int32_t(a), int32_t(b)));
    case Together::minimum_unsigned: return std::min(a, b);
    default: return std::max(a, b);
  }
}

uint64_t reduced(const Meeting& meeting) {
  unsigned lanes = meeting.arrived;
  uint32_t result = uint32_t(meeting.values[__builtin_ctz(lanes)]);
  while (lanes &= lanes - 1) {
    const uint32_t value = uint32_t(meeting.values[__builtin_ctz(lanes)]);
    result = combined(meeting.operation, result, value);
  }
  return result;
}

// Returns the lanes whose value satisfies a condition.
template <class Condition>
uint64_t lanes_where(const Meeting& meeting, Condition condition) {
  uint64_t result = 0;
  for (unsigned lane = 0; lane < warp_lanes; lane++) {
    if (meeting.arrived >> lane & 1 && condition(meeting.values[lane])) result |= 1u << lane;
  }
  return result;
}

uint64_t result_of(const Meeting& meeting, uint64_t lane_value, int argument, int width,
                   Location location) {
  switch (meeting.operation) {
    case Together::synchronise: return 0;
    case Together::shuffle:
    case Together::shuffle_up:
    case Together::shuffle_down:
    case Together::shuffle_xor: return shuffled(meeting, argument, width, location);
    case Together::ballot: return lanes_where(meeting, [](uint64_t value) { return value != 0; });
    case Together::multiply:
      if (meeting.arrived == all_lanes) return 0;
      stop("absent lane", location, "%s takes all lanes, and only those of mask 0x%08x are there",
           intrinsic_of(meeting.operation), meeting.arrived);
    case Together::match_any:
      return lanes_where(meeting, [=](uint64_t value) { return value == lane_value; });
    default: return reduced(meeting);
  }
}

}  // namespace

int barrier(int predicate, Location location) {
  BlockBarrier& barrier = barriers[turn];
  if (!barrier.arrived) barrier.location = location;
  if (!same(barrier.location, location)) {
    stop("divergent barrier", location, "others of the block wait at the barrier in line %zu",
         barrier.location.line);
  }
  barrier.arrived++;
  barrier.predicates += predicate != 0;
  if (barrier.arrived == threads_left) {
    complete_barrier();
  } else {
    wait(barrier.complete, "__syncthreads", location);
  }
  return barrier.predicates;
}

uint64_t meet(Together operation, unsigned mask, uint64_t value, int argument, int width,
              Location location) {
  const unsigned lane = current->lane, warp = current->warp;
  if (!(mask >> lane & 1)) {
    stop("not in mask", location, "%s: lane %u is not in its own mask 0x%08x",
         intrinsic_of(operation), lane, mask);
  }
  Meeting& meeting = meeting_of(warps[warp], mask, operation);
  if (meeting.operation != operation) {
    stop("mixed intrinsics", location, "%s: other lanes of mask 0x%08x are at %s",
         intrinsic_of(operation), mask, intrinsic_of(meeting.operation));
  }
  meeting.values[lane] = value;
  meeting.arrived |= 1u << lane;
  meeting.inside++;
  complete_if_all_are_there(meeting, warp);
  if (!meeting.complete) wait(meeting.complete, intrinsic_of(operation), location);
  const uint64_t result = result_of(meeting, value, argument, width, location);
  meeting.inside--;
  return result;
}

void multiply(Fragments& fragments) {
  const Location location = place_before(__builtin_return_address(0));
  const auto address = reinterpret_cast<uint64_t>(&fragments);
  meet(Together::multiply, all_lanes, address, 0, warp_lanes, location);
}

void begin_collectives() {
  barriers[0] = barriers[1] = {};
  turn = 0;
  warps.resize((threads.size() + warp_lanes - 1) / warp_lanes);
  for (Warp& warp : warps) {
    warp.alive = 0;
    for (Meeting& meeting : warp.meetings) meeting.inside = 0;
  }
  for (const Thread& thread : threads) warps[thread.warp].alive |= 1u << thread.lane;
}

void leave_collectives(const Thread& ended) {
  Warp& warp = warps[ended.warp];
  warp.alive &= ~(1u << ended.lane);
  if (threads_left && barriers[turn].arrived == threads_left) complete_barrier();
  for (Meeting& meeting : warp.meetings) {
    if (meeting.inside && !meeting.complete) complete_if_all_are_there(meeting, ended.warp);
  }
}

}  // namespace emulator
