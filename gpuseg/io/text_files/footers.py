"""Rows below a table that are no data, such as totals: left out, or refused where one is found."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa


def without_last_rows(
    batches: Iterable[pa.RecordBatch], most: int, to_drop: Callable[[int], int]
) -> Iterator[pa.RecordBatch]:
    """Yield batches without their last rows.

    Parameters
    ----------
    most : int
        Most rows that are left out.
    to_drop : function
        Takes the number of all rows, and returns how many of them are left out.
    """
    held: deque[pa.RecordBatch] = deque()
    n_held = n_rows = 0
    for batch in batches:
        held.append(batch)
        n_held, n_rows = n_held + batch.num_rows, n_rows + batch.num_rows
        while held and n_held - held[0].num_rows >= most:
            n_held -= held[0].num_rows
            yield held.popleft()
    n_kept = n_held - to_drop(n_rows)
    for batch in held:
        if n_kept > 0:
            yield batch.slice(0, n_kept)
        n_kept -= batch.num_rows
