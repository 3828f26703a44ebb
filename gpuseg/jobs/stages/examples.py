"""Example customers, chosen from the sample; their ids are picked while the parts are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.io.output.base import as_json
from gpuseg.manifest import NOT_DESCRIBED
from gpuseg.model_selection.confidence import confidences
from gpuseg.profiling.examples import Example, select_examples
from gpuseg.profiling.sample import ProfilingSample
from gpuseg.segmentation.base import SegmentationResult

EXAMPLES = "_examples.json"
"""It is not a Parquet file, since readers of a folder of Parquet files take all that there are."""


@dataclass(frozen=True)
class ChosenExamples:
    """Typical and ambiguous customers of the segments.

    Attributes
    ----------
    sample : ProfilingSample
    examples : sequence of Example
    confidence : float32 (m,) or None
        Of each customer of the sample; None if the algorithm has none.
    """

    sample: ProfilingSample
    examples: Sequence[Example]
    confidence: NDArray[np.float32] | None

    @property
    def positions(self) -> NDArray[np.int64]:
        """Positions of the customers in the data, rising, int64 (n,)."""
        return np.unique(self._positions())

    def _positions(self) -> NDArray[np.int64]:
        return self.sample.index[[example.index for example in self.examples]]

    def to_file(self, ids: pa.ChunkedArray | None) -> bytes:
        """Return the content of the file.

        Parameters
        ----------
        ids : ChunkedArray or None
            Ids of the customers at `positions`; None if the data has none.
        """
        sample, content = self.sample, []
        id_at: dict[int, Any] = {}
        if ids is not None:
            values = map(_id_as_json, ids.to_pylist())
            id_at = dict(zip(self.positions.tolist(), values, strict=True))
        for example, row in zip(self.examples, self._positions().tolist(), strict=True):
            at = example.index
            features = map(_or_none, sample.in_column_units(sample.x[at]))
            confidence = None if self.confidence is None else float(self.confidence[at])
            content.append(
                {
                    "segment": example.segment,
                    "kind": example.kind,
                    "rank": example.rank,
                    "row": row,
                    **({} if ids is None else {"id": id_at[row]}),
                    "distance": _or_none(sample.distance[at]),
                    **({} if confidence is None else {"confidence": confidence}),
                    "features": dict(zip(sample.features, features, strict=True)),
                }
            )
        return as_json(content)


def choose_examples(
    sample: ProfilingSample, segments: Sequence[int], result: SegmentationResult
) -> ChosenExamples:
    """Choose typical and ambiguous customers of some segments."""
    confidence = _confidence(sample, result)
    examples = select_examples(sample, segments, confidence)
    return ChosenExamples(sample, examples, confidence)


def _confidence(sample: ProfilingSample, result: SegmentationResult) -> NDArray[np.float32] | None:
    """Return how far each customer is from a second segment; None where there is no such thing."""
    runner_up = result.runner_up
    if runner_up is None or len(result.segments) < 2:
        return None
    # Any backend gives the same bits.
    of_examples = sample.label > NOT_DESCRIBED
    confidence = np.full(len(sample.label), np.nan, np.float32)
    confidence[of_examples] = confidences(
        sample.rows[of_examples], "numba", runner_up.centers, runner_up.segment
    )
    return confidence


def _or_none(value: np.floating[Any]) -> float | None:
    """Return a number for JSON, which has neither NaN nor infinity."""
    return float(value) if np.isfinite(value) else None


def _id_as_json(value: Any) -> int | str | None:
    """Return an id as JSON: bytes as hexadecimal digits, types unknown to JSON as text."""
    if value is None or isinstance(value, int | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)
