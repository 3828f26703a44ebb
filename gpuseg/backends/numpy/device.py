"""Host memory as a device: nothing moves, everything fits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class NumpyDevice:
    """See `backends.protocols.Device`."""

    def fits(self, n_rows: int, n_features: int) -> bool:
        return True

    def block_rows(self, n_values: int) -> None:
        return None

    def to_device(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def from_foreign(self, array: Any, dtype: Any) -> NDArray[Any]:
        return np.ascontiguousarray(array, dtype)

    def to_host(self, array: NDArray[Any], rows: Any = slice(None)) -> NDArray[Any]:
        part: NDArray[Any] = array[rows]
        return part
