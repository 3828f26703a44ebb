// scored.cuh: what is found out about a row that is scored against the centres of a run.
#pragma once

// The two least scores ½|a|² - z·a of a row, the centre that has the least, and |z|².
struct Scored {
  float best, second, squares;
  int label;
};

__device__ inline Scored nothing_scored() {
  const float infinite = __int_as_float(0x7f800000);
  return {infinite, infinite, 0.0f, 0};
}

// Take in the score of one more centre. Of equal scores it does not matter which one wins: those
// rows are settled in float64.
__device__ inline void take(Scored& row, float score, int label) {
  row.second = fminf(row.second, fmaxf(row.best, score));
  if (score < row.best) row.label = label;
  row.best = fminf(row.best, score);
}

// Take in what another lane found out about the same row, from other centres and features.
__device__ inline void merge(Scored& row, const Scored& other) {
  row.second = fminf(fmaxf(row.best, other.best), fminf(row.second, other.second));
  if (other.best < row.best) row.label = other.label;
  row.best = fminf(row.best, other.best);
  row.squares += other.squares;
}
