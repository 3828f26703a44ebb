"""Copy small arrays to the device in one transfer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda.launcher import Launcher

_ALIGNMENT = 256


def upload(launcher: Launcher, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the arrays on the device, by name; each begins at a multiple of 256 bytes."""
    starts, end = [], 0
    for array in arrays.values():
        starts.append(end)
        end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    packed = np.zeros(max(end, 1), np.uint8)
    for start, array in zip(starts, arrays.values(), strict=True):
        packed[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view("u1")
    on_device = launcher.to_device(packed)
    return {
        name: on_device[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        for start, (name, array) in zip(starts, arrays.items(), strict=True)
    }
