// sort_keys.cuh: whole numbers that are ordered as float32 values (gpuseg/numerics/sort_keys.py).
#pragma once

// The bits of a value; those of negative values are inverted.
__device__ inline unsigned sort_key(float value) {
  unsigned bits = __float_as_uint(value);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
