"""Ids: customers that occur more than once, and features that look like ids."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import DataError
from gpuseg.io.parquet.ids import repeated_rows, split_numbered
from gpuseg.jobs.schema import InputSpec
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.shard import Shard

_PIECES = 4
"""Ranges a shard into which the hashed ids are parted, so that threads share the sorting."""

_LIKE_AN_ID = re.compile(r"(?i:(^|[_\s-])(id|key|uuid)$)|[a-z]I[dD]$")


def named_like_ids(asked: InputSpec, features: Sequence[str]) -> list[str]:
    """Return default features that are named like ids: their values mean nothing."""
    named = asked.features is not None or asked.id is not None
    return [] if named else [name for name in features if _LIKE_AN_ID.search(name)]


def number_rows(executor: Executor) -> int:
    """Tell every shard how many rows lie before it; return how many there are."""
    sizes = executor.map(passes.n_rows)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1].tolist()
    executor.apply(passes.set_first_row, per_shard=starts)
    return sum(sizes)


def settle_repeated(executor: Executor, id: str, rule: str, drop_missing: bool) -> int:
    """Leave out every row whose id one before it has, or refuse them; return how many there are.

    Rows with gaps are left out after that, where they are to be dropped.

    Ids are told apart by 64-bit hashes: of ten million that are different, all but surely none
    is taken for another.

    Raises
    ------
    DataError
        With the rule "error".
    """
    found = executor.shuffle_reduce(split_numbered, repeated_rows, _PIECES * executor.n_shards)
    rows = np.sort(np.concatenate(found))
    if rows.size and rule == "error":
        raise DataError(
            f"input.id = '{id}': {len(rows):,} rows repeat an id that another row has, and "
            "prepare.duplicates = 'error' allows none; drop them, or set 'first' or 'keep'"
        )
    ends = np.cumsum(executor.map(passes.n_rows))
    starts = np.append(0, ends[:-1])
    cuts = np.searchsorted(rows, ends)[:-1]
    own = [part - start for part, start in zip(np.split(rows, cuts), starts, strict=True)]
    executor.apply(_leave_out, drop_missing, per_shard=own)
    return len(rows)


def _leave_out(shard: Shard, env: TaskContext, drop_missing: bool, rows: NDArray[np.int64]) -> None:
    kept = np.ones(shard.n_rows, bool)
    kept[rows] = False
    shard.filter_rows(env, kept)
    if drop_missing:
        shard.drop_missing(env)
