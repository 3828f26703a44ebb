"""The small arrays of a Lloyd pass: one upload, one download, in memory that is reused."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launcher import Launcher, Table
from gpuseg.backends.cuda.shapes import GROUP
from gpuseg.backends.types import PackedRun, RowBounds

_ALIGNMENT = 256

_N_COUNTS = 2
"""Counts after the sums: scored rows, and rows of the probe that fail."""


class Workspace:
    """Host and device memory for passes of runs with given numbers of centers.

    Parameters
    ----------
    launcher : Launcher
    ks : tuple of int
        Centers of each run.
    n_features : int

    Attributes
    ----------
    n_bytes : int
        Bytes of device memory; host memory is at most twice as large.
    on_device : dict of arrays of the device
        Arguments of kernels, by the names of their parameters.
    """

    def __init__(self, launcher: Launcher, ks: Sequence[int], n_features: int) -> None:
        self._launcher = launcher
        self._cells = 2 * sum(ks) * (n_features + 1)
        groups = [-(-k // GROUP) for k in ks]
        fields = _fields(ks, groups, n_features, self._cells + _N_COUNTS)
        ends = np.cumsum([_padded(dtype, shape) for dtype, shape in fields.values()]).tolist()
        starts = dict(zip(fields, [0, *ends], strict=False))
        self.n_bytes: int = ends[-1]
        self._staged = launcher.staging(ends[-1])
        self._staged[:] = 0
        self._block = launcher.xp.empty(ends[-1], np.uint8)
        self._on_host = {name: _view(self._staged, starts[name], *fields[name]) for name in fields}
        self.on_device = {name: _view(self._block, starts[name], *fields[name]) for name in fields}
        counts = self.on_device["counts"]
        self._counts = launcher.staging(counts.nbytes).view(np.uint64)
        self.on_device["sums"] = counts[: self._cells]
        self.on_device["n_scored"] = counts[self._cells : self._cells + 1]
        self.on_device["failing"] = counts[self._cells + 1 :]
        self._on_host["first_center"][1:] = np.cumsum(ks)
        self._on_host["first_group"][1:] = np.cumsum(groups)
        self._slots = _run_slots(self._on_host, ks, groups, n_features)

    def upload(self, runs: Sequence[PackedRun], magic: NDArray[np.float64]) -> None:
        """Copy the centers and the bounds to the device, and zeros for counts."""
        arrays, address = self._on_host, self._launcher.address
        for i, ((centers, bounds), slot) in enumerate(zip(runs, self._slots, strict=True)):
            slot.exact[:] = centers.exact
            slot.negated[:] = centers.negated
            slot.half_norms[:] = centers.half_norms
            slot.drift[:] = bounds.drift
            arrays["max_norm"][i], arrays["fresh"][i] = centers.max_norm, bounds.fresh
            arrays["max_drift"][i] = np.maximum.reduce(bounds.drift)
            arrays["label"][i], arrays["slack"][i] = address(bounds.label), address(bounds.slack)
        arrays["shift"][:] = runs[0].centers.shift
        arrays["magic"][:] = magic
        self._launcher.upload(self._staged, self._block)

    def tables(self, bounds: Sequence[RowBounds]) -> tuple[Table, Table]:
        """Return the labels and the slack of each run, as kernels take them."""
        labels = Table([run.label for run in bounds], self.on_device["label"])
        return labels, Table([run.slack for run in bounds], self.on_device["slack"])

    def failing(self) -> int:
        """Wait for the probe; return the number of rows of its sample that fail."""
        count = self._counts[self._cells + 1 :]
        self._launcher.download(self.on_device["failing"], count)
        return int(count[0])

    def counts(self) -> tuple[NDArray[np.int64], int]:
        """Wait for a pass; return the change of the sums in grid steps, and the scored rows."""
        counts = self._counts
        self._launcher.download(self.on_device["counts"], counts)
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
        "max_norm": (np.float32, (runs,)),
        "drift": (np.float32, (centers,)),
        "max_drift": (np.float32, (runs,)),
        "fresh": (np.int32, (runs,)),
        "magic": (np.float64, (2, d + 1)),
        "label": (np.uint64, (runs,)),
        "slack": (np.uint64, (runs,)),
        "counts": (np.uint64, (counts,)),
    }


class _RunSlot(NamedTuple):
    """The arrays of one run in the staging memory."""

    exact: NDArray[Any]
    negated: NDArray[Any]
    half_norms: NDArray[Any]
    drift: NDArray[Any]


def _run_slots(
    arrays: dict[str, NDArray[Any]], ks: Sequence[int], groups: Sequence[int], d: int
) -> list[_RunSlot]:
    """Return the slot of each run."""
    slots = []
    center = group = 0
    for k, m in zip(ks, groups, strict=True):
        scored = slice(GROUP * group, GROUP * (group + m))
        slots.append(
            _RunSlot(
                arrays["exact"][center : center + k],
                arrays["negated"][scored.start * d : scored.stop * d],
                arrays["half_norms"][scored],
                arrays["drift"][center : center + k],
            )
        )
        center, group = center + k, group + m
    return slots


def _padded(dtype: type[np.generic], shape: tuple[int, ...]) -> int:
    """Return the bytes of an array, rounded up to a multiple of 256."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT


def _view(block: Any, start: int, dtype: type[np.generic], shape: tuple[int, ...]) -> Any:
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return block[start : start + n_bytes].view(dtype).reshape(shape)
