"""The units of a fit: a run that was interrupted does not repeat those that were finished."""

from contextlib import ExitStack
from types import TracebackType

from gpuseg.algorithms.dbscan import saved_state
from gpuseg.algorithms.dbscan.cost_model import CostEstimate
from gpuseg.algorithms.dbscan.saved_state import SavedFit
from gpuseg.runtime.executor import Executor

_MAX_SHARE = 0.02
"""Maximum share of a fit that saving its steps may take. A job reads and writes rows besides."""

_SECONDS_PER_BYTE = 2.5e-9
_SECONDS_PER_FILE = 2e-3
"""What saving takes, measured on server CPUs: files go to the memory of the system first."""

_STEPS = ("counted", "connected", "assigned")

_MAIN_STEP = "connected"
"""The one that is saved where saving all is too much: most of the work is before it."""

_STEP_BYTES = 4.2
"""Bytes of a row after a step: a cluster, and a bit."""

_GPU_SPEED = 20
"""How much faster than estimated a fit is on a GPU, at most."""


class FitUnits:
    """Run the steps of a fit in units; as a context manager, it ends the last one.

    A unit begins with the fit, and with each state that is saved. Nothing is saved where the
    executor has no place for it.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor, self._unit = executor, ExitStack()
        self._saved: SavedFit | None = None
        self._saved_steps: tuple[str, ...] = ()
        self._has_saved_rows = False

    def __enter__(self) -> "FitUnits":
        self._unit.enter_context(self._executor.unit())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._unit.__exit__(kind, error, traceback)

    def prepare(
        self, saved: SavedFit, estimate: CostEstimate, n_rows: int, n_features: int
    ) -> None:
        """Tell how state is saved, and the work of all steps and the size of the data."""
        seconds = estimate.seconds / (_GPU_SPEED if saved.backend == "cuda" else 1)
        shard_rows = n_rows / self._executor.n_shards
        moved = shard_rows * (8 + 4 * n_features) * _SECONDS_PER_BYTE if saved.has_moved else 0.0
        step = shard_rows * _STEP_BYTES * _SECONDS_PER_BYTE + _SECONDS_PER_FILE
        self._saved = saved
        for steps in (_STEPS, (_MAIN_STEP,)):
            if moved + len(steps) * step <= _MAX_SHARE * seconds:
                self._saved_steps = steps
                return

    def save(self, step: str) -> None:
        """End a unit with a step, and save the state of all partitions, if that is worth it."""
        if self._saved is None or step not in self._saved_steps:
            return
        executor, numbers = self._executor, range(self._executor.n_shards)
        if self._saved.has_moved and not self._has_saved_rows:
            executor.map(saved_state.save_rows, self._saved, per_shard=numbers)
            self._has_saved_rows = True
        executor.map(saved_state.save_state, self._saved, step, per_shard=numbers)
        self._unit.close()
        executor.apply(saved_state.restore_state, self._saved, step, per_shard=numbers)
        self._unit.enter_context(executor.unit())

    def save_labels(self) -> None:
        """End the last unit, and save the result."""
        if self._saved is None:
            return
        executor, numbers = self._executor, range(self._executor.n_shards)
        executor.map(saved_state.save_labels, self._saved, per_shard=numbers)
        self._unit.close()
        executor.apply(saved_state.restore_labels, self._saved, per_shard=numbers)
