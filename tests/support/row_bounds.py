"""What passes remember of rows, as NumPy's arrays of the specification's types."""

from __future__ import annotations

import numpy as np

from gpuseg.backends.backend import Backend
from gpuseg.backends.types import RowBounds


def seen(backend: Backend, memory: RowBounds) -> RowBounds:
    """Return labels as int32 and slack as float32, wherever and however they are kept."""
    label, slack = backend.to_host(memory.label), backend.to_host(memory.slack)
    if slack.dtype == np.uint16:  # the upper halves of float32
        slack = (slack.astype(np.uint32) << 16).view(np.float32)
    return RowBounds(label.astype(np.int32), slack, memory.drift, memory.fresh)


def set_slack(memory: RowBounds, rows: slice, value: float) -> None:
    """Let the slack of some rows be a value that has few digits."""
    narrow = memory.slack.dtype == np.uint16
    bits = int(np.float32(value).view(np.uint32)) >> 16
    memory.slack[rows] = np.uint16(bits) if narrow else np.float32(value)
