"""Sort keys: unsigned integers in the order of float32 values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def float32_from_keys(keys: NDArray[Any]) -> NDArray[np.float32]:
    """Return the float32 values that have these sort keys, see `Backend.key_histogram`."""
    bits = keys.astype(np.uint32)
    positive = bits >> np.uint32(31) == 1
    return np.where(positive, bits ^ np.uint32(0x80000000), ~bits).view(np.float32)
