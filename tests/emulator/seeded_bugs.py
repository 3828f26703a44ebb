"""Kernels with one error each, and the report that check mode must give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emulator.examples import copy_headers, includes

HEAD = """extern "C" __global__ void seeded(const float* x, float* y, int* z, int n) {
  extern __shared__ __align__(16) unsigned char shared[];
  const int t = threadIdx.x;
"""
"""The first lines of all kernels. There are 64 threads; x, y and z have 64 elements; n is 64."""


@dataclass(frozen=True)
class SeededBug:
    """A kernel with an error.

    Attributes
    ----------
    kind : str
        The kind of the expected report.
    body : str
        The kernel after `HEAD`; each line that a report may name has the comment ``HERE``.
    shared_bytes : int
        Dynamic shared memory.
    blocks : int
    """

    kind: str
    body: str
    shared_bytes: int = 256
    blocks: int = 1

    @property
    def source(self) -> str:
        """The text of the file."""
        first = includes("copy_async" in self.body or "mma_bf16" in self.body)
        return f"{first}{HEAD}{self.body.strip(chr(10))}\n}}\n"

    def write(self, folder: Path) -> Path:
        """Write the file and the headers that it may include; return its path."""
        copy_headers(folder)
        path = folder / "seeded.cu"
        path.write_text(self.source)
        return path

    @property
    def lines(self) -> set[int]:
        """The lines that a report may name."""
        lines = enumerate(self.source.split("\n"), 1)
        return {number for number, line in lines if "HERE" in line}


RACES = {
    "barrier missing": SeededBug(
        "race",
        """
  __shared__ float a[64];
  a[t] = x[t];  // HERE
  y[t] = a[63 - t];  // HERE
""",
    ),
    "barrier missing before shared memory is used again": SeededBug(
        "race",
        """
  __shared__ float a[64];
  for (int i = 0; i < 2; i++) {
    a[t] = x[t];  // HERE
    __syncthreads();
    y[t] += a[63 - t];  // HERE
  }
""",
    ),
    "syncwarp missing": SeededBug(
        "race",
        """
  __shared__ float a[64];
  a[t] = x[t];
  __syncwarp();
  for (int d = 16; d > 0; d /= 2) {
    const float other = a[t ^ d];  // HERE
    a[t] += other;  // HERE
    __syncwarp();
  }
  y[t] = a[t];
""",
    ),
    "syncwarp where a barrier is due": SeededBug(
        "race",
        """
  __shared__ float a[64];
  a[t] = x[t];  // HERE
  __syncwarp();
  y[t] = a[63 - t];  // HERE
""",
    ),
    "syncwarp of one half": SeededBug(
        "race",
        """
  __shared__ float a[64];
  a[t] = x[t];  // HERE
  __syncwarp(t & 16 ? 0xffff0000 : 0x0000ffff);
  y[t] = a[t ^ 16];  // HERE
""",
    ),
    "a shuffle orders nothing": SeededBug(
        "race",
        """
  __shared__ float a[64];
  a[t] = x[t];  // HERE
  const float other = __shfl_xor_sync(0xffffffff, a[t], 1);
  y[t] = a[t ^ 1] + other;  // HERE
""",
    ),
    "plain sum in shared memory": SeededBug(
        "race",
        """
  __shared__ int count;
  if (t == 0) count = 0;
  __syncthreads();
  count += 1;  // HERE
  __syncthreads();
  z[t] = count;
""",
    ),
    "plain sum of two blocks": SeededBug("race", "  if (t == 0) y[0] += 1;  // HERE", blocks=2),
    "one block reads what another writes": SeededBug(
        "race",
        """
  if (blockIdx.x == 0) y[t] = 1;  // HERE
  if (blockIdx.x == 1) z[t] = y[t] > 0;  // HERE
""",
        blocks=2,
    ),
    "plain read beside atomic operations": SeededBug(
        "race",
        """
  atomicAdd(&z[0], 1);  // HERE
  y[t] = z[0];  // HERE
""",
    ),
    "neighbors in one word": SeededBug(
        "race",
        """
  unsigned char* bytes = shared;
  bytes[t] = 1;  // HERE
  bytes[(t + 1) % 64] = 2;  // HERE
""",
    ),
}

MEMORY = {
    "off by one": SeededBug("out of bounds", "  y[t] = x[t + 1];  // HERE"),
    "before the start": SeededBug("out of bounds", "  y[t - 1] = x[t];  // HERE"),
    "load by an intrinsic": SeededBug("out of bounds", "  y[t] = __ldg(&x[t + n]);  // HERE"),
    "atomic operation": SeededBug("out of bounds", "  atomicAdd(&y[t + n], 1.0f);  // HERE"),
    "too little dynamic shared memory": SeededBug(
        "out of bounds",
        """
  float* a = reinterpret_cast<float*>(shared);
  a[t] = x[t];  // HERE
""",
        shared_bytes=252,
    ),
    "into the next shared array": SeededBug(
        "out of bounds",
        """
  __shared__ float a[64];
  __shared__ float b[64];
  b[t] = 0;
  a[t + 1] = x[t];  // HERE
  __syncthreads();
  y[t] = a[t] + b[t];
""",
    ),
    "local array": SeededBug(
        "out of bounds",
        """
  float local[4] = {x[t], 1, 2, 3};
  y[t] = local[n / 16];  // HERE
""",
    ),
    "shared memory never written": SeededBug(
        "uninitialized",
        """
  __shared__ float a[64];
  if (t) a[t] = x[t];
  __syncthreads();
  y[t] = a[t];  // HERE
""",
    ),
    "shared memory of the block before": SeededBug(
        "uninitialized",
        """
  if (blockIdx.x == 1) z[t] = shared[t];  // HERE
  shared[t] = 0;
""",
        blocks=3,
    ),
    "atomic sum from nowhere": SeededBug("uninitialized", "  atomicAdd((int*)shared, 1);  // HERE"),
    "misaligned load": SeededBug(
        "misaligned",
        """
  if (t < 8) y[t] = reinterpret_cast<const float4*>(x + 1)[t].x;  // HERE
""",
    ),
    "misaligned store": SeededBug(
        "misaligned",
        """
  if (t == 0) *reinterpret_cast<float2*>(y + 3) = make_float2(1, 2);  // HERE
""",
    ),
    "misaligned atomic operation": SeededBug(
        "misaligned", "  atomicAdd(reinterpret_cast<double*>(y + 1), 1.0);  // HERE"
    ),
    "write to const": SeededBug("write to const", "  const_cast<float*>(x)[t] = 0;  // HERE"),
    "atomic operation on const": SeededBug(
        "write to const", "  atomicAdd(const_cast<float*>(x), 1.0f);  // HERE"
    ),
    "variable of another thread": SeededBug(
        "foreign variable",
        """
  __shared__ int* address;
  int mine = t;
  if (t == 0) address = &mine;
  __syncthreads();
  z[t] = *address;  // HERE
  __syncthreads();
""",
    ),
}

TOGETHER = {
    "divergent shuffle": SeededBug(
        "deadlock",
        """
  float v = x[t];
  if (t & 1) v = __shfl_xor_sync(0xffffffff, v, 1);  // HERE
  __syncthreads();  // HERE
  y[t] = v;
""",
    ),
    "barrier and vote": SeededBug(
        "deadlock",
        """
  if (t == 40) __syncthreads();  // HERE
  z[t] = __any_sync(0xffffffff, t == 3);  // HERE
""",
    ),
    "divergent barrier": SeededBug(
        "divergent barrier",
        """
  if (t < 40) {
    __syncthreads();  // HERE
  } else {
    __syncthreads();  // HERE
  }
  y[t] = x[t];
""",
    ),
    "lane not in its mask": SeededBug(
        "not in mask", "  z[t] = __ballot_sync(0x0000ffff, t & 1);  // HERE"
    ),
    "source takes no part": SeededBug(
        "absent lane",
        """
  if (t < 16) y[t] = __shfl_sync(0x0000ffff, x[t], 20);  // HERE
""",
    ),
    "source has ended": SeededBug(
        "absent lane",
        """
  if (t % 32 == 5) return;
  y[t] = __shfl_sync(0xffffffff, x[t], 5);  // HERE
""",
    ),
    "vote and shuffle": SeededBug(
        "mixed intrinsics",
        """
  if (t & 1) {
    z[t] = __ballot_sync(0xffffffff, 1);  // HERE
  } else {
    z[t] = __shfl_sync(0xffffffff, t, 0);  // HERE
  }
""",
    ),
    "divergent product": SeededBug(
        "deadlock",
        """
  const unsigned a[4] = {}, b[2] = {};
  float d[4] = {x[t]};
  if (t & 1) mma_bf16(d, a, b, d);  // HERE
  __syncthreads();  // HERE
  y[t] = d[0];
""",
    ),
    "product without a lane that has ended": SeededBug(
        "absent lane",
        """
  const unsigned a[4] = {}, b[2] = {};
  float d[4] = {x[t]};
  if (t == 40) return;
  mma_bf16(d, a, b, d);  // HERE
  y[t] = d[0];
""",
    ),
    "product and vote": SeededBug(
        "mixed intrinsics",
        """
  const unsigned a[4] = {}, b[2] = {};
  float d[4] = {x[t]};
  if (t & 1) {
    mma_bf16(d, a, b, d);  // HERE
  } else {
    d[0] = __any_sync(0xffffffff, t == 2);  // HERE
  }
  y[t] = d[0];
""",
    ),
    "width of a shuffle": SeededBug(
        "bad width", "  y[t] = __shfl_down_sync(0xffffffff, x[t], 1, 24);  // HERE"
    ),
}

COPIES = {
    "wait left out": SeededBug(
        "uninitialized",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, x + t);
  commit_copies();
  __syncthreads();
  y[t] = a[63 - t];  // HERE
""",
    ),
    "a barrier in place of the wait": SeededBug(
        "uninitialized",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, x + t);
  commit_copies();
  __syncthreads();
  y[t] = a[t];  // HERE
  wait_for_copies<0>();
