// splitmix.cuh: a hash of 64 bits (gpuseg/numerics/hashing.py).
#pragma once

// The finaliser of SplitMix64, a bijection (Steele, Lea and Flood, OOPSLA 2014).
__device__ inline unsigned long long splitmix64(unsigned long long value) {
  unsigned long long z = value + 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
