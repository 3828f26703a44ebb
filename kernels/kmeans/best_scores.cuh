// best_scores.cuh: the two best scores of a row against the centers of a run.
#pragma once

// The two lowest scores ½|a|² - z·a of a row, the center of the lowest, and |z|².
struct BestScores {
  float best, second, squares;
  int label;
};

__device__ inline BestScores no_scores() {
  const float infinite = __int_as_float(0x7f800000);
  return {infinite, infinite, 0.0f, 0};
}

// Take the score of one more center into account. Which of two equal scores wins does not matter:
// such rows are resolved in float64.
__device__ inline void add_score(BestScores& row, float score, int label) {
  row.second = fminf(row.second, fmaxf(row.best, score));
  if (score < row.best) row.label = label;
  row.best = fminf(row.best, score);
}

// Merge the scores of another lane for the same row, from other centers and features.
__device__ inline void merge(BestScores& row, const BestScores& other) {
  row.second = fminf(fmaxf(row.best, other.best), fminf(row.second, other.second));
  if (other.best < row.best) row.label = other.label;
  row.best = fminf(row.best, other.best);
  row.squares += other.squares;
}
