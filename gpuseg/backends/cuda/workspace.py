"""The small arrays of a Lloyd pass: one upload, one download, in memory that is kept."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import RowBounds
from gpuseg.backends.cuda.launcher import Launcher, Table
from gpuseg.backends.cuda.shapes import GROUP
from gpuseg.backends.packed_centers import PackedCenters

_ALIGNMENT = 256

_COUNTS = 2
"""Behind the sums: rows looked at, and rows of the probe that fail."""


class Workspace:
    """Memory for the passes of runs with certain numbers of centres, of the host and the device.

    Parameters
    ----------
    launcher : Launcher
    ks : tuple of int
        Centres of each run.
    n_features : int

    Attributes
    ----------
    n_bytes : int
        Of the device; of the host at most twice as many.
    there : dict of arrays of the device
        What kernels take, by the names of their parameters.
    """

    def __init__(self, launcher: Launcher, ks: Sequence[int], n_features: int) -> None:
        self._launcher = launcher
        self._cells = 2 * sum(ks) * (n_features + 1)
        groups = [-(-k // GROUP) for k in ks]
        fields = _fields(ks, groups, n_features, self._cells + _COUNTS)
        ends = np.cumsum([_padded(dtype, shape) for dtype, shape in fields.values()]).tolist()
        starts = dict(zip(fields, [0, *ends], strict=False))
        self.n_bytes: int = ends[-1]
        self._staged = launcher.staging(ends[-1])
        self._staged[:] = 0
        self._block = launcher.xp.empty(ends[-1], np.uint8)
        self._here = {name: _view(self._staged, starts[name], *fields[name]) for name in fields}
        self.there = {name: _view(self._block, starts[name], *fields[name]) for name in fields}
        counts = self.there["counts"]
        self._counts = launcher.staging(counts.nbytes).view(np.uint64)
        self.there["sums"] = counts[: self._cells]
        self.there["looked_at"] = counts[self._cells : self._cells + 1]
        self.there["failing"] = counts[self._cells + 1 :]
        self._here["first_center"][1:] = np.cumsum(ks)
        self._here["first_group"][1:] = np.cumsum(groups)
        self._places = _places(self._here, ks, groups, n_features)

    def upload(
        self, runs: Sequence[tuple[PackedCenters, RowBounds]], magic: NDArray[np.float64]
    ) -> None:
        """Bring the centres and what is known of the rows to the device, and zeros for counts."""
        here, address = self._here, self._launcher.address
        for i, ((packed, memory), place) in enumerate(zip(runs, self._places, strict=True)):
            exact, negated, half_norms, drift = place
            exact[:], negated[:], half_norms[:] = packed.exact, packed.negated, packed.half_norms
            drift[:] = memory.drift
            here["largest_norm"][i], here["fresh"][i] = packed.largest_norm, memory.fresh
            here["most_drift"][i] = np.maximum.reduce(memory.drift)
            here["label"][i], here["slack"][i] = address(memory.label), address(memory.slack)
        here["shift"][:] = runs[0][0].shift
        here["magic"][:] = magic
        self._launcher.upload(self._staged, self._block)

    def tables(self, memories: Sequence[RowBounds]) -> tuple[Table, Table]:
        """Return the labels and the slack of each run, as kernels take them."""
        labels = Table([memory.label for memory in memories], self.there["label"])
        return labels, Table([memory.slack for memory in memories], self.there["slack"])

    def failing(self) -> int:
        """Wait for the probe; return how many rows of its sample fail."""
        count = self._counts[self._cells + 1 :]
        self._launcher.download(self.there["failing"], count)
        return int(count[0])

    def counts(self) -> tuple[NDArray[np.int64], int]:
        """Wait for a pass; return by how many steps the sums change, and rows looked at."""
        counts = self._counts
        self._launcher.download(self.there["counts"], counts)
        return counts[: self._cells].view(np.int64), int(counts[self._cells])


Field = tuple[type[np.generic], tuple[int, ...]]


def _fields(ks: Sequence[int], groups: Sequence[int], d: int, counts: int) -> dict[str, Field]:
    """Return dtype and shape of each array."""
    runs, centers, scored = len(ks), sum(ks), GROUP * sum(groups)
    return {
        "first_center": (np.int32, (runs + 1,)),
        "first_group": (np.int32, (runs + 1,)),
        "exact": (np.float64, (centers, d)),
        "shift": (np.float32, (d,)),
        "negated": (np.float32, (scored * d,)),
        "half_norms": (np.float32, (scored,)),
        "largest_norm": (np.float32, (runs,)),
        "drift": (np.float32, (centers,)),
        "most_drift": (np.float32, (runs,)),
        "fresh": (np.int32, (runs,)),
        "magic": (np.float64, (2, d + 1)),
        "label": (np.uint64, (runs,)),
        "slack": (np.uint64, (runs,)),
        "counts": (np.uint64, (counts,)),
    }


def _places(
    here: dict[str, NDArray[Any]], ks: Sequence[int], groups: Sequence[int], d: int
) -> list[tuple[NDArray[Any], ...]]:
    """Return where each run's centres, negated centres, half norms and drift go."""
    places: list[tuple[NDArray[Any], ...]] = []
    center = group = 0
    for k, m in zip(ks, groups, strict=True):
        scored = slice(GROUP * group, GROUP * (group + m))
        places.append((
            here["exact"][center : center + k],
            here["negated"][scored.start * d : scored.stop * d],
            here["half_norms"][scored],
            here["drift"][center : center + k],
        ))  # fmt: skip
        center, group = center + k, group + m
    return places


def _padded(dtype: type[np.generic], shape: tuple[int, ...]) -> int:
    """Return the bytes of an array up to the next multiple of 256."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT


def _view(block: Any, start: int, dtype: type[np.generic], shape: tuple[int, ...]) -> Any:
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return block[start : start + n_bytes].view(dtype).reshape(shape)
