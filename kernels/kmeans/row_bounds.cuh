// row_bounds.cuh: the label and the slack of a row, kept between passes in 3 or 6 bytes.
//
// A label takes one byte where its run has up to 256 centers, else four. Slack is the upper half
// of a float32: rounded down, so that it is still a lower bound. It is used only where it is above
// a drift, which is not negative; so values that are not positive are stored as 0.
#pragma once

#if LABEL_BYTES == 1
typedef unsigned char Label;
#else
typedef int Label;
#endif
typedef unsigned short Slack;

// The half of a float32 >= 0 that slack is compared with. With b the bits of a drift and s a
// slack: s·2^16 > b exactly if s > b / 2^16, rounded down.
__device__ inline unsigned upper_half(float value) { return __float_as_uint(value) >> 16; }

// The slack of a row that was just scored: its gap (certificate.cuh) plus the drift of its label,
// rounded down.
__device__ inline Slack slack_of(float gap, float drift) {
  const float rounding = 4.7683716e-7f;  // 2^-21: both terms are rounded, and so was drift
  float slack = gap + drift - rounding * (fabsf(gap) + drift);
  return slack > 0.0f ? (Slack)upper_half(slack) : (Slack)0;
}
