"""The numbers of the segments of a model, which they keep from one refresh to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.output_columns import SEGMENT
from gpuseg.refresh_record import Lineage


@dataclass(frozen=True)
class SegmentIdentity:
    """The number of each segment, and how the segments came into being.

    Attributes
    ----------
    ids : mapping of str to int32 (k,)
        By column of the output, ``segment`` or a level of a hierarchy: the number of each segment,
        in the order in which the algorithm counts them. Without the column it is that order.
    lineage : tuple of Lineage
        By level; empty where it is not known.
    """

    ids: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    lineage: tuple[Lineage, ...] = ()

    def of(self, column: str, n_clusters: int) -> NDArray[np.int32]:
        """Return the number of each segment of a level, int32 (k,)."""
        ids = self.ids.get(column)
        return np.arange(n_clusters, dtype=np.int32) if ids is None else ids

    def numbered(self, column: str, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the numbers of segments that are counted as the algorithm does; -1 stays -1."""
        ids = self.ids.get(column)
        if ids is None:
            return labels
        with_noise: NDArray[np.int32] = np.append(ids, np.int32(-1))  # -1 is the last index
        return with_noise[labels]

    def of_level(self, column: str) -> "SegmentIdentity":
        """Return the identity of one level, as that of the segments."""
        ids = {SEGMENT: self.ids[column]} if column in self.ids else {}
        lineage = [each for each in self.lineage if each.column == column]
        renamed = [each.model_copy(update={"column": SEGMENT}) for each in lineage]
        return SegmentIdentity(ids, tuple(renamed))

    def to_json(self) -> dict[str, Any]:
        """Return the values of JSON that model.json holds; none for numbers from 0 on."""
        ids = {name: ids.tolist() for name, ids in self.ids.items()}
        lineage = [each.to_json() for each in self.lineage]
        return {
            **({"segment_ids": ids} if ids else {}),
            **({"lineage": lineage} if lineage else {}),
        }

    @classmethod
    def from_saved(
        cls,
        ids: Mapping[str, list[int]],
        lineage: list[dict[str, Any]],
        n_clusters: Mapping[str, int],
    ) -> "SegmentIdentity":
        """Return the identity from the values of `to_json`.

        Parameters
        ----------
        n_clusters : mapping of str to int
            Number of segments by column of the output.

        Raises
        ------
        ValueError
            For numbers that do not suit the segments.
        DataError
            For a lineage that does not follow its schema.
        """
        for column, numbers in ids.items():
            if len(numbers) != n_clusters.get(column) or len(set(numbers)) != len(numbers):
                raise ValueError(f"segment_ids.{column} must have a number for each segment")
        arrays = {column: np.array(numbers, np.int32) for column, numbers in ids.items()}
        return cls(arrays, tuple(map(Lineage.from_json, lineage)))


FROM_ZERO = SegmentIdentity()
"""That of segments that no refresh has numbered: their numbers are those from 0 on."""
