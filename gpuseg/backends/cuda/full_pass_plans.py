"""Plan a Lloyd pass over all rows: its instructions, and the shared memory of a block.

The sizes must agree with the layout of ``kernels/kmeans/lloyd_full.cu``, which the tests check by
running it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from gpuseg.backends.cuda.launcher import Kernel, Limits
from gpuseg.backends.cuda.shapes import GROUP, LABEL_BYTES, THREADS, sums_bytes

PROBE_BLOCKS, PROBE_THREADS = 256, 256
"""The sample of slack: each block reads as many consecutive rows as it has threads."""

_WARPS = THREADS // 32
_STAGES = 2
_RUN_BYTES = 64
_RESERVED_BYTES = 1024
"""Shared memory per block that the device reserves."""

_TENSOR_CORES = 80
"""The first compute capability with ``mma.sync`` for bfloat16 and asynchronous copies."""

_MAX_STEPS = 4
"""Maximum steps of 16 features: the registers of a lane, see ``kernels/kmeans/score_mma.cuh``."""


@dataclass(frozen=True)
class FullLaunch:
    """The launch of a pass over all rows.

    Attributes
    ----------
    kernel : Kernel
    blocks, shared_bytes : int
    width : int
        Floats copied at once.
    private : bool
        Whether each block has its sums in shared memory.
    """

    kernel: Kernel
    blocks: int
    shared_bytes: int
    width: int
    private: bool


@dataclass(frozen=True)
class _Form:
    """One way to score: macros of the kernel, its resources, and its cost per row.

    Attributes
    ----------
    macros : dict
    rows : int
        Rows of a warp's tile.
    floats : int
        float32 values of shared memory.
    blocks : int
        Blocks per multiprocessor that the registers allow.
    instructions : int
        Approximate instructions per thread and row (``benchmarks/instructions.py`` counts them).
    """

    macros: dict[str, int]
    rows: int
    floats: int
    blocks: int
    instructions: int


@lru_cache(1024)
def plan_full(
    n_rows: int,
    n_features: int,
    ks: Sequence[int],
    label_bytes: int,
    fresh: bool,
    alignment: int,
    limits: Limits,
) -> FullLaunch | None:
    """Plan a Lloyd pass over all rows; None where tiles or centers do not fit a block.

    Each block has its sums in shared memory where as many blocks run at once as without, or two
    of them; in a first pass, when every row is added, wherever they fit.

    Parameters
    ----------
    ks : tuple of int
        Centers of each run.
    alignment : int
        Alignment of x in bytes: 16, 8 or 4.
    """
    width = next(w for w in (4, 2, 1) if n_features % w == 0 and 4 * w <= alignment)
    best: tuple[int, FullLaunch] | None = None
    for form in _possible(n_features, sum(-(-k // GROUP) for k in ks), width, limits):
        n_bytes = 4 * (form.floats + sum(ks)) + _RUN_BYTES * len(ks)
        n_fitting = _fitting(n_bytes, form, limits)
        if not n_fitting:
            continue
        with_sums = n_bytes + sums_bytes(sum(ks), n_features)
        n_fitting_with = _fitting(with_sums, form, limits)
        private = n_fitting_with >= (1 if fresh else min(n_fitting, 2))
        kernel = Kernel("lloyd_full", THREADS, {**form.macros, "LABEL_BYTES": label_bytes})
        tiles = -(-n_rows // (form.rows * _WARPS))
        max_blocks = limits.multiprocessors * (n_fitting_with if private else n_fitting)
        launch = FullLaunch(
            kernel, min(tiles, max_blocks), with_sums if private else n_bytes, width, private
        )
        if best is None or form.instructions < best[0]:
            best = form.instructions, launch
    return None if best is None else best[1]


def _possible(d: int, groups: int, width: int, limits: Limits) -> list[_Form]:
    """Return the forms that can score `groups` groups of centers."""
    pitch = (d // width | 1) * width
    tiles = _WARPS * _STAGES * 64 * pitch
    floats = tiles + GROUP * groups * (d + 1) + -(-d // 4) * 4
    cost = groups * (10 * d + 56) + d + 160
    forms = [_Form({"VECTOR": width}, 64, floats, 4, cost)]
    steps = -(-d // 16)
    if limits.capability >= _TENSOR_CORES and steps <= _MAX_STEPS:
        tiles = _WARPS * _STAGES * 32 * (16 * steps + 8)
        floats = tiles + groups * (128 * steps + 16) + 16 * steps
        cost = groups * (50 + 7 * steps) + 92 * steps + 260
        forms.append(_Form({"KSTEPS": steps}, 32, floats, {1: 4, 2: 3}.get(steps, 2), cost))
    return forms


def _fitting(shared_bytes: int, form: _Form, limits: Limits) -> int:
    """Return the number of blocks that a multiprocessor runs at once."""
    if shared_bytes > limits.shared_bytes:
        return 0
    fitting = limits.shared_bytes_per_multiprocessor // (shared_bytes + _RESERVED_BYTES)
    return min(max(fitting, 1), form.blocks)


def forms() -> list[Kernel]:
    """Return every kernel that a plan of this module may launch, and the probe before it."""
    scores = [*({"VECTOR": v} for v in (4, 2, 1)), *({"KSTEPS": s} for s in (1, 2, 3, 4))]
    full = [
        Kernel("lloyd_full", THREADS, {**score, "LABEL_BYTES": label_bytes})
        for score in scores
        for label_bytes in LABEL_BYTES
    ]
    return [*full, *(probe(label_bytes) for label_bytes in LABEL_BYTES)]


def probe(label_bytes: int) -> Kernel:
    """Return the kernel that reads a sample of slack."""
    return Kernel("lloyd_probe", PROBE_THREADS, {"LABEL_BYTES": label_bytes})
