"""Lloyd passes on a device: which kernel, and what it takes.

A pass over rows of which nothing is known, or of which most may have another nearest centre,
streams all of them (``kernels/kmeans/lloyd_full.cu``). Otherwise slack is scanned, and few rows
are fetched (``kernels/kmeans/lloyd.cu``). The slack of a sample of rows decides which; the
results are the same.
"""

import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import RowBounds
from gpuseg.backends.cuda import full_pass_plans as plan_full
from gpuseg.backends.cuda.full_pass_plans import FullLaunch
from gpuseg.backends.cuda.launch_plans import Launch, plan_lloyd
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.shapes import GROUP, MAX_SHORT, alignment
from gpuseg.backends.cuda.workspace import Workspace
from gpuseg.backends.packed_centers import PackedCenters

Choice = Literal["auto", "full", "late"]

_PROBED = plan_full.PROBE_BLOCKS * plan_full.PROBE_THREADS

_MANY = 0.4
"""Share of rows to look at from which on a pass over all rows is faster: by reading, not measured.
A late pass takes about 0.1 of a full one for its scan, and 1.5 to 2 times as long for a row."""

_MIN_ROWS = 4 * _PROBED
"""With fewer rows a pass takes no longer than the look at a sample: slack is scanned."""

_KEPT_BYTES = 2**26
"""Of workspaces that a thread keeps, besides the one in use."""


def remembered_bytes(k: int) -> int:
    """Return the bytes of a row's label and slack."""
    return _label_type(k).itemsize + np.dtype(np.uint16).itemsize


def remember(launcher: Launcher, n_rows: int, k: int) -> RowBounds:
    """Return the memory of rows never seen: `slack` is the upper halves of float32, uint16."""
    label = launcher.xp.zeros(n_rows, _label_type(k))
    return RowBounds(label, launcher.xp.zeros(n_rows, np.uint16), np.zeros(k, np.float32))


def _label_type(k: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if k <= MAX_SHORT else np.int32)


class LloydPasses:
    """Passes on a device.

    Parameters
    ----------
    launcher : Launcher
    choice : {"auto", "full", "late"}
        Whether passes stream all rows: where that is faster, always where they can, or never.
    """

    def __init__(self, launcher: Launcher, choice: Choice = "auto") -> None:
        self._launcher = launcher
        self._choice = choice
        self._local = threading.local()

    def run(
        self,
        x: Any,
        weight: Any,
        runs: Sequence[tuple[PackedCenters, RowBounds]],
        magic: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], int]:
        """Make one pass over rows on the device.

        Parameters
        ----------
        runs : sequence
            Labels of all take the same number of bytes.
        magic : float64 (2, d + 1)

        Returns
        -------
        int64 (2, K, d + 1)
            By how many steps of the grids the sums of all centres change.
        int
            Rows looked at.
        """
        try:
            return self._run(x, weight, runs, magic)
        except BaseException:
            self._forget()
            raise

    def _run(
        self,
        x: Any,
        weight: Any,
        runs: Sequence[tuple[PackedCenters, RowBounds]],
        magic: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], int]:
        (n, d), ks = x.shape, tuple(packed.k for packed, _ in runs)
        space = self._workspace(ks, d)
        space.upload(runs, magic)
        memories = [memory for _, memory in runs]
        label_bytes = memories[0].label.dtype.itemsize
        aligned, limits = alignment(self._launcher.address(x)), self._launcher.limits
        common = _common(space, x, weight, memories)
        fresh = any(memory.fresh for memory in memories)
        full = None
        if self._streams(space, memories, n, fresh):
            full = plan_full.plan_full(n, d, ks, label_bytes, fresh, aligned, limits)
        if full is not None:
            self._launch_full(full, common)
        else:
            groups = sum(-(-k // GROUP) for k in ks)
            late = plan_lloyd(n, d, groups, sum(ks), label_bytes, aligned == 16, limits)
            self._launch_late(late, space, common)
        counts, looked_at = space.counts()
        return counts.reshape(2, sum(ks), d + 1), n if full is not None else looked_at

    def _workspace(self, ks: tuple[int, ...], d: int) -> Workspace:
        """Return memory that this thread has used for the like, if it has, else new."""
        kept: dict[tuple[tuple[int, ...], int], Workspace] = self._local.__dict__.setdefault(
            "spaces", {}
        )
        space = kept.pop((ks, d), None)
        while sum(other.n_bytes for other in kept.values()) > _KEPT_BYTES:
            del kept[next(iter(kept))]  # the one that was not used for longest
        space = space or Workspace(self._launcher, ks, d)
        kept[ks, d] = space
        return space

    def _forget(self) -> None:
        """Keep nothing: where a pass has failed, the device may not be done with it."""
        self._local.__dict__.pop("spaces", None)

    def _streams(
        self, space: Workspace, memories: Sequence[RowBounds], n: int, fresh: bool
    ) -> bool:
        """Whether all rows are to be streamed."""
        if self._choice != "auto":
            return self._choice == "full"
        return fresh or (n >= _MIN_ROWS and self._many_fail(space, memories, n))

    def _many_fail(self, space: Workspace, memories: Sequence[RowBounds], n: int) -> bool:
        """Whether most rows would be looked at, by a sample of them."""
        there, (labels, slacks) = space.there, space.tables(memories)
        kernel = plan_full.probe(memories[0].label.dtype.itemsize)
        self._launcher.launch(kernel, plan_full.PROBE_BLOCKS, [
            np.int64(n), np.int32(len(memories)), there["first_center"], there["drift"],
            labels, slacks, there["failing"],
        ])  # fmt: skip
        return space.failing() > _MANY * _PROBED

    def _launch_full(self, plan: FullLaunch, common: list[Any]) -> None:
        arguments = [*common, np.int32(plan.width), np.int32(plan.private)]
        self._launcher.launch(plan.kernel, plan.blocks, arguments, plan.shared_bytes)

    def _launch_late(self, plan: Launch, space: Workspace, common: list[Any]) -> None:
        arguments = [
            *common, space.there["most_drift"], space.there["looked_at"],
            np.int32(plan.rows_per_chunk), np.int32(plan.tiling.features),
            np.int32(plan.tiling.resident), np.int32(plan.private),
        ]  # fmt: skip
        self._launcher.launch(plan.kernel, plan.blocks, arguments, plan.shared_bytes)


def _common(space: Workspace, x: Any, weight: Any, memories: Sequence[RowBounds]) -> list[Any]:
    """Return the arguments that both kernels take first."""
    there, (labels, slacks), (n, d) = space.there, space.tables(memories), x.shape
    return [
        x, weight, np.int64(n), np.int32(d), np.int32(len(memories)),
        there["first_center"], there["first_group"], there["exact"], there["shift"],
        there["negated"], there["half_norms"], there["largest_norm"], there["drift"],
        there["fresh"], there["magic"], labels, slacks, there["sums"],
    ]  # fmt: skip
