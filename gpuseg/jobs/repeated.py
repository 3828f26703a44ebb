"""Customers that occur more than once, before anything is computed from them."""

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from gpuseg.data.ids import repeated_rows, split_numbered
from gpuseg.engine import passes
from gpuseg.engine.shard import Shard
from gpuseg.errors import DataError
from gpuseg.runtime.executor import Env, Executor

_PIECES = 4
"""Ranges a shard into which the hashed ids are parted, so that threads share the sorting."""


def number_rows(executor: Executor) -> int:
    """Tell every shard how many rows lie before it; return how many there are."""
    sizes = executor.run(passes.n_rows)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1].tolist()
    executor.update(passes.number, each=starts)
    return sum(sizes)


def settle_repeated(executor: Executor, id: str, rule: str) -> int:
    """Leave out every row whose id one before it has, or refuse them; return how many there are.

    Ids are told apart by 64-bit hashes: of ten million that are different, all but surely none
    is taken for another.

    Raises
    ------
    DataError
        With the rule "error".
    """
    found = executor.exchange(split_numbered, repeated_rows, _PIECES * executor.n_shards)
    rows = np.sort(np.concatenate(found)).tolist()
    if not rows:
        return 0
    if rule == "error":
        raise DataError(
            f"input.id = '{id}': {len(rows):,} rows repeat an id that another row has, and "
            "prepare.duplicates = 'error' allows none; drop them, or set 'first' or 'keep'"
        )
    sizes = executor.run(passes.n_rows)
    ends = np.cumsum(sizes).tolist()
    starts = [0, *ends[:-1]]
    cuts = [(bisect_left(rows, a), bisect_left(rows, b)) for a, b in zip(starts, ends, strict=True)]
    each = [
        np.array(rows[i:j], np.int64) - start for (i, j), start in zip(cuts, starts, strict=True)
    ]
    executor.update(_leave_out, each=each)
    return len(rows)


def _leave_out(shard: Shard, env: Env, rows: NDArray[np.int64]) -> None:
    kept = np.ones(shard.n_rows, bool)
    kept[rows] = False
    shard.keep(env, kept)
