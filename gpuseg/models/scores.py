"""What a model says of rows, and the same as columns of a frame."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.optional import is_pandas, is_polars
from gpuseg.output_columns import CONFIDENCE, DISTANCE, NEXT_SEGMENT, SEGMENT


@dataclass(frozen=True)
class Scores:
    """Segments of rows, and how clearly the rows belong to them.

    Attributes
    ----------
    segment : int32 (n,)
        -1 is noise (DBSCAN).
    distance : float32 (n,)
        In scaled units; see `SegmentModel.predict`.
    next_segment : int32 (n,) or None
        The nearest other segment, -1 if there is none. None if it was not requested, or if the
        algorithm has no centers (DBSCAN).
    confidence : float32 (n,) or None
        From 0, between two segments, to 1 (`model_selection.confidence`); None like `next_segment`.
    levels : mapping of str to int32 (n,)
        Of a hierarchy with several levels: the segment at each level, by the name of its column.
    """

    segment: NDArray[np.int32]
    distance: NDArray[np.float32]
    next_segment: NDArray[np.int32] | None = None
    confidence: NDArray[np.float32] | None = None
    levels: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return all that there is, by the name of its column."""
        columns: dict[str, NDArray[Any] | None] = {
            SEGMENT: self.segment,
            DISTANCE: self.distance,
            NEXT_SEGMENT: self.next_segment,
            CONFIDENCE: self.confidence,
            **self.levels,
        }
        return {name: column for name, column in columns.items() if column is not None}

    def as_frame(self, like: Any) -> Any:
        """Return the columns as a frame of the library of `like`, by default an Arrow table.

        A pandas frame gets the index of `like`.
        """
        if is_pandas(like):
            return sys.modules["pandas"].DataFrame(self.columns(), index=like.index)
        if is_polars(like):
            return sys.modules["polars"].DataFrame(self.columns())
        return pa.table(self.columns())


def concatenated(blocks: Sequence[Scores]) -> Scores:
    """Return the scores of all rows from those of consecutive blocks, at least one."""
    if len(blocks) == 1:
        return blocks[0]

    def join(column: str) -> Any:
        parts = [getattr(block, column) for block in blocks]
        return None if parts[0] is None else np.concatenate(parts)

    levels = {name: np.concatenate([b.levels[name] for b in blocks]) for name in blocks[0].levels}
    return Scores(join(SEGMENT), join(DISTANCE), join(NEXT_SEGMENT), join(CONFIDENCE), levels)
