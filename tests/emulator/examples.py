"""Correct kernels: one for each kind of intrinsic, and common patterns.

Each is a function with the name of its key, declared ``extern "C" __global__ void``.
"""

import shutil
from pathlib import Path

from emulator.launcher import KERNELS

HEADERS = ("common/async_copy.cuh", "common/mma.cuh")
"""Headers of the project's kernels that wrap asynchronous copies and tensor cores."""

INTRINSICS = {
    "shuffles": """(const int* x, const double* y, int by, int* out, double* wide) {
  const int t = threadIdx.x;
  out[4 * t + 0] = __shfl_sync(0xffffffff, x[t], by, WIDTH);
  out[4 * t + 1] = __shfl_up_sync(0xffffffff, x[t], by, WIDTH);
  out[4 * t + 2] = __shfl_down_sync(0xffffffff, x[t], by, WIDTH);
  out[4 * t + 3] = __shfl_xor_sync(0xffffffff, x[t], by, WIDTH);
  wide[t] = __shfl_down_sync(0xffffffff, y[t], by, WIDTH);
}""",
    "votes": """(const int* x, int* out) {
  const int t = threadIdx.x;
  const unsigned half = t & 16 ? 0xffff0000 : 0x0000ffff;
  int* mine = out + 12 * t;
  mine[0] = __ballot_sync(0xffffffff, x[t] & 1);
  mine[1] = __any_sync(half, x[t] > 90);
  mine[2] = __all_sync(half, x[t] < 90);
  mine[3] = __match_any_sync(0xffffffff, x[t] % 5);
  mine[4] = __reduce_add_sync(0xffffffff, x[t]);
  mine[5] = __reduce_min_sync(half, x[t] - 50);
  mine[6] = __reduce_max_sync(half, x[t] - 50);
  mine[7] = __reduce_min_sync(half, unsigned(x[t] - 50));
  mine[8] = __reduce_max_sync(half, unsigned(x[t] - 50));
  mine[9] = __syncthreads_count(x[t] & 2);
  mine[10] = __syncthreads_or(x[t] > 97);
  mine[11] = __syncthreads_and(x[t] >= 0);
}""",
    "atomics": """(const int* x, int* i, unsigned* u, unsigned long long* w, float* f, double* d,
                int n) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= n) return;
  const int v = x[t];
  atomicAdd(&i[0], v);
  atomicMin(&i[1], v);
  atomicMax(&i[2], v);
  atomicOr(&i[3], v);
  atomicAnd(&i[4], v);
  if (t == 7) atomicExch(&i[5], v);
  atomicAdd(&u[0], unsigned(v));
  atomicMin(&u[1], unsigned(v));
  atomicMax(&u[2], unsigned(v));
  atomicCAS(&u[3], 0u, 5u);
  atomicAdd(&w[0], (unsigned long long)v << 30);
  atomicMin(&w[1], (unsigned long long)v << 40);
  atomicMax(&w[2], (unsigned long long)v << 40);
  atomicMin(reinterpret_cast<long long*>(&w[3]), (long long)v);
  atomicMax(reinterpret_cast<long long*>(&w[4]), (long long)v);
  unsigned long long seen = 0, before;
  while ((before = atomicCAS(&w[5], seen, seen + 3)) != seen) seen = before;
  atomicAdd(f, float(v));
  atomicAdd(d, double(v));
}""",
    "rounding": """(const float* a, const float* b, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float* mine = out + 12 * i;
  mine[0] = __fadd_rn(a[i], b[i]);
  mine[1] = __fadd_rd(a[i], b[i]);
  mine[2] = __fadd_ru(a[i], b[i]);
  mine[3] = __fmul_rn(a[i], b[i]);
  mine[4] = __fmul_rd(a[i], b[i]);
  mine[5] = __fmul_ru(a[i], b[i]);
  mine[6] = __fsqrt_rn(fabsf(a[i]));
  mine[7] = __fsqrt_rd(fabsf(a[i]));
  mine[8] = __fsqrt_ru(fabsf(a[i]));
  mine[9] = __fadd_rn(__fmul_rn(a[i], b[i]), a[i]);
  mine[10] = __fsub_rn(a[i] * b[i], b[i]);
  mine[11] = __fmaf_rn(a[i], b[i], a[i]);
}""",
    "doubles": """(const double* a, const double* b, double* out, long long* integers, float* f,
                int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  double* mine = out + 9 * i;
  mine[0] = __dadd_rn(__dmul_rn(a[i], b[i]), a[i]);
  mine[1] = __dsub_rn(a[i] * b[i], b[i]);
  mine[2] = __ddiv_rn(a[i], b[i]);
  mine[3] = __dsqrt_rn(fabs(a[i]));
  mine[4] = min(a[i], b[i]);
  mine[5] = fmax(a[i], b[i]);
  mine[6] = rint(a[i]);
  mine[7] = __ll2double_rn(__double_as_longlong(a[i]));
  mine[8] = fma(a[i], b[i], a[i]);
  integers[i] = __double2ll_rn(a[i]);
  f[i] = __double2float_rn(a[i]);
}""",
    "bits": """(const unsigned long long* x, const unsigned long long* y, unsigned long long* out) {
  const int t = threadIdx.x;
  const unsigned low = unsigned(x[t]);
  unsigned long long* mine = out + 11 * t;
  mine[0] = __popc(low);
  mine[1] = __popcll(x[t]);
  mine[2] = __ffs(low);
  mine[3] = __ffsll(x[t]);
  mine[4] = __clz(low);
  mine[5] = __clzll(x[t]);
  mine[6] = __brev(low);
  mine[7] = __umulhi(low, unsigned(y[t]));
  mine[8] = __umul64hi(x[t], y[t]);
  mine[9] = __float_as_uint(__uint_as_float(low & 0x7f7fffff));
  mine[10] = __double_as_longlong(__longlong_as_double(x[t] & 0x7fefffffffffffff));
}""",
    "vectors": """(const float4* x, float4* y, const double2* p, double* q, const uchar4* c,
                int* d) {
  const int t = threadIdx.x;
  const float4 v = __ldcs(&x[t]);
  __stcs(&y[t], make_float4(v.w, v.z, v.y, v.x));
  const double2 pair = __ldg(p + t);
  __stcg(&q[t], pair.x * pair.y);
  const uchar4 bytes = __ldcg(c + t);
  d[t] = max(bytes.x, bytes.w) - min(int(bytes.y), 100);
}""",
}