""",
    ),
    "wait for one group too few": SeededBug(
        "uninitialized",
        """
  __shared__ float a[64], b[64];
  copy_async<4>(a + t, x + t);
  commit_copies();
  copy_async<4>(b + t, x + t);
  commit_copies();
  wait_for_copies<1>();
  __syncthreads();
  y[t] = a[63 - t];
  y[t] += b[63 - t];  // HERE
""",
    ),
    "group not closed": SeededBug(
        "uninitialized",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, x + t);
  wait_for_copies<0>();
  y[t] = a[t];  // HERE
""",
    ),
    "thread that copies has ended": SeededBug(
        "uninitialized",
        """
  float* a = reinterpret_cast<float*>(shared);
  if (t < 32) {
    copy_async<4>(a + t, x + t);
    commit_copies();
    return;
  }
  __syncthreads();
  y[t] = a[t - 32];  // HERE
""",
    ),
    "no barrier after the wait": SeededBug(
        "race",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, x + t);  // HERE
  commit_copies();
  wait_for_copies<0>();
  y[t] = a[63 - t];  // HERE
""",
    ),
    "no syncwarp after the wait": SeededBug(
        "race",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, x + t);  // HERE
  commit_copies();
  wait_for_copies<0>();
  y[t] = a[t ^ 1];  // HERE
""",
    ),
    "syncwarp before the wait": SeededBug(
        "race",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, x + t);  // HERE
  commit_copies();
  __syncwarp();
  wait_for_copies<0>();
  y[t] = a[t ^ 1];  // HERE
