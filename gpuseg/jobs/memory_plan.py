"""Plan the memory of the workers: rows in memory if they fit, otherwise on their disks."""

from dataclasses import dataclass

import psutil

from gpuseg.errors import ResourceError
from gpuseg.formatting import count
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.runtime.cluster import ClusterSpec
from gpuseg.segmentation.base import MemoryNeeds

PROCESS_BYTES = 350 * 2**20
"""A worker with NumPy, Numba, Arrow and Dask loaded, and its compiled kernels."""

_WORK_BYTES_PER_THREAD = 32 * 2**20
"""Batches while they are decoded, blocks while they are assigned, parts while they are written."""

ID_BYTES = 24
"""An id while ids are compared: its hash, its position in sorted order, and the sorted copy."""

_RESULT_BYTES = 8
"""Results of a row: int32 label and float32 distance; before, the bounds of a run take them."""

_VALUE_BYTES = 4
"""A float32 value."""

_KEPT_FLAG_BYTES = 1
"""Whether a row on disk is kept."""

_MAX_ID_TURNS = 16

_USABLE = 0.9
"""Share of a limit that a plan may use: Dask ends a worker at 95 % of it."""


@dataclass(frozen=True)
class MemoryPlan:
    """How workers hold their rows.

    Attributes
    ----------
    mode : {"resident", "spilled", "streamed"}
        In memory, on the scratch disk, or, where that has no room, decoded in every pass.
    reason : str
    peak_bytes : int
        Memory of the largest worker at its peak.
    bounds_bytes : int
        Memory of a worker, beyond that of its rows, for bounds that save distances.
    id_turns : int
        Number of turns in which ids are compared, to save memory.
    """

    mode: str
    reason: str
    peak_bytes: int
    bounds_bytes: int
    id_turns: int


@dataclass(frozen=True)
class Limit:
    """Memory that a worker may take, and in words where that number comes from."""

    usable: int
    text: str


def row_values(n_columns: int, has_weight: bool) -> int:
    """Return the float32 values of a row; a weight is a float64."""
    return n_columns + 2 * has_weight


def plan_memory(
    dataset: Dataset,
    cluster: ClusterSpec,
    n_workers: int,
    needs: MemoryNeeds | None = None,
    n_columns: int | None = None,
    n_extra_columns: int = 0,
    title: str = "the algorithm",
    previous_bytes: int = 0,
) -> MemoryPlan:
    """Choose whether rows are held in memory or on disk.

    Parameters
    ----------
    needs : MemoryNeeds, optional
        Memory of the algorithm; that of k-means by default.
    n_columns : int, optional
        Columns of a preprocessed row; by default those of the dataset.
    n_extra_columns : int
        Output columns in addition to label and distance.
    title : str
        Name of the algorithm in texts.
    previous_bytes : int
        Of a row, for its segments by an older model.

    Raises
    ------
    ResourceError
        If the rows fit in no way; it says what would help.
    """
    needs = needs or MemoryNeeds()
    rows = max(plan.rows for plan in dataset.plan_shards(n_workers, drop_missing=False))
    limit = limit_of(cluster, n_workers)
    fixed = PROCESS_BYTES + cluster.threads * _WORK_BYTES_PER_THREAD
    values = row_values(n_columns or dataset.width, dataset.weight is not None)
    result = _RESULT_BYTES + _VALUE_BYTES * n_extra_columns + previous_bytes
    resident = fixed + rows * (_VALUE_BYTES * values + result + needs.bytes_per_row)
    ids = rows * ID_BYTES if dataset.id else 0
    if resident + ids <= limit.usable:
        reason = f"{in_words(resident + ids)} per worker, within {limit.text}"
        spare = min(limit.usable - resident, resident)
        return MemoryPlan("resident", reason, resident + ids, spare, 1)
    if not needs.can_stream:
        raise _resident_rows_do_not_fit(resident + ids, fixed, limit, n_workers, title)
    fixed += cluster.threads * dataset.largest_group_bytes
    spilled = fixed + rows * (result + _KEPT_FLAG_BYTES)
    turns = -(-ids // max(limit.usable - spilled, 1)) if ids else 1
    if spilled <= limit.usable and turns <= _MAX_ID_TURNS:
        reason = (
            f"in memory they would take {in_words(resident + ids)} per worker, beyond {limit.text}"
        )
        return MemoryPlan("spilled", reason, spilled + ids // turns, 0, turns)
    raise _spilled_rows_do_not_fit(spilled + ids // _MAX_ID_TURNS, fixed, limit, n_workers)


def limit_of(cluster: ClusterSpec, n_workers: int) -> Limit:
    """Return the memory that each of so many workers may take."""
    if cluster.memory_limit is not None:
        usable = int(cluster.memory_limit * _USABLE)
        stated = in_words(cluster.memory_limit)
        return Limit(usable, f"{_USABLE:.0%} of runtime.memory_limit = {stated}")
    if not cluster.is_managed:
        return Limit(2**63, "the memory of its machine")
    share = psutil.virtual_memory().available // (cluster.workers_here or n_workers)
    return Limit(share, f"the {in_words(share)} that this machine has left for each worker")


def _resident_rows_do_not_fit(
    needed: int, fixed: int, limit: Limit, n_workers: int, title: str
) -> ResourceError:
    hint = _more_workers(2 * (needed - fixed), fixed, limit, n_workers, " on other machines")
    return ResourceError(
        "memory_limit.rows_must_be_resident",
        f"{title} keeps all rows in memory, and the largest shard, with "
        f"{count(n_workers, 'worker')}, needs about {in_words(needed)}, more than {limit.text}",
        hint=hint,
        parameter="memory_limit",
    )


def _spilled_rows_do_not_fit(
    needed: int, fixed: int, limit: Limit, n_workers: int
) -> ResourceError:
    return ResourceError(
        "memory_limit.too_low",
        f"the largest shard, with {count(n_workers, 'worker')}, needs about {in_words(needed)}, "
        f"even if its rows are on disk, more than {limit.text}",
        hint=_more_workers(needed - fixed, fixed, limit, n_workers),
        parameter="memory_limit",
    )


def _more_workers(row_bytes: int, fixed: int, limit: Limit, n_workers: int, where: str = "") -> str:
    """Return the next step: as many workers as make the rows of each fit, or a higher limit."""
    if limit.usable <= fixed:
        return f"a worker without rows takes {in_words(fixed)}: use a higher `memory_limit`"
    enough = -(-row_bytes * n_workers // (limit.usable - fixed))
    return f"use about {count(enough, 'worker')} (`n_workers`){where}, or a higher `memory_limit`"


def in_words(count: float) -> str:
    """Return a number of bytes in MiB or GiB."""
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"
