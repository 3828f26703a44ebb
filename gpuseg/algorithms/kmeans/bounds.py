"""What a shard keeps about its rows between the Lloyd passes of a run: bounds, and sums.

Bounds (after Hamerly, "Making k-means even faster", SDM 2010) prove that most rows keep their
nearest center, so that a pass computes distances only for the others. They are a cache: a shard
without them scores every row and returns the same bits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.backend import Backend
from gpuseg.backends.types import Centers, RowBounds
from gpuseg.numerics.sum_grid import LloydSums, SumGrid

_ROUNDING = 1e-12
_ROUND_UP = np.float32(1 + 2.0**-22)

_MANY_ROWS = 0.1
"""Share of rows scored in a pass above which it can pay to reset their slack."""


@dataclass
class BoundState:
    """What one run knows about the rows of a shard after a pass.

    Attributes
    ----------
    bounds : RowBounds
    centers : float64 (k, d)
        The centers of the last pass.
    moved : float64 (k,)
        Total distance that each center has moved.
    others_moved : float64 (k,)
        Upper bound of the total distance that any other center has moved.
    sums : LloydSums
        The sums of the last pass.
    last_step : float
        The largest distance that a center has moved since the last pass.
    n_rows_scored : int
        Rows with computed distances in the last pass; 0 where it had to score all rows.
    """

    bounds: RowBounds
    centers: NDArray[np.float64]
    moved: NDArray[np.float64]
    others_moved: NDArray[np.float64]
    sums: LloydSums
    last_step: float = 0.0
    n_rows_scored: int = 0

    @classmethod
    def empty(cls, bounds: RowBounds, centers: Centers, grid: SumGrid) -> Self:
        """Return the state before the first pass; `bounds` are those of rows never seen."""
        k = centers.k
        sums = LloydSums.zeros(len(grid.weight), *centers.values.shape)
        return cls(bounds, centers.values, np.zeros(k), np.zeros(k), sums)

    def move_to(self, centers: Centers) -> None:
        """Add the movement of the centers since the last pass to the drift.

        The nearest center of a row has moved away from it by at most its own step, and any other
        center has come nearer by at most the largest step of the others.
        """
        squares = ((centers.values - self.centers) ** 2).sum(axis=1)
        steps = np.sqrt(squares) * (1 + _ROUNDING)
        largest_other = np.full(len(steps), steps.max())
        largest_other[steps.argmax()] = np.partition(steps, -2)[-2] if len(steps) > 1 else 0.0
        self.moved += steps
        self.others_moved += largest_other
        self.last_step = float(steps.max())
        self.bounds.drift = (self.moved + self.others_moved).astype(np.float32) * _ROUND_UP
        self.centers = centers.values

    def is_imprecise(self, slack_rounding: float) -> bool:
        """Return whether rounding takes more from the slack than the centers move now.

        Slack includes the drift of all passes, which stays large after one center has moved far;
        then the bounds of rows fail without need. A reset of the slack sets the drift to zero.
        While the steps stay the same, slack is imprecise again after 1 / slack_rounding passes at
        the earliest.
        """
        return slack_rounding * float(self.bounds.drift.max()) > 2 * self.last_step

    def reset_slack(self, backend: Backend) -> None:
        """Forget the slack, so that the next pass scores every row; labels and sums stay."""
        backend.reset_slack(self.bounds)
        self.bounds.drift = np.zeros_like(self.bounds.drift)
        self.moved = np.zeros_like(self.moved)
        self.others_moved = np.zeros_like(self.others_moved)

    def add_change(self, change: LloydSums, all_rows_scored: bool = False) -> LloydSums:
        """Add the change of a pass to the sums; return a copy of them that the caller may change.

        Parameters
        ----------
        all_rows_scored : bool
            Whether the pass had to score every row, so that its count says nothing about slack.
        """
        self.bounds.fresh = False
        self.n_rows_scored = 0 if all_rows_scored else change.n_rows_scored
        self.sums.add(change)
        sums, weight = self.sums.sums.copy(), self.sums.weight.copy()
        return LloydSums(sums, weight, change.n_rows_scored, change.seconds)


def reset_imprecise_slack(states: Iterable[BoundState], n_rows: int, backend: Backend) -> bool:
    """Reset imprecise slack where many rows were scored; return whether any was reset.

    A pass that reads all rows for one run reads them for all runs, so all imprecise slack is
    reset together.
    """
    imprecise = [state for state in states if state.is_imprecise(backend.slack_rounding)]
    if not any(state.n_rows_scored > _MANY_ROWS * n_rows for state in imprecise):
        return False
    for state in imprecise:
        state.reset_slack(backend)
    return True