PATTERNS = {
    "block_sum": """(const float* __restrict__ x, float* out, int n) {
  __shared__ float part[32];
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    sum += x[i];
  }
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) sum += __shfl_xor_sync(0xffffffff, sum, d);
  if (threadIdx.x % warpSize == 0) part[threadIdx.x / warpSize] = sum;
  __syncthreads();
  if (threadIdx.x >= warpSize) return;
  sum = threadIdx.x < (blockDim.x + 31) / 32 ? part[threadIdx.x] : 0;
  for (int d = 16; d > 0; d >>= 1) sum += __shfl_down_sync(0xffffffff, sum, d);
  if (threadIdx.x == 0) atomicAdd(out, sum);
}""",
    "warp_sum": """(const float* x, float* out) {
  __shared__ float a[128];
  const int t = threadIdx.x;
  a[t] = x[t];
  __syncwarp();
  for (int d = 16; d > 0; d /= 2) {
    if (t % 32 < d) a[t] += a[t + d];
    __syncwarp();
  }
  if (t % 32 == 0) out[t / 32] = a[t];
}""",
    "leave_early": """(const int* x, int* out, int n) {
  __shared__ int a[64];
  const int t = threadIdx.x;
  if (t >= n) return;
  a[t] = x[t];
  __syncthreads();
  out[t] = a[n - 1 - t];
}""",
    "compact": """(const float* x, float above, int* out, int* count, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
  const bool keep = i < n && x[i] > above;
  const unsigned kept = __ballot_sync(0xffffffff, keep);
  int base = 0;
  if (lane == 0) base = atomicAdd(count, __popc(kept));
  base = __shfl_sync(0xffffffff, base, 0);
  if (keep) out[base + __popc(kept & ((1u << lane) - 1))] = i;
}""",
    "histogram": """(const int* key, int* counts, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned here = __ballot_sync(0xffffffff, i < n);
  if (i >= n) return;
  const unsigned same = __match_any_sync(here, key[i]);
  const int found = __reduce_add_sync(same, 1);
  if (__ffs(same) - 1 == threadIdx.x % 32) atomicAdd(&counts[key[i]], found);
}""",
    "reverse": """(const unsigned char* x, unsigned char* out, float* scratch) {
  extern __shared__ __align__(16) unsigned char bytes[];
  const int t = threadIdx.x, last = blockDim.x - 1, base = blockIdx.x * blockDim.x;
  float* mine = scratch + base;
  for (int round = 0; round < 3; round++) {
    bytes[t] = x[base + t];
    mine[t] = t;
    __syncthreads();
    out[base + t] = bytes[last - t] + int(mine[last - t]);
    __syncthreads();
  }
}""",
    "structs": """(char first, const Values values, double* out) {
  const int t = threadIdx.x;
  out[t] = values.scale.factor * values.x[t] + values.scale.offset + first + values.last;
  if (values.none) out[t] = values.none[t];
}""",
    "gather": """(const float* const* tables, float** targets, const float* none, int* counts,
               int n) {
  struct Pair {
    int index;
    float value;
  };
  __shared__ Pair pairs[32];
  const int t = threadIdx.x;
  for (int table = 0; table < n; table++) {
    pairs[t] = {t, tables[table][t]};
    __syncwarp();
    const Pair other = pairs[t ^ 1];
    __syncwarp();
    targets[table][t] = other.value + other.index;
  }
  if (none) targets[n][t] = none[t];
}""",
}

