"""Lloyd passes on a device: choose the kernel, and launch it.

A pass over rows without bounds, or over rows of which most may have another nearest center,
streams all of them (``kernels/kmeans/lloyd_full.cu``). Otherwise slack is scanned, and few rows are
fetched (``kernels/kmeans/lloyd.cu``). The choice depends on the slack of a sample of rows; it never
changes a result.
"""

import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.full_pass_plans import (
    PROBE_BLOCKS,
    PROBE_THREADS,
    FullLaunch,
    plan_full,
    probe,
)
from gpuseg.backends.cuda.launch_plans import Launch, plan_lloyd
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.shapes import GROUP, MAX_SHORT, alignment
from gpuseg.backends.cuda.workspace import Workspace
from gpuseg.backends.types import PackedRun, RowBounds

PassKind = Literal["auto", "full", "late"]

_PROBED_ROWS = PROBE_BLOCKS * PROBE_THREADS

_MAX_FAILING = 0.4
"""Share of rows to score above which a pass over all rows is faster; estimated, not measured.
A late pass takes about 0.1 of a full one for its scan, and 1.5 to 2 times as long per row."""

_MIN_PROBED_ROWS = 4 * _PROBED_ROWS
"""With fewer rows a pass takes no longer than the probe: slack is scanned."""

_MAX_KEPT_BYTES = 2**26
"""Maximum bytes of workspaces that a thread keeps, in addition to the one in use."""


def bounds_bytes_per_row(k: int) -> int:
    """Return the bytes of a row's label and slack."""
    return _label_type(k).itemsize + np.dtype(np.uint16).itemsize


def new_bounds(launcher: Launcher, n_rows: int, k: int) -> RowBounds:
    """Return bounds of rows that no pass has seen; slack is the upper half of a float32, uint16."""
    label = launcher.xp.zeros(n_rows, _label_type(k))
    return RowBounds(label, launcher.xp.zeros(n_rows, np.uint16), np.zeros(k, np.float32))


def _label_type(k: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if k <= MAX_SHORT else np.int32)


class LloydPasses:
    """Passes on a device.

    Parameters
    ----------
    launcher : Launcher
    kind : {"auto", "full", "late"}
        Whether passes stream all rows: where that is faster, always where possible, or never.
    """

    def __init__(self, launcher: Launcher, kind: PassKind = "auto") -> None:
        self._launcher = launcher
        self._kind = kind
        self._local = threading.local()

    def run(
        self, x: Any, weight: Any, runs: Sequence[PackedRun], magic: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], int]:
        """Make one pass over rows on the device.

        Parameters
        ----------
        runs : sequence of PackedRun
            Labels of all take the same number of bytes.
        magic : float64 (2, d + 1)

        Returns
        -------
        int64 (2, K, d + 1)
            The change of the sums of all centers, in steps of the grids.
        int
            Number of scored rows.
        """
        try:
            return self._run(x, weight, runs, magic)
        except BaseException:
            self._drop_workspaces()
            raise

    def _run(
        self, x: Any, weight: Any, runs: Sequence[PackedRun], magic: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], int]:
        (n, d), ks = x.shape, tuple(run.centers.k for run in runs)
        space = self._workspace(ks, d)
        space.upload(runs, magic)
        bounds = [run.bounds for run in runs]
        label_bytes = bounds[0].label.dtype.itemsize
        aligned, limits = alignment(self._launcher.address(x)), self._launcher.limits
        arguments = _arguments(space, x, weight, bounds)
        fresh = any(run.fresh for run in bounds)
        full = None
        if self._streams_all(space, bounds, n, fresh):
            full = plan_full(n, d, ks, label_bytes, fresh, aligned, limits)
        if full is not None:
            self._launch_full(full, arguments)
        else:
            groups = sum(-(-k // GROUP) for k in ks)
            late = plan_lloyd(n, d, groups, sum(ks), label_bytes, aligned == 16, limits)
            self._launch_late(late, space, arguments)
        counts, n_scored = space.counts()
        return counts.reshape(2, sum(ks), d + 1), n if full is not None else n_scored

    def _workspace(self, ks: tuple[int, ...], d: int) -> Workspace:
        """Return a workspace that this thread has used for the same shapes, or a new one."""
        kept: dict[tuple[tuple[int, ...], int], Workspace] = self._local.__dict__.setdefault(
            "spaces", {}
        )
        space = kept.pop((ks, d), None)
        while sum(other.n_bytes for other in kept.values()) > _MAX_KEPT_BYTES:
            del kept[next(iter(kept))]  # the least recently used one
        space = space or Workspace(self._launcher, ks, d)
        kept[ks, d] = space
        return space

    def _drop_workspaces(self) -> None:
        """Drop all workspaces: after a failed pass the device may still use them."""
        self._local.__dict__.pop("spaces", None)

    def _streams_all(
        self, space: Workspace, bounds: Sequence[RowBounds], n: int, fresh: bool
    ) -> bool:
        """Whether the pass streams all rows."""
        if self._kind != "auto":
            return self._kind == "full"
        return fresh or (n >= _MIN_PROBED_ROWS and self._many_fail(space, bounds, n))

    def _many_fail(self, space: Workspace, bounds: Sequence[RowBounds], n: int) -> bool:
        """Whether many rows would be scored, estimated from a sample of them."""
        arrays, (labels, slacks) = space.on_device, space.tables(bounds)
        kernel = probe(bounds[0].label.dtype.itemsize)
        arguments = [
            np.int64(n),
            np.int32(len(bounds)),
            arrays["first_center"],
            arrays["drift"],
            labels,
            slacks,
            arrays["failing"],
        ]
        self._launcher.launch(kernel, PROBE_BLOCKS, arguments)
        return space.failing() > _MAX_FAILING * _PROBED_ROWS

    def _launch_full(self, plan: FullLaunch, arguments: list[Any]) -> None:
        arguments = [*arguments, np.int32(plan.width), np.int32(plan.private)]
        self._launcher.launch(plan.kernel, plan.blocks, arguments, plan.shared_bytes)

    def _launch_late(self, plan: Launch, space: Workspace, arguments: list[Any]) -> None:
        arguments = [
            *arguments,
            space.on_device["max_drift"],
            space.on_device["n_scored"],
            np.int32(plan.rows_per_chunk),
            np.int32(plan.tiling.features),
            np.int32(plan.tiling.resident),
            np.int32(plan.private),
        ]
        self._launcher.launch(plan.kernel, plan.blocks, arguments, plan.shared_bytes)


def _arguments(space: Workspace, x: Any, weight: Any, bounds: Sequence[RowBounds]) -> list[Any]:
    """Return the first arguments of both kernels."""
    arrays, (labels, slacks), (n, d) = space.on_device, space.tables(bounds), x.shape
    return [
        x,
        weight,
        np.int64(n),
        np.int32(d),
        np.int32(len(bounds)),
        arrays["first_center"],
        arrays["first_group"],
        arrays["exact"],
        arrays["shift"],
        arrays["negated"],
        arrays["half_norms"],
        arrays["max_norm"],
        arrays["drift"],
        arrays["fresh"],
        arrays["magic"],
        labels,
        slacks,
        arrays["sums"],
    ]
