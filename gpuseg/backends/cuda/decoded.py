"""Write columns that were decoded on the device into the rows that stay there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launch_plans import plan_simple
from gpuseg.backends.cuda.launcher import Launcher

TYPES = (
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "bool",
)
"""Types of columns, in the order of Type in ``kernels/columns/decode_column.cu``."""


@dataclass(frozen=True)
class Column:
    """Values of a column, and the feature that they become.

    Attributes
    ----------
    values : uint8 (bytes,)
        On the device, an array of any library.
    type : str
        One of `TYPES`.
    feature : int or None
        None for weights.
    present : uint8 (bytes,) or None
        On the device, a validity bit for each value, the lowest bit of a byte first; None where
        no value is missing.
    first : int
        The index of the first row's value.
    flag : int or None
        The feature that marks missing values.
    """

    values: Any
    type: str
    feature: int | None
    present: Any = None
    first: int = 0
    flag: int | None = None


class DecodedRows:
    """Rows on the device, written column by column.

    Parameters
    ----------
    launcher : Launcher
    n_rows, n_features : int
    weighted : bool

    Attributes
    ----------
    x : float32 (n_rows, n_features), C-order
    weight : float64 (n_rows,) or None

    Raises
    ------
    MemoryError
        Where the device has too little memory for them.
    """

    def __init__(self, launcher: Launcher, n_rows: int, n_features: int, weighted: bool) -> None:
        self._launcher = launcher
        with launcher.stream():
            self.x = launcher.xp.empty((n_rows, n_features), np.float32)
            self.weight = launcher.xp.empty(n_rows) if weighted else None

    def write(
        self,
        rows: slice,
        columns: Sequence[Column],
        features: NDArray[np.float32] | None = None,
        at: Sequence[int] = (),
        weight: NDArray[np.float64] | None = None,
    ) -> int:
        """Write decoded columns of some rows; the device has finished on return.

        Missing values become NaN.

        Parameters
        ----------
        rows : slice
        columns : sequence of Column
        features : float32 (len(at), rows), optional
            The features `at`, in host memory.
        weight : float64 (rows,), optional
            In host memory.

        Returns
        -------
        int
            Number of refused values: finite and beyond float32, or not valid as a weight.
        """
        with self._launcher.stream():
            refused = self._launcher.xp.zeros(1, np.uint64)
            for column in (*columns, *self._from_host(features, at, weight)):
                self._write(rows, column, refused)
            return int(self._launcher.to_host(refused)[0])

    def _from_host(
        self,
        features: NDArray[np.float32] | None,
        at: Sequence[int],
        weight: NDArray[np.float64] | None,
    ) -> list[Column]:
        """Copy host arrays to the device; return their columns."""
        moved = []
        if features is not None:
            values, n = self._bytes(features), features.shape[1]
            moved += [Column(values, "float32", f, first=i * n) for i, f in enumerate(at)]
        if weight is not None:
            moved.append(Column(self._bytes(weight), "float64", None))
        return moved

    def _bytes(self, values: NDArray[np.generic]) -> Any:
        return self._launcher.to_device(values.reshape(-1).view(np.uint8))

    def _write(self, rows: slice, column: Column, refused: Any) -> None:
        launcher, x = self._launcher, self.x[rows]
        is_weight, (n, d) = column.feature is None, x.shape
        kernel, blocks = plan_simple("decode_column", n, launcher.limits)
        arguments = [
            launcher.adopt(column.values),
            np.int64(column.first),
            np.int32(TYPES.index(column.type)),
            None if column.present is None else launcher.adopt(column.present),
            np.int64(n),
            x,
            np.int32(d),
            np.int32(column.feature or 0),
            np.int32(-1 if column.flag is None else column.flag),
            self.weight[rows] if is_weight and self.weight is not None else None,
            refused,
        ]
        launcher.launch(kernel, blocks, arguments)