STRUCTS = """struct Scale {
  float factor;
  double offset;
};

struct Values {
  const float* x;
  const int* none;
  Scale scale;
  int last;
};

"""
"""The first lines of the kernel that takes structs."""

WITH_HEADERS = {
    "stages": """(const float* x, float* out, int pieces) {
  const int floats = WIDTH / 4, t = threadIdx.x, piece = blockDim.x * floats;
  __shared__ __align__(16) float stage[3][96 * floats];
  for (int i = 0; i < 2; i++) {
    const int at = i * piece + t * floats;
    if (i < pieces) copy_async<WIDTH>(stage[i] + t * floats, x + at);
    commit_copies();
  }
  for (int i = 0; i < pieces; i++) {
    wait_for_copies<1>();
    __syncthreads();
    const int at = (i + 2) * piece + t * floats;
    if (i + 2 < pieces) copy_async<WIDTH>(stage[(i + 2) % 3] + t * floats, x + at);
    commit_copies();
    for (int f = t; f < piece; f += blockDim.x) out[i * piece + f] = stage[i % 3][piece - 1 - f];
  }
}""",
    "groups": """(const float* x, float* out) {
  __shared__ __align__(16) float all[256];
  const int t = threadIdx.x, other = t ^ 1;
  float *b = all + 32, *c = all + 96, *last = all + 224;
  copy_async<4>(all + t, x + t);
  commit_copies();
  copy_async<8>(b + 2 * t, x + 32 + 2 * t);
  commit_copies();
  commit_copies();
  copy_async<16>(c + 4 * t, x + 96 + 4 * t);
  commit_copies();
  copy_async<4>(last + t, x + 224 + t);
  wait_for_copies<2>();
  __syncwarp();
  out[t] = all[other];
  for (int i = 0; i < 2; i++) out[32 + 2 * t + i] = b[2 * other + i];
  wait_for_copies<0>();
  __syncwarp();
  for (int i = 0; i < 4; i++) out[96 + 4 * t + i] = c[4 * other + i];
  commit_copies();
  wait_for_copies<0>();
  out[224 + t] = last[t];
  copy_async<4>(last + t, x + t);  // a thread may end without having waited
}""",
    "changing_source": """(float* x, float* out) {
  __shared__ float a[64];
  const int t = threadIdx.x;
  copy_async<4>(a + t, x + t);
  commit_copies();
  x[t] = -1;
  wait_for_copies<0>();
  out[t] = a[t];
}""",
    "pairs": """(const float* low, const float* high, unsigned* pair, float* back, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  pair[i] = bf16_pair(low[i], high[i]);
  back[2 * i] = bf16_low(pair[i]);
  back[2 * i + 1] = bf16_high(pair[i]);
}""",
    "products": """(const unsigned* a, const unsigned* b, const float* c, float* d) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned mine[4] = {a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3]};
  const unsigned other[2] = {b[2 * i], b[2 * i + 1]};
  float sums[4] = {c[4 * i], c[4 * i + 1], c[4 * i + 2], c[4 * i + 3]};
  for (int round = 0; round < WIDTH; round++) mma_bf16(sums, mine, other, sums);
  for (int j = 0; j < 4; j++) d[4 * i + j] = sums[j];
}""",
    "roots": """(const float* x, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = approximate_sqrt(x[i]);
}""",
}


def source(name: str) -> str:
    """Return the file of a kernel."""
    body = {**INTRINSICS, **PATTERNS, **WITH_HEADERS}[name]
    first = STRUCTS if name == "structs" else includes(name in WITH_HEADERS)
    return f'{first}extern "C" __global__ void {name}{body}\n'


def includes(with_headers: bool) -> str:
    """Return the first lines of a kernel, which may include `HEADERS`."""
    return "".join(f'#include "{header}"\n' for header in HEADERS if with_headers)


def copy_headers(folder: Path) -> None:
    """Copy `HEADERS` into the folder of a kernel that includes them."""
    for header in HEADERS:
        target = folder / header
        target.parent.mkdir(exist_ok=True)
        shutil.copy(KERNELS / header, target)
