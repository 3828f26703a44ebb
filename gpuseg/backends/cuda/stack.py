"""The centres of several runs, one after the other, as kernels take them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.plan import GROUP
from gpuseg.backends.packed import PackedCenters


@dataclass(frozen=True)
class Stack:
    """Packed centres of several runs.

    Attributes
    ----------
    runs : sequence of PackedCenters
        With one shift for all.
    """

    runs: Sequence[PackedCenters]

    @property
    def first_center(self) -> NDArray[np.int32]:
        """Where the centres of each run begin, and where the last ones end, int32 (runs + 1,)."""
        return np.cumsum([0, *(run.k for run in self.runs)], dtype=np.int32)

    @property
    def first_group(self) -> NDArray[np.int32]:
        """Where the groups of each run begin, and where the last ones end, int32 (runs + 1,)."""
        return np.cumsum([0, *(-(-run.k // GROUP) for run in self.runs)], dtype=np.int32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that a kernel needs, by the names of its parameters."""
        return {
            "first_center": self.first_center,
            "first_group": self.first_group,
            "exact": np.concatenate([run.exact for run in self.runs]),
            "shift": self.runs[0].shift,
            "negated": np.concatenate([run.negated for run in self.runs]),
            "half_norms": np.concatenate([run.half_norms for run in self.runs]),
            "largest_norm": np.array([run.largest_norm for run in self.runs], np.float32),
        }
