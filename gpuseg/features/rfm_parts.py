"""Add scores to written features: find the exact borders in passes over the files, and rewrite.

Every pass counts 16 bits of the sort keys of the values, from the highest to the lowest, within the
keys that are known to hold a border. Counts are integers, so the borders are the same for any
division into files, and no value leaves its worker.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gpuseg.features.aggregate import FeaturePart, write_part
from gpuseg.features.definitions import RFM
from gpuseg.features.rfm import SCORED, Borders, border, ranks, values_of, with_scores
from gpuseg.io.output.base import Staging
from gpuseg.numerics.sort_keys import float64_from_keys, float64_keys
from gpuseg.runtime.executor import Executor, TaskContext

_BITS = 16
_BINS = 2**_BITS
_KEY_BITS = 64

_Prefixes = list[NDArray[np.uint64]]
"""Of each feature, the highest bits of the keys that hold a border; distinct and rising."""


def score_parts(
    executor: Executor,
    staging: Staging,
    parts: Sequence[FeaturePart],
    borders: Borders | None = None,
) -> tuple[list[FeaturePart], Borders]:
    """Add the scores to files of features that have rows; return the files and the borders.

    Parameters
    ----------
    borders : mapping of feature to four floats, optional
        Those of other customers; by default those of the customers in the files.

    Raises
    ------
    ResourceError
        If a file cannot be written.
    """
    workers = len(executor.workers())
    shares = [list(parts[i::workers]) for i in range(workers)]
    if borders is None:
        borders = _find_borders(executor, staging, shares, sum(part.rows for part in parts))
    scored = executor.map(_rewrite, staging, borders, per_shard=shares)
    return [part for written in scored for part in written], borders


def _find_borders(
    executor: Executor, staging: Staging, shares: list[list[FeaturePart]], n_rows: int
) -> Borders:
    """Select the values at the ranks of the borders, 16 bits of their keys at a time."""
    places = ranks(n_rows)
    wanted = np.array([rank for below, above, _ in places for rank in (below, above)])
    keys = [np.zeros(len(wanted), np.uint64) for _ in SCORED]
    ranks_left = [wanted.copy() for _ in SCORED]
    for shift in range(_KEY_BITS - _BITS, -1, -_BITS):
        prefixes = [np.unique(key) for key in keys]
        counts = executor.map(_count, staging, prefixes, shift, per_shard=shares)
        for i, prefix in enumerate(prefixes):
            row = np.searchsorted(prefix, keys[i])
            ends = np.cumsum(np.sum([count[i] for count in counts], axis=0), axis=1)[row]
            bins = np.array([
                np.searchsorted(end, rank, side="right")
                for end, rank in zip(ends, ranks_left[i], strict=True)
            ])  # fmt: skip
            before = np.where(bins > 0, ends[np.arange(len(bins)), bins - 1], 0)
            ranks_left[i] = ranks_left[i] - before
            keys[i] = keys[i] << np.uint64(_BITS) | bins.astype(np.uint64)
    borders = {}
    for key, feature in zip(keys, SCORED.values(), strict=True):
        values = float64_from_keys(key).reshape(-1, 2).tolist()
        borders[feature] = tuple(
            border(below, above, share)
            for (below, above), (_, _, share) in zip(values, places, strict=True)
        )
    return borders


def _count(
    _: Any,
    context: TaskContext,
    staging: Staging,
    prefixes: _Prefixes,
    shift: int,
    parts: Sequence[FeaturePart],
) -> list[NDArray[np.int64]]:
    """Count by feature, prefix and the next bits of the key the values of some files."""
    totals = [np.zeros((len(prefix), _BINS), np.int64) for prefix in prefixes]

    def keys_of(part: FeaturePart) -> list[NDArray[np.uint64]]:
        table = _read(staging, part, list(SCORED.values()))
        return [float64_keys(values_of(table, name)) for name in SCORED.values()]

    for keys in context.map(keys_of, parts):
        for total, prefix, key in zip(totals, prefixes, keys, strict=True):
            upper = key >> np.uint64(shift)
            bins = (upper & np.uint64(_BINS - 1)).astype(np.int64)
            # A shift by all bits of a number is not defined.
            highest = upper >> np.uint64(_BITS)
            row = np.minimum(np.searchsorted(prefix, highest), len(prefix) - 1)
            is_held = prefix[row] == highest
            places = row[is_held] * _BINS + bins[is_held]
            total += np.bincount(places, minlength=total.size).reshape(total.shape)
    return totals


def _rewrite(
    _: Any, context: TaskContext, staging: Staging, borders: Borders, parts: Sequence[FeaturePart]
) -> list[FeaturePart]:
    def rewrite(part: FeaturePart) -> FeaturePart:
        table = _read(staging, part)  # an interrupted attempt of the run may have added scores
        table = with_scores(table.drop_columns(_scores_in(table)), borders)
        return replace(part, bytes=write_part(table, part.name, staging))

    written: Iterator[FeaturePart] = context.map(rewrite, parts)
    return list(written)


def _scores_in(table: pa.Table) -> list[str]:
    return [feature.name for feature in RFM if feature.name in table.column_names]


def _read(staging: Staging, part: FeaturePart, columns: list[str] | None = None) -> pa.Table:
    with (
        staging.storage.fs.open(staging.path(part.name), "rb") as source,
        pq.ParquetFile(source) as file,
    ):
        return file.read(columns)
