"""What a shard remembers of its rows between the Lloyd passes of a run.

It is a cache: a shard without it looks at every row and returns the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.backend import Backend
from gpuseg.backends.types import Centers, RowBounds
from gpuseg.numerics.sum_grid import LloydSums, SumGrid

_ROUNDING = 1e-12
_UP = np.float32(1 + 2.0**-22)

_MANY = 0.1
"""Share of rows looked at in a pass from which on it may pay to forget their slack."""


@dataclass
class BoundState:
    """What one run knows of the rows of a shard.

    Attributes
    ----------
    memory : Memory
    centers : float64 (k, d)
        The centres of the last pass.
    own, others : float64 (k,)
        How far each centre has moved in all, and the others at most.
    total : Partial
        The sums of the last pass.
    step : float
        How far the centre that moved most has moved since the last pass.
    looked_at : int
        Rows whose distances the last pass computed; 0 where it had to look at all.
    """

    memory: RowBounds
    centers: NDArray[np.float64]
    own: NDArray[np.float64]
    others: NDArray[np.float64]
    total: LloydSums
    step: float = 0.0
    looked_at: int = 0

    @classmethod
    def nothing(cls, memory: RowBounds, centers: Centers, grid: SumGrid) -> Self:
        """Return what is known before the first pass; `memory` is one of rows never seen."""
        k = centers.k
        total = LloydSums.zeros(len(grid.weight), *centers.values.shape)
        return cls(memory, centers.values, np.zeros(k), np.zeros(k), total)

    def follow(self, centers: Centers) -> None:
        """Add to the drift how far the centres have moved since the last pass.

        A row's own centre has come no farther from it than the centre moved, and another
        centre no nearer than the one of them that moved most.
        """
        squares = ((centers.values - self.centers) ** 2).sum(axis=1)
        moved = np.sqrt(squares) * (1 + _ROUNDING)
        most = np.full(len(moved), moved.max())
        most[moved.argmax()] = np.partition(moved, -2)[-2] if len(moved) > 1 else 0.0
        self.own += moved
        self.others += most
        self.step = float(moved.max())
        self.memory.drift = (self.own + self.others).astype(np.float32) * _UP
        self.centers = centers.values

    def is_blurred(self, slack_rounding: float) -> bool:
        """Whether rounding takes more from the slack than the centres move now.

        Slack holds the drift of all passes, which one centre that goes far makes large for good;
        then rows fail that need not. Once slack is forgotten there is no drift; while steps stay
        the same, slack is blurred again after 1 / slack_rounding passes at the earliest.
        """
        return slack_rounding * float(self.memory.drift.max()) > 2 * self.step

    def begin_again(self, backend: Backend) -> None:
        """Forget the slack, so that the next pass looks at every row; labels and sums hold."""
        backend.reset_slack(self.memory)
        self.memory.drift = np.zeros_like(self.memory.drift)
        self.own, self.others = np.zeros_like(self.own), np.zeros_like(self.others)

    def changed_by(self, change: LloydSums, all_looked_at: bool = False) -> LloydSums:
        """Take the change of a pass into the sums; return them, to be given away.

        Parameters
        ----------
        all_looked_at : bool
            Whether the pass had to look at every row, which says nothing of the slack.
        """
        self.memory.fresh = False
        self.looked_at = 0 if all_looked_at else change.n_rows_scored
        self.total.add(change)
        sums, weight = self.total.sums.copy(), self.total.weight.copy()
        return LloydSums(sums, weight, change.n_rows_scored, change.seconds)


def sharpen(runs: Sequence[BoundState], n_rows: int, backend: Backend) -> bool:
    """Forget slack that is blurred where many rows were looked at; return whether any was.

    A pass that reads all rows for one run reads them for all: what is blurred goes together.
    """
    blurred = [run for run in runs if run.is_blurred(backend.slack_rounding)]
    if not any(run.looked_at > _MANY * n_rows for run in blurred):
        return False
    for run in blurred:
        run.begin_again(backend)
    return True
