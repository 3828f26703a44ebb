#include "arrays.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "scheduler.h"

namespace emulator {
namespace {

struct Array {
  std::string name;
  Range range;
  size_t item_bytes;
  bool writable, written, shared;
};

std::vector<Array> arguments;  // those of the launch to come, as Python adds them
std::vector<Array> arrays;     // of the launch, shared ones included
std::vector<Region> regions;   // in the order of their addresses
Region* last_region;

struct Free {
  void operator()(Word* words) const { free(words); }
};
using History = std::unique_ptr<Word, Free>;
std::vector<History> histories;

// Zeros that take no memory until they are accessed, if there are many.
History new_history(const Range& range) {
  const size_t words = range.bytes() / word_bytes + 2;
  return History(static_cast<Word*>(calloc(words, sizeof(Word))));
}

// The history of shared memory is never cleared: accesses of earlier blocks have their number.
Word* shared_history(uintptr_t address) {
  const Range all = {image.arrays_before.begin, image.arrays_after.end};
  static const History history = new_history(all);
  return history.get() + (address / word_bytes - all.begin / word_bytes);
}

void find_arrays() {
  const Range dynamic = {image.dynamic.begin, image.dynamic.begin + shared_bytes};
  arrays = arguments;
  arrays.push_back({"static shared memory", image.arrays_before, 1, true, false, true});
  arrays.push_back({"dynamic shared memory", dynamic, 1, true, false, true});
  arrays.push_back({"static shared memory", image.arrays_after, 1, true, false, true});
}

void find_regions() {
  std::vector<const Array*> sorted;
  for (const Array& array : arrays) {
    if (array.range.bytes()) sorted.push_back(&array);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const Array* a, const Array* b) { return a->range.begin < b->range.begin; });
  std::vector<bool> written;
  regions.clear();
  for (const Array* array : sorted) {
    if (regions.empty() || array->range.begin >= regions.back().range.end) {
      regions.push_back({array->range, false, array->shared, nullptr, {}});
      written.push_back(false);
    }
    Region& region = regions.back();
    region.range.end = std::max(region.range.end, array->range.end);
    region.writable |= array->writable;
    written.back() = written.back() || array->written;
  }
  for (size_t i = 0; i < regions.size(); i++) {
    if (!written[i]) regions[i].written.resize(regions[i].range.bytes() / word_bytes + 2);
  }
}

size_t distance(const Range& range, uintptr_t address) {
  if (range.contains(address)) return 0;
  return address < range.begin ? range.begin - address : address - range.end + 1;
}

}  // namespace

void begin_arrays() {
  find_arrays();
  find_regions();
  last_region = nullptr;
  histories.clear();
  for (Region& region : regions) {
    if (region.shared) {
      region.words = shared_history(region.range.begin);
    } else {
      histories.push_back(new_history(region.range));
      region.words = histories.back().get();
    }
  }
}

void begin_shared_arrays() {
  for (Region& region : regions) {
    if (region.shared) std::fill(region.written.begin(), region.written.end(), uint8_t(0));
  }
}

Region* region_of(uintptr_t address) {
  if (last_region && last_region->range.contains(address)) return last_region;
  auto after = std::upper_bound(
      regions.begin(), regions.end(), address,
      [](uintptr_t sought, const Region& region) { return sought < region.range.begin; });
  if (after == regions.begin() || !(after - 1)->range.contains(address)) return nullptr;
  return last_region = &*(after - 1);
}

std::string name_of(uintptr_t address) {
  const Array* nearest = &arrays.front();
  for (const Array& array : arrays) {
    if (distance(array.range, address) < distance(nearest->range, address)) nearest = &array;
  }
  const auto size = static_cast<long long>(nearest->item_bytes);
  const auto offset = static_cast<long long>(address - nearest->range.begin);
  const long long item = offset / size - (offset % size < 0);
  return nearest->name + (nearest->shared ? ", byte " : ", element ") + std::to_string(item) +
         " of " + std::to_string(nearest->range.bytes() / nearest->item_bytes);
}

}  // namespace emulator

extern "C" __attribute__((visibility("default"))) void emulator_forget_arrays() {
  emulator::arguments.clear();
}

// Adds an array for the next launch; `written`: whether all of it was written before.
extern "C" __attribute__((visibility("default"))) void emulator_add_array(
    const char* name, uintptr_t address, size_t bytes, size_t item_bytes, int writable,
    int written) {
  emulator::arguments.push_back(
      {name, {address, address + bytes}, item_bytes, writable != 0, written != 0, false});
}
