// summarize: a summary of all columns after their transforms, in one pass.
//
//   x       [n,d] f32 C-order; transform [d] i64: 0 none, 1 log1p                IN
//   counts  [3,d] i64: missing, infinite, outside the transform's domain         OUT, added to
//   firsts  [3,d] i64: the first row of each, counted from first_row             OUT, lowered
//   lowest, highest [d] u32: sort keys of the least and largest other values     OUT
//   first, second_high, second_low [d,256] i64: exact Σx and Σx²                 OUT, added to
//
// 4·d bytes a row are read. A thread keeps to one column, and to a window of eight exponents of
// float32 at a time. Significands are shifted by the position of the exponent in the window and
// summed in 64 bits; the sums are added to the table when another window comes up. The squares of
// 24-bit significands are split into two halves of 24 bits. There is room for 2^24 rows a thread,
// and in the table a row still adds at most 2^25 (gpuseg/numerics/moments.py): all but the lowest
// bits of a sum are counted at the last exponent of its window.
#include "columns/sort_keys.cuh"
#include "columns/transforms.cuh"

#define WINDOW 8

struct WindowSums {
  int base;  // the first exponent of the window; -1: no value yet
  long long first, second_high, second_low;
};

struct Tables {
  unsigned long long *first, *second_high, *second_low;  // of one column, [256] each
};

// Add a sum, in units of the window's first exponent, to a table. The unit doubles `bits` times
// from the first exponent to the last.
__device__ inline void count(unsigned long long* table, int base, long long sum, int bits) {
  long long upper = sum >> bits, lower = sum & ((1ll << bits) - 1);
  if (upper) atomicAdd(&table[base + WINDOW - 1], (unsigned long long)upper);
  if (lower) atomicAdd(&table[base], (unsigned long long)lower);
}

__device__ inline void flush(const WindowSums& sums, const Tables& tables) {
  if (sums.base < 0) return;
  count(tables.first, sums.base, sums.first, WINDOW - 1);
  count(tables.second_high, sums.base, sums.second_high, 2 * (WINDOW - 1));
  count(tables.second_low, sums.base, sums.second_low, 2 * (WINDOW - 1));
}

// Add a finite value and its square.
__device__ inline void add(WindowSums& sums, const Tables& tables, float value) {
  unsigned bits = __float_as_uint(value);
  int field = bits >> 23 & 0xff, exponent = max(field, 1);
  long long significand = (bits & 0x7fffff) | (field > 0 ? 1 << 23 : 0);
  int base = exponent / WINDOW * WINDOW, shift = exponent - base;
  if (base != sums.base) {
    flush(sums, tables);
    sums = {base, 0, 0, 0};
  }
  long long square = significand * significand, shifted = significand << shift;
  sums.first += bits >> 31 ? -shifted : shifted;
  sums.second_high += square >> 24 << 2 * shift;
  sums.second_low += (square & 0xffffff) << 2 * shift;
}

extern "C" __global__ void __launch_bounds__(THREADS)
summarize(const float* __restrict__ x, long long n, int d, const long long* __restrict__ transform,
          long long first_row, unsigned long long* counts, long long* firsts, unsigned* lowest,
          unsigned* highest, unsigned long long* first, unsigned long long* second_high,
          unsigned long long* second_low) {
  int width = min(d, THREADS), rows = THREADS / width;
  if (threadIdx.x >= rows * width) return;
  for (int f = threadIdx.x % width; f < d; f += width) {
    Tables tables = {first + 256 * f, second_high + 256 * f, second_low + 256 * f};
    WindowSums sums = {-1, 0, 0, 0};
    unsigned least = 0xffffffffu, largest = 0;
    bool logged = transform[f] != 0;
    for (long long row = (long long)blockIdx.x * rows + threadIdx.x / width; row < n;
         row += (long long)gridDim.x * rows) {
      float value = x[row * d + f];
      int kind = isnan(value) ? 0 : isinf(value) ? 1 : logged && value <= -1.0f ? 2 : 3;
      if (kind < 3) {
        atomicAdd(&counts[kind * d + f], 1ull);
        atomicMin(&firsts[kind * d + f], first_row + row);
        continue;
      }
      if (logged) value = __double2float_rn(portable_log1p(value));
      unsigned key = sort_key(value);
      least = min(least, key);
      largest = max(largest, key);
      add(sums, tables, value);
    }
    flush(sums, tables);
    if (least <= largest) {
      atomicMin(&lowest[f], least);
      atomicMax(&highest[f], largest);
    }
  }
}
