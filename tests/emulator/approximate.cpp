// Products of matrices on tensor cores, and roots. Results of a GPU are known only within a bound
// (kernels/common/mma.cuh). Here they are random within that bound and differ from run to run, so
// that a kernel that relies on more gives wrong results.
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

// The error of an element of D is at most `relative_bound` times the sum of the magnitudes of its
// terms, plus `absolute_bound` if that sum is not 0. From `overflow` on the element is arbitrary.
constexpr double relative_bound = 18 * 0x1p-23, absolute_bound = 0x1p-126, overflow = 0x1p127;

// Keeps clear of a bound by more than the rounding of these computations in float64.
constexpr double within = 1 - 0x1p-20;

// The operands of the lanes, as matrices.
struct Matrices {
  float a[rows][depth], b[depth][columns], c[rows][columns];
};

// D as it would be without rounding, and the sums of the magnitudes of its terms.
struct Exact {
  double value[elements], magnitude[elements];
};

// How the products of a warp deviate. Errors with random signs cancel out over many products. A
// kernel adds many products into one element, so that it must tolerate errors that keep their sign,
// and only these reveal a bound that is too small.
struct Bias {
  bool drawn;
  enum { drawn_order, steady, wavering } kind;
  bool up[elements];
};

Bias biases[1024 / warp_lanes];

void draw_signs(Bias& bias) {
  for (int half = 0; half < 2; half++) {
    const uint64_t bits = drawn_number();
    for (int i = 0; i < 64; i++) bias.up[64 * half + i] = bits >> i & 1;
  }
}

// A bias lasts for about sixty products.
Bias& bias_of(unsigned warp) {
  Bias& bias = biases[warp];
  if (!bias.drawn || drawn_number() % 64 == 0) {
    bias.drawn = true;
    bias.kind = decltype(bias.kind)(drawn_number() % 3);
    draw_signs(bias);
  } else if (bias.kind == Bias::wavering) {
    draw_signs(bias);
  }
  return bias;
}

// ---- The elements of each lane

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
    const Fragments& fragments = *lanes[lane];
    const unsigned group = lane / 4, pair = lane % 4 * 2;
    for (unsigned i = 0; i < 4; i++) {
      float* a = &all.a[group + i % 2 * 8][pair + i / 2 * 8];
      a[0] = lower(fragments.a[i]);
      a[1] = upper(fragments.a[i]);
      all.c[group + i / 2 * 8][pair + i % 2] = fragments.c[i];
    }
    for (unsigned i = 0; i < 2; i++) {
      all.b[pair + i * 8][group] = lower(fragments.b[i]);
      all.b[pair + i * 8 + 1][group] = upper(fragments.b[i]);
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
    // The compiler ignores rounding modes, but assumes that assembly may change memory.
    fesetround(directions[number % 4]);
    asm volatile("" : : "r"(&all), "r"(&d) : "memory");
    for_term(all, terms[left - 1], [&](int i, double term) { d[i] = float(d[i] + term); });
    asm volatile("" : : "r"(&d) : "memory");
  }
  fesetround(FE_TONEAREST);
}

// ---- The largest errors within the bound

Exact exactly(const Matrices& all) {
  Exact exact{};
  for (int term = 0; term <= depth; term++) {
    for_term(all, term, [&](int i, double next) {
      exact.value[i] += next;
      // Not for infinite terms and NaN, which give the same result in any order.
      exact.magnitude[i] += std::isfinite(next) ? std::fabs(next) : 0;
    });
  }
  return exact;
}

void push_to_bound(const Exact& exact, const Bias& bias, float (&d)[elements]) {
  fesetround(FE_DOWNWARD);  // what is to come out too large must not come out larger still
  asm volatile("" : : "r"(&exact), "r"(&d) : "memory");
  for (int i = 0; i < elements; i++) {
    const double size = exact.magnitude[i];
    const double error = size == 0 ? 0 : (size * relative_bound + absolute_bound) * within;
    const double sign = bias.up[i] ? 1 : -1;
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
  for (Bias& bias : biases) bias.drawn = false;
}

void multiply_fragments(unsigned warp, Fragments* const (&lanes)[warp_lanes]) {
  const Matrices all = matrices_of(lanes);
  const Bias& bias = bias_of(warp);
  float d[elements];
  if (bias.kind == Bias::drawn_order) {
    add_in_drawn_order(all, d);
  } else {
    push_to_bound(exactly(all), bias, d);
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
