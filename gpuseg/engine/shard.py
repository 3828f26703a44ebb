"""A shard: the rows that one worker owns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Shard:
    """A run of consecutive rows of the data, resident on one worker.

    Attributes
    ----------
    x : float32 (n, d), C-order
        Feature vectors; a missing value is NaN until `prepare` has filled it.
    weight : float64 (n,) or None
        Sample weights; None where every row weighs 1.
    first_row : int
        Number of rows of the data before this shard, dropped rows not counted.
    kept : bool (n_read,) or None
        Which of the rows read are in `x`; None where all are.
    labels : int32 (n,) or None
        Segment of each row, once assigned.
    distance : float32 (n,) or None
        Distance of each row to its centre, in scaled units, once assigned.
    source : object
        Where the rows were read from; the engine does not look at it.
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float64] | None = None
    first_row: int = 0
    kept: NDArray[np.bool_] | None = None
    labels: NDArray[np.int32] | None = None
    distance: NDArray[np.float32] | None = None
    source: Any = None

    @property
    def n_rows(self) -> int:
        """Number of rows, int."""
        return int(self.x.shape[0])

    def source_row(self, row: int) -> int:
        """Return which row read is row `row` of `x`; they differ where rows were dropped."""
        return row if self.kept is None else int(np.flatnonzero(self.kept)[row])
