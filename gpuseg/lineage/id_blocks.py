"""Blocks of rows with ids, of which the least and the greatest id are known."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.lineage.id_keys import IdKeys, Keys


class LabeledRows(NamedTuple):
    """Keys of ids, and the segments of their rows, int32 (n,)."""

    keys: Keys
    labels: NDArray[np.int32]


@dataclass(frozen=True)
class IdBlock:
    """Rows that are read together.

    Attributes
    ----------
    low, high : int or bytes
        Keys between which those of the rows are, ends included.
    rows : int
    file, number : int
        Where it is in its file.
    """

    low: Any
    high: Any
    rows: int
    file: int
    number: int


class IdBlocks(ABC):
    """Rows in blocks."""

    blocks: Sequence[IdBlock]

    @abstractmethod
    def read(self, blocks: Sequence[IdBlock]) -> list[LabeledRows]:
        """Return the rows of blocks, in their order."""


class IdWindow(NamedTuple):
    """Keys above `low`, and not above `high`; None is without a bound.

    `older` and `newer` are the blocks that may have such keys.
    """

    low: Any
    high: Any
    older: list[IdBlock]
    newer: list[IdBlock]


def cut_windows(
    older: Sequence[IdBlock], newer: Sequence[IdBlock], rows_per_window: int
) -> list[IdWindow]:
    """Cut all keys into windows, so that each has about as many rows of both outputs together."""
    bounds: list[Any] = []
    count = 0
    for block in sorted([*older, *newer], key=lambda block: block.high):
        count += block.rows
        if count >= rows_per_window and (not bounds or bounds[-1] < block.high):
            bounds.append(block.high)
            count = 0
    in_older, in_newer = _by_window(older, bounds), _by_window(newer, bounds)
    ends = zip([None, *bounds], [*bounds, None], in_older, in_newer, strict=True)
    return [IdWindow(*window) for window in ends]


def are_apart(blocks: Sequence[IdBlock], rows_per_window: int) -> bool:
    """Return whether blocks can be read in the order of their keys, few of them at once."""
    loads = [sum(block.rows for block in window.older) for window in
             cut_windows(blocks, [], rows_per_window)]  # fmt: skip
    total, largest = sum(block.rows for block in blocks), max(b.rows for b in blocks)
    return sum(loads) <= 2 * total and max(loads) <= 2 * (rows_per_window + largest)


def rows_between(
    source: IdBlocks, blocks: Sequence[IdBlock], keys: IdKeys, window: IdWindow
) -> LabeledRows:
    """Return the rows of blocks whose keys are in a window."""
    pieces = []
    for block, rows in zip(blocks, source.read(blocks), strict=True):
        chosen = []
        if window.low is not None and block.low <= window.low:
            chosen.append(keys.above(rows.keys, window.low))
        if window.high is not None and block.high > window.high:
            chosen.append(~keys.above(rows.keys, window.high))
        if chosen:
            mask = np.logical_and.reduce(chosen)
            rows = LabeledRows(keys.take(rows.keys, mask), rows.labels[mask])
        pieces.append(rows)
    labels = [piece.labels for piece in pieces] or [np.empty(0, np.int32)]
    return LabeledRows(keys.concatenate([piece.keys for piece in pieces]), np.concatenate(labels))


def _by_window(blocks: Sequence[IdBlock], bounds: Sequence[Any]) -> list[list[IdBlock]]:
    windows: list[list[IdBlock]] = [[] for _ in range(len(bounds) + 1)]
    for block in blocks:
        first, last = bisect_left(bounds, block.low), bisect_left(bounds, block.high)
        for window in windows[first : last + 1]:
            window.append(block)
    return windows