""",
    ),
    "stage overwritten while others read it": SeededBug(
        "race",
        """
  __shared__ float stage[2][64];
  copy_async<4>(stage[0] + t, x + t);
  commit_copies();
  for (int i = 0; i < 3; i++) {
    copy_async<4>(stage[(i + 1) % 2] + t, x + t);  // HERE
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    y[t] += stage[i % 2][63 - t];  // HERE
  }
""",
    ),
    "source changed under way": SeededBug(
        "race",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, y + t);  // HERE
  commit_copies();
  y[t] = 1;
  wait_for_copies<0>();
""",
    ),
    "target changed under way": SeededBug(
        "race",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, x + t);  // HERE
  commit_copies();
  a[t] = 0;
  wait_for_copies<0>();
""",
    ),
    "two copies to one target": SeededBug(
        "race",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, x + t);  // HERE
  copy_async<4>(a + t, x + 63 - t);  // HERE
  commit_copies();
  wait_for_copies<0>();
""",
    ),
    "misaligned source": SeededBug(
        "misaligned",
        """
  float* a = reinterpret_cast<float*>(shared);
  if (t < 15) copy_async<16>(a + 4 * t, x + 4 * t + 2);  // HERE
""",
    ),
    "misaligned target": SeededBug(
        "misaligned",
        """
  float* a = reinterpret_cast<float*>(shared);
  if (t < 31) copy_async<8>(a + 2 * t + 1, x + 2 * t);  // HERE
""",
    ),
    "source out of bounds": SeededBug(
        "out of bounds",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, x + t + 1);  // HERE
""",
    ),
    "target out of bounds": SeededBug(
        "out of bounds",
        """
  float* a = reinterpret_cast<float*>(shared);
  copy_async<4>(a + t, x + t);  // HERE
""",
        shared_bytes=252,
    ),
    "source in shared memory": SeededBug(
        "wrong memory",
        """
  float* a = reinterpret_cast<float*>(shared);
  __shared__ float b[64];
  a[t] = x[t];
  copy_async<4>(b + t, a + t);  // HERE
""",
    ),
    "target in global memory": SeededBug("wrong memory", "  copy_async<4>(y + t, x + t);  // HERE"),
    "target a variable": SeededBug(
        "wrong memory",
        """
  float mine[1];
  copy_async<4>(mine, x + t);  // HERE
  commit_copies();
  wait_for_copies<0>();
  y[t] = mine[0];
""",
    ),
    "size": SeededBug(
        "bad size",
        """
  float* a = reinterpret_cast<float*>(shared);
  if (t == 0) __pipeline_memcpy_async(a, x, 12);  // HERE
  if (n < 0) copy_async<4>(a, x);
""",
    ),
}

ARITHMETIC = {
    "sum": SeededBug("overflow", "  z[t] = n + (0x7fffffff - 64 + t);  // HERE"),
    "difference": SeededBug("overflow", "  z[t] = -n - (0x7fffffff - t);  // HERE"),
    "product": SeededBug("overflow", "  z[t] = n * (t << 25);  // HERE"),
    "shift": SeededBug("shift", "  z[t] = 1 << n;  // HERE"),
    "division": SeededBug("division", "  z[t] = n / t;  // HERE"),
}

ALL = {**RACES, **MEMORY, **COPIES, **TOGETHER, **ARITHMETIC}
