#include "image.h"

#include <link.h>

namespace emulator {

Image image;

namespace {

Range range_of(const dl_phdr_info& library, const ElfW(Phdr) & segment) {
  const uintptr_t begin = library.dlpi_addr + segment.p_vaddr;
  return {begin, begin + segment.p_memsz};
}

// Called for each loaded library; fills in `image` for the library of this code.
int read_library(dl_phdr_info* library, size_t, void*) {
  std::vector<Range> segments;
  bool is_ours = false;
  Range arrays{};
  for (int i = 0; i < library->dlpi_phnum; i++) {
    const ElfW(Phdr)& segment = library->dlpi_phdr[i];
    if (segment.p_type == PT_LOAD) {
      segments.push_back(range_of(*library, segment));
      is_ours |= segments.back().contains(reinterpret_cast<uintptr_t>(&read_library));
    } else if (segment.p_type == PT_TLS) {
      const uintptr_t begin = reinterpret_cast<uintptr_t>(library->dlpi_tls_data);
      arrays = {begin, begin + segment.p_memsz};
    }
  }
  if (!is_ours) return 0;
  image.base = library->dlpi_addr;
  image.segments = segments;
  image.arrays_before = {arrays.begin, image.dynamic.begin};
  image.arrays_after = {image.dynamic.end, arrays.end};
  return 1;
}

void move(Range& range, uintptr_t distance) {
  range.begin += distance;
  range.end += distance;
}

}  // namespace

// A call returns behind its instruction; one byte before that is still in it.
Location place_before(void* return_address) {
  return {nullptr, reinterpret_cast<uintptr_t>(return_address) - 1 - image.base};
}

void find_image() {
  // The arrays of a thread are created at its first access.
  static_cast<volatile unsigned char*>(emulator_dynamic_shared)[0] = 0;
  const uintptr_t dynamic = reinterpret_cast<uintptr_t>(emulator_dynamic_shared);
  if (image.segments.empty()) {
    image.dynamic = {dynamic, dynamic + largest_shared};
    dl_iterate_phdr(read_library, nullptr);
  }
  // In another thread all shared arrays are moved by the same distance.
  const uintptr_t distance = dynamic - image.dynamic.begin;
  move(image.dynamic, distance);
  move(image.arrays_before, distance);
  move(image.arrays_after, distance);
}

}  // namespace emulator
