"""Plan launches: the layout of rows, features and centers in the shared memory of a block.

Nothing here touches a device; the sizes must agree with the layouts of the kernels
(``kernels/kmeans/lloyd.cu``, ``kernels/kmeans/assign.cu``, ``kernels/dbscan/tile_query.cuh``),
which the tests check by running them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from gpuseg.backends.cuda.full_pass_plans import forms
from gpuseg.backends.cuda.launcher import Kernel, Limits
from gpuseg.backends.cuda.shapes import GROUP, LABEL_BYTES, THREADS, sums_bytes
from gpuseg.errors import ResourceError, set_key
from gpuseg.numerics.distance_metrics import MAXIMUM

SIMPLE_THREADS = 256
"""Threads per block of a kernel without shared memory."""

SIMPLE_KERNELS = (
    "distances",
    "summarize",
    "digest",
    "histogram",
    "bin_rows",
    "count_bins",
    "to_float32",
    "decode_column",
    "prepare",
    "normalize",
    "project",
    "gram",
    "power_sums",
    "distance_sums",
)
_SIMPLE_BLOCKS = 16
"""Blocks of those kernels per multiprocessor."""

TILE_THREADS, TILE_ROWS = 64, 64
"""Threads per block of DBSCAN's kernels, and rows per tile: TILE in
``kernels/dbscan/tile_query.cuh``."""

TILE_KERNELS = ("core_counts", "connect_core_in_tiles", "connect_core", "border_assignment", "knn")

SCAN_ROWS = THREADS * 8 * 2
"""Rows of slack that a block reads at once: SCAN in ``kernels/kmeans/lloyd.cu``."""

MAX_SCANS = 2**10
"""Maximum scans per chunk: rows of a chunk are counted in 32 bits."""

_CHUNKS_PER_BLOCK = 8
"""Chunks per block of a late pass, so that blocks with many rows to score do not lag."""

_TILE_BYTES = 40 * 1024
_PANEL_BYTES = 32 * 1024
_BLOCKS_PER_MULTIPROCESSOR = 4
"""BLOCKS in ``kernels/kmeans/score_tile.cuh``: with 128 registers a thread, no more of them fit."""


@dataclass(frozen=True)
class Tiling:
    """The layout of rows and centers in a block.

    Attributes
    ----------
    rows : int
        Rows per thread.
    vector : int
        Features per load.
    features : int
        Features per row that the tile holds at a time.
    resident : bool
        Whether all centers stay in shared memory.
    bytes : int
        Shared memory of rows and centers.
    """

    rows: int
    vector: int
    features: int
    resident: bool
    bytes: int

    @property
    def tile(self) -> int:
        """Rows per tile."""
        return THREADS * self.rows


@dataclass(frozen=True)
class Launch:
    """The launch of a kernel on tiles of rows.

    Attributes
    ----------
    kernel : Kernel
    blocks : int
    shared_bytes : int
    tiling : Tiling
    rows_per_chunk : int
        Rows that a block takes at a time.
    private : bool
        Whether each block has its sums or counts in shared memory.
    """

    kernel: Kernel
    blocks: int
    shared_bytes: int
    tiling: Tiling
    rows_per_chunk: int
    private: bool


def tile_rows(n_features: int, n_groups: int, aligned: bool, limits: Limits) -> Tiling:
    """Lay out rows of `n_features` features against `n_groups` groups of centers.

    Parameters
    ----------
    aligned : bool
        Whether the address of x is a multiple of 16 bytes.
    """
    column = 4 * THREADS  # bytes of a feature, for one row per thread
    max_bytes = min(_TILE_BYTES, limits.shared_bytes // 2)
    rows = next((r for r in (4, 2) if column * r * n_features <= max_bytes), 1)
    features = n_features
    if column * rows * features > limits.shared_bytes // 2:
        features = max_bytes // column // 4 * 4
    vector = 4 if aligned and n_features % 4 == 0 else 1
    panel = 4 * GROUP * n_features * n_groups
    resident = panel <= min(_PANEL_BYTES, limits.shared_bytes // 4)
    if not resident:
        panel = 4 * GROUP * features
    return Tiling(rows, vector, features, resident, column * rows * features + panel)


@lru_cache(1024)
def plan_lloyd(
    n_rows: int,
    n_features: int,
    n_groups: int,
    n_centers: int,
    label_bytes: int,
    aligned: bool,
    limits: Limits,
) -> Launch:
    """Plan a Lloyd pass that scores few rows.

    Each block has its sums in shared memory where they take no more of it than the tile.

    Parameters
    ----------
    n_groups, n_centers : int
        Totals of all runs.
    """
    tiling = tile_rows(n_features, n_groups, aligned, limits)
    n_bytes = tiling.bytes + 4 * (SCAN_ROWS + 4 * tiling.tile)
    sums = sums_bytes(n_centers, n_features)
    private = sums <= min(tiling.bytes, limits.shared_bytes - n_bytes)
    if private:
        n_bytes += sums
    shape = {"ROWS": tiling.rows, "VECTOR": tiling.vector, "LABEL_BYTES": label_bytes}
    max_blocks = _max_blocks(n_bytes, limits)
    scans = -(-n_rows // (SCAN_ROWS * max_blocks * _CHUNKS_PER_BLOCK))
    chunk = min(max(scans, 1), MAX_SCANS) * SCAN_ROWS
    blocks = min(-(-n_rows // chunk), max_blocks)
    return Launch(Kernel("lloyd", THREADS, shape), blocks, n_bytes, tiling, chunk, private)


@lru_cache(1024)
def plan_assign(
    n_rows: int, n_features: int, n_centers: int, aligned: bool, limits: Limits
) -> Launch:
    """Plan an assignment."""
    tiling = tile_rows(n_features, -(-n_centers // GROUP), aligned, limits)
    n_bytes = tiling.bytes + 4 * tiling.tile
    private = n_bytes + 4 * n_centers <= limits.shared_bytes
    if private:
        n_bytes += 4 * n_centers
    shape = {"ROWS": tiling.rows, "VECTOR": tiling.vector}
    blocks = min(-(-n_rows // tiling.tile), _max_blocks(n_bytes, limits))
    return Launch(Kernel("assign", THREADS, shape), blocks, n_bytes, tiling, tiling.tile, private)


def plan_simple(name: str, n_threads: int, limits: Limits) -> tuple[Kernel, int]:
    """Return a kernel without shared memory, and how many blocks to launch.

    Parameters
    ----------
    n_threads : int
        Threads for one item per thread; fewer are started, and take several items.
    """
    max_blocks = _SIMPLE_BLOCKS * limits.multiprocessors
    return Kernel(name, SIMPLE_THREADS), min(max(-(-n_threads // SIMPLE_THREADS), 1), max_blocks)


@dataclass(frozen=True)
class TileLaunch:
    """The launch of a kernel of DBSCAN; a warp takes a tile at a time.

    Attributes
    ----------
    kernel : Kernel
    blocks : int
    shared_bytes : int
    """

    kernel: Kernel
    blocks: int
    shared_bytes: int


def plan_tiles(
    name: str, n_tiles: int, n_features: int, shape: Mapping[str, int], limits: Limits
) -> TileLaunch:
    """Plan a kernel of DBSCAN; each warp has its tile, and a limit per row, in shared memory.

    Raises
    ------
    ResourceError
        For more features than fit.
    """
    warps = TILE_THREADS // 32
    n_bytes = 4 * warps * TILE_ROWS * (n_features + 1)
    if n_bytes > limits.shared_bytes:
        max_features = limits.shared_bytes // (4 * warps * TILE_ROWS) - 1
        raise ResourceError(
            "features.too_many_for_gpu",
            f"DBSCAN on {limits.name} cannot use {n_features} features",
            rule=f"must be at most {max_features}",
            hint=f"select fewer features (`features`), or {set_key('backend', 'numba')}",
            parameter="features",
        )
    fitting = min(limits.shared_bytes_per_multiprocessor // (n_bytes + 1024), _SIMPLE_BLOCKS)
    blocks = min(-(-n_tiles // warps), limits.multiprocessors * max(fitting, 1))
    return TileLaunch(Kernel(name, TILE_THREADS, shape), blocks, n_bytes)


def variants() -> list[Kernel]:
    """Return every kernel that a plan may launch."""
    tiles = [
        Kernel(name, TILE_THREADS, {"POWER": power, "WIDE": wide})
        for name in TILE_KERNELS
        for power in (MAXIMUM, 1, 2)
        for wide in (0, 1)
    ]
    shapes = [{"ROWS": rows, "VECTOR": vector} for rows in (1, 2, 4) for vector in (1, 4)]
    lloyd = [
        Kernel("lloyd", THREADS, {**shape, "LABEL_BYTES": label_bytes})
        for shape in shapes
        for label_bytes in LABEL_BYTES
    ]
    assign = [Kernel("assign", THREADS, shape) for shape in shapes]
    simple = [Kernel(name, SIMPLE_THREADS) for name in SIMPLE_KERNELS]
    return [*forms(), *lloyd, *assign, *tiles, *simple]


def _max_blocks(shared_bytes: int, limits: Limits) -> int:
    """Return the number of blocks that the device runs at once."""
    fitting = limits.shared_bytes_per_multiprocessor // (shared_bytes + 1024)
    return limits.multiprocessors * max(1, min(fitting, _BLOCKS_PER_MULTIPROCESSOR))
