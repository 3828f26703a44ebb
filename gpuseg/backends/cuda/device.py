"""The memory of a GPU."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launch_plans import plan_simple
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.stream import on_stream

_MAX_SHARE = 0.9
"""Share of the free device memory that rows may take."""

_BLOCK_BYTES = 2**25
"""Bytes of host rows and their results per call: work for all multiprocessors, and longer on the
bus than the call takes in Python. With `pinned.N_PAIRS` calls at a time, that is 256 MiB of device
memory, and 64 MiB of page-locked memory."""

_RESULT_BYTES = 12
"""Bytes per row of results: a label and a squared distance."""

_BLOCK_STEP = 1024
"""Blocks have a multiple of this number of rows, so that their bounds begin aligned."""

_BYTES_PER_ROW = 48
"""Bytes per row beyond its values: label and slack; in the last pass label, squared distance and
distance."""


class CudaDevice:
    """See `backends.protocols.Device`.

    Parameters
    ----------
    launcher : Launcher
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def fits(self, n_rows: int, n_features: int) -> bool:
        n_bytes = n_rows * (4 * n_features + 8 + _BYTES_PER_ROW)
        return n_bytes <= _MAX_SHARE * self._launcher.free_bytes()

    def block_rows(self, n_values: int) -> int:
        rows = _BLOCK_BYTES // (4 * n_values + _RESULT_BYTES)
        return max(rows // _BLOCK_STEP, 1) * _BLOCK_STEP

    @on_stream
    def to_device(self, array: Any) -> Any:
        try:
            return self._launcher.to_device(array)
        except MemoryError:  # another process has taken the memory since `fits`
            return array

    @on_stream
    def from_foreign(self, array: Any, dtype: Any) -> Any:
        launcher, adopted = self._launcher, self._launcher.adopt(array)
        if adopted.dtype != np.float64 or dtype != np.float32 or not adopted.size:
            return adopted.astype(dtype, copy=False)
        narrowed = launcher.xp.empty(adopted.shape, np.float32)
        kernel, blocks = plan_simple("to_float32", adopted.size, launcher.limits)
        launcher.launch(kernel, blocks, [adopted, np.int64(adopted.size), narrowed])
        return narrowed

    @on_stream
    def to_host(self, array: Any, rows: Any = slice(None)) -> NDArray[Any]:
        part: NDArray[Any]
        if isinstance(array, np.ndarray):
            part = array[rows]
            return part
        rows = self._launcher.to_device(rows) if isinstance(rows, np.ndarray) else rows
        part = self._launcher.to_host(array[rows])
        return part
