// Products of matrices on tensor cores, and roots: what a GPU computes is known within a bound
// only (kernels/mma.cuh). Here anything within that bound may come out, drawn anew in each run, so
// that a kernel that relies on more goes wrong.
#include <fenv.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "scheduler.h"

namespace emulator {
namespace {

constexpr int rows = 16, columns = 8, depth = 16, elements = rows * columns;

// An element of D is off by at most `relative_bound` times the sum of the magnitudes of its terms,
// plus `absolute_bound` if that sum is not 0. From `overflow` on it may be anything.
constexpr double relative_bound = 18 * 0x1p-23, absolute_bound = 0x1p-126, overflow = 0x1p127;

// Keeps clear of a bound by more than the rounding of these computations in float64.
constexpr double within = 1 - 0x1p-20;

// What the lanes brought, as matrices.
struct Matrices {
  float a[rows][depth], b[depth][columns], c[rows][columns];
};

// D as it would be without rounding, and the sums of the magnitudes of its terms.
struct Exact {
  double value[elements], magnitude[elements];
};

// How the products of a warp are wrong. Errors that change sign at random cancel out in the long
// run; a kernel adds up many products in one element, so that it must withstand errors that keep
// their sign, and these are what tells a bound that is too small.
struct Leaning {
  bool drawn;
  enum { drawn_order, steady, wavering } kind;
  bool up[elements];
};

Leaning leanings[1024 / warp_lanes];

void draw_signs(Leaning& leaning) {
  for (int half = 0; half < 2; half++) {
    const uint64_t bits = drawn_number();
    for (int i = 0; i < 64; i++) leaning.up[64 * half + i] = bits >> i & 1;
  }
}

// A leaning lasts for some sixty products.
Leaning& leaning_of(unsigned warp) {
  Leaning& leaning = leanings[warp];
  if (!leaning.drawn || drawn_number() % 64 == 0) {
    leaning.drawn = true;
    leaning.kind = decltype(leaning.kind)(drawn_number() % 3);
    draw_signs(leaning);
  } else if (leaning.kind == Leaning::wavering) {
    draw_signs(leaning);
  }
  return leaning;
}

// ---- Which lane holds what

float lower(unsigned pair) {
  pair <<= 16;
  float result;
  memcpy(&result, &pair, sizeof result);
  return result;
}

float upper(unsigned pair) { return lower(pair >> 16); }

Matrices matrices_of(Fragments* const (&lanes)[warp_lanes]) {
  Matrices all;
  for (unsigned lane = 0; lane < warp_lanes; lane++) {
    const Fragments& mine = *lanes[lane];
    const unsigned group = lane / 4, pair = lane % 4 * 2;
    for (unsigned i = 0; i < 4; i++) {
      float* a = &all.a[group + i % 2 * 8][pair + i / 2 * 8];
      a[0] = lower(mine.a[i]);
      a[1] = upper(mine.a[i]);
      all.c[group + i / 2 * 8][pair + i % 2] = mine.c[i];
    }
    for (unsigned i = 0; i < 2; i++) {
      all.b[pair + i * 8][group] = lower(mine.b[i]);
      all.b[pair + i * 8 + 1][group] = upper(mine.b[i]);
    }
  }
  return all;
}

void hand_out(const float (&d)[elements], Fragments* const (&lanes)[warp_lanes]) {
  for (unsigned lane = 0; lane < warp_lanes; lane++) {
    for (unsigned i = 0; i < 4; i++) {
      lanes[lane]->d[i] = d[(lane / 4 + i / 2 * 8) * columns + lane % 4 * 2 + i % 2];
    }
  }
}

// Calls `use(element, value)` with one term of each element of D: the product of this column of A
// and this row of B, which float64 holds exactly, or C for the last term.
template <class Use>
void for_term(const Matrices& all, int term, Use use) {
  for (int i = 0; i < rows; i++) {
    if (term < depth) {
      const double a = all.a[i][term];
      for (int j = 0; j < columns; j++) use(i * columns + j, a * all.b[term][j]);
    } else {
      for (int j = 0; j < columns; j++) use(i * columns + j, double(all.c[i][j]));
    }
  }
}

// ---- Sums in a drawn order, each addition rounded in a drawn direction

void add_in_drawn_order(const Matrices& all, float (&d)[elements]) {
  constexpr int directions[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  int terms[depth + 1];
  std::iota(terms, terms + depth + 1, 0);
  std::fill(d, d + elements, 0.0f);
  for (int left = depth + 1; left > 0; left--) {
    const uint64_t number = drawn_number();
    std::swap(terms[left - 1], terms[(number >> 8) % unsigned(left)]);
    // The compiler knows nothing of rounding modes; it knows that assembly may change memory.
    fesetround(directions[number % 4]);
    asm volatile("" : : "r"(&all), "r"(&d) : "memory");
    for_term(all, terms[left - 1], [&](int i, double term) { d[i] = float(d[i] + term); });
    asm volatile("" : : "r"(&d) : "memory");
  }
  fesetround(FE_TONEAREST);
}

// ---- The worst that the bound allows

Exact exactly(const Matrices& all) {
  Exact exact{};
  for (int term = 0; term <= depth; term++) {
    for_term(all, term, [&](int i, double next) {
      exact.value[i] += next;
      // Not of infinite terms and NaN, which come out the same in any order.
      exact.magnitude[i] += std::isfinite(next) ? std::fabs(next) : 0;
    });
  }
  return exact;
}

void push_to_bound(const Exact& exact, const Leaning& leaning, float (&d)[elements]) {
  fesetround(FE_DOWNWARD);  // what is to come out too large must not come out larger still
  asm volatile("" : : "r"(&exact), "r"(&d) : "memory");
  for (int i = 0; i < elements; i++) {
    const double size = exact.magnitude[i];
    const double error = size == 0 ? 0 : (size * relative_bound + absolute_bound) * within;
    const double sign = leaning.up[i] ? 1 : -1;
    d[i] = float(sign * float(sign * exact.value[i] + error));
  }
  asm volatile("" : : "r"(&d) : "memory");
  fesetround(FE_TONEAREST);
}

// ---- Overflow

bool may_overflow(const Matrices& all) {
  const auto largest = [](const float* begin, size_t count) {
    float most = 0;
    for (size_t i = 0; i < count; i++) most = std::fmax(most, std::fabs(begin[i]));
    return double(most);
  };
  const double product = largest(all.a[0], rows * depth) * largest(all.b[0], depth * columns);
  return !(depth * product + largest(all.c[0], elements) < overflow);
}

void overflow_somehow(const Exact& exact, float (&d)[elements]) {
  for (int i = 0; i < elements; i++) {
    if (exact.magnitude[i] < overflow) continue;
    const float results[] = {float(exact.value[i]), INFINITY, -INFINITY, NAN};
    d[i] = results[drawn_number() % 4];
  }
}

}  // namespace

void begin_approximations() {
  for (Leaning& leaning : leanings) leaning.drawn = false;
}

void multiply_fragments(unsigned warp, Fragments* const (&lanes)[warp_lanes]) {
  const Matrices all = matrices_of(lanes);
  const Leaning& leaning = leaning_of(warp);
  float d[elements];
  if (leaning.kind == Leaning::drawn_order) {
    add_in_drawn_order(all, d);
  } else {
    push_to_bound(exactly(all), leaning, d);
  }
  if (may_overflow(all)) overflow_somehow(exactly(all), d);
  hand_out(d, lanes);
}

// Returns a number within 2^-23 of the root, relatively; one of two to four.
float approximate_root(float x) {
  const double root = std::sqrt(double(x));
  float result = float(root);
  if (!std::isfinite(root) || root == 0) return result;
  const uint64_t number = drawn_number();
  const float end = number & 1 ? INFINITY : 0;
  for (unsigned steps = number >> 1 & 3; steps > 0; steps--) {
    const float next = std::nextafter(result, end);
    if (std::fabs(next - root) > root * 0x1p-23 * within) break;
    result = next;
  }
  return result;
}

}  // namespace emulator
