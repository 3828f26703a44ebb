"""What the segments are, for manifest and report, and customers to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.column_summary import KINDS
from gpuseg.features.baskets import read_baskets
from gpuseg.features.parse import as_id, hash_of
from gpuseg.features.transaction_files import Source
from gpuseg.io.output.base import as_json
from gpuseg.io.parquet.crosstab import Counts, cross_tabulate
from gpuseg.io.parquet.ids import ids_at
from gpuseg.model_selection.confidence import confidences
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.fit import PreprocessingFit
from gpuseg.profiling.association_rules import bought_together
from gpuseg.profiling.examples import Example, examples
from gpuseg.profiling.pca_map import plane
from gpuseg.profiling.rules.rules import rules
from gpuseg.profiling.sample import Sample
from gpuseg.profiling.statistics import intervals, quantiles
from gpuseg.runtime.executor import Executor
from gpuseg.segmentation.base import SegmentationResult
from gpuseg.sharding import row_passes as passes

EXAMPLES = "_examples.json"

_BASKET_CUSTOMERS = 20_000
"""Customers whose orders are looked at."""


@dataclass(frozen=True)
class Seen:
    """What was looked up once every customer had a segment.

    Attributes
    ----------
    sample : Sample
    examples : bytes
        The file of customers to look at.
    audited : dict
        By column: customers by segment and value.
    together : dict
        By segment: products that are bought together, where there are lines.
    """

    sample: Sample
    examples: bytes
    audited: Counts
    together: dict[int, dict[str, Any]]


def look(
    executor: Executor,
    prepared: PreprocessingFit,
    outcome: SegmentationResult,
    audited: Sequence[str],
    lines: Source | None,
) -> Seen:
    """Look up the sample, the examples, who is in which group, and what is bought together.

    Raises
    ------
    DataError
        For columns that are no groups.
    """
    sample = sample_of(executor, prepared)
    counts = cross_tabulate(executor, audited) if audited else {}
    together = {} if lines is None else _together(executor, sample, lines)
    return Seen(sample, examples_file(executor, sample, outcome), counts, together)


def _together(executor: Executor, sample: Sample, lines: Source) -> dict[int, dict[str, Any]]:
    """Return by segment what customers of the sample have bought together."""
    some = np.flatnonzero(hash_sample_mask(sample.index, _BASKET_CUSTOMERS, sample.total))
    ids = _ids_of(executor, sample.index[some])
    bought = None if ids is None else read_baskets(executor, lines, ids.combine_chunks())
    if bought is None or ids is None:
        return {}
    hashes = hash_of(as_id(ids.combine_chunks()))
    order = np.argsort(hashes)
    label = sample.label[some][order][np.searchsorted(hashes[order], bought.customer)]
    found = {
        segment: bought_together(bought.basket[label == segment], bought.product[label == segment])
        for segment in np.unique(sample.label).tolist()
    }
    return {segment: own for segment, own in found.items() if own is not None}


def sample_of(executor: Executor, prepared: PreprocessingFit) -> Sample:
    """Return the rows that were drawn when the data was prepared, with their segments."""
    rows, p, b = prepared.sample, prepared.feature_transform, registry.get("numpy")
    found = executor.map(passes.labels_at, per_shard=_by_shard(executor, rows.index))
    labels, distances = zip(*found, strict=True)
    return Sample(
        rows.index,
        rows.x,
        b.prepare(rows.x.copy(), replace(p, projection=None, unit=False)),
        b.prepare(rows.x.copy(), p),
        np.concatenate(labels),
        np.concatenate(distances),
        prepared.features,
        prepared.raw.rows,
    )


def _by_shard(executor: Executor, index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Part places in the data, rising, by the shards where they are; return places there."""
    starts = np.cumsum([0, *executor.map(passes.n_rows)])
    bounds = np.searchsorted(index, starts)
    return [
        index[a:b] - start for a, b, start in zip(bounds[:-1], bounds[1:], starts[:-1], strict=True)
    ]


def described(
    sample: Sample,
    prepared: PreprocessingFit,
    encoders: Sequence[Encoder],
    segments: Sequence[Mapping[str, Any]],
    averages_are_customers: bool,
    together: Mapping[int, Mapping[str, Any]],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what is known of everyone, and what is added to each segment.

    Intervals are given only where averages are those of customers: without weights, and not of
    directions.
    """
    p, sigma = prepared.feature_transform, np.where(prepared.std > 0, prepared.std, 1.0)
    gaps = prepared.raw.counts[KINDS.index("missing")] > 0
    told = rules(sample, encoders, np.where(gaps, p.fill, np.float32(np.nan)))
    whole, each = told or (None, {})
    added = []
    for segment in segments:
        number = segment["segment"]
        rows = sample.label == number
        added.append(
            {
                "quantiles": quantiles(sample, rows),
                "interval": intervals(sample, rows, segment, sigma / p.scale)
                if averages_are_customers
                else {},
                "rule": each.get(number),
                **({"together": together[number]} if number in together else {}),
            }
        )
    numbers = [segment["segment"] for segment in segments]
    return {
        "sample": sample.said(),
        "quantiles": quantiles(sample),
        "rules": whole,
        "map": plane(sample, numbers),
    }, added


def examples_file(executor: Executor, sample: Sample, outcome: SegmentationResult) -> bytes:
    """Return typical and doubtful customers as JSON, with ids where there are any.

    It is no Parquet file: what reads a folder of Parquet files takes in all that there are.
    """
    confidence = _confidence(sample, outcome)
    found = examples(sample, outcome.segments, confidence)
    ids = _ids(executor, sample, found)
    shown = []
    for i, own in enumerate(found):
        values = map(_finite, sample.x[own.at])
        shown.append(
            {
                "segment": own.segment,
                "kind": own.kind,
                "rank": own.rank,
                "row": int(sample.index[own.at]),
                **({} if ids is None else {"id": ids[i]}),
                "distance": _finite(sample.distance[own.at]),
                **({} if confidence is None else {"confidence": float(confidence[own.at])}),
                "features": dict(zip(sample.features, values, strict=True)),
            }
        )
    return as_json(shown)


def alike(whole: Mapping[str, Any], segments: Sequence[Mapping[str, Any]]) -> str:
    """Say of which segments no rule could be found while others have one; else nothing."""
    own = [str(segment["segment"]) for segment in segments if not segment["rule"]]
    if not own or not whole["rules"]:
        return ""
    return (
        f"no short rule tells segment {', '.join(own)} from the others: fewer segments may say as "
        "much; see segment.max_clusters"
    )


def _finite(value: np.float32) -> float | None:
    """Return a number as JSON has it, which knows neither NaN nor infinity."""
    return float(value) if np.isfinite(value) else None


def _confidence(sample: Sample, outcome: SegmentationResult) -> NDArray[np.float32] | None:
    """Return how far each customer is from another segment; None of DBSCAN, and of one segment."""
    runner_up = outcome.runner_up
    if runner_up is None or len(outcome.segments) < 2:
        return None
    # The same bits as any other backend's.
    return confidences(sample.rows, "numba", runner_up.centers, runner_up.segment)


def _ids(executor: Executor, sample: Sample, found: Sequence[Example]) -> list[Any] | None:
    """Return the ids of some customers."""
    places, back = np.unique(sample.index[[own.at for own in found]], return_inverse=True)
    ids = _ids_of(executor, places)
    if ids is None:
        return None
    plain = [_as_json(own) for own in ids.to_pylist()]
    return [plain[i] for i in back]


def _as_json(value: Any) -> int | str | None:
    """Return an id as JSON has it: bytes by their digits, what JSON has no type for as text."""
    if value is None or isinstance(value, int | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _ids_of(executor: Executor, places: NDArray[np.int64]) -> pa.ChunkedArray | None:
    """Return the ids at places in the data, rising; None where there are none."""
    parts = executor.map(ids_at, per_shard=_by_shard(executor, places))
    chunks = [chunk for part in parts if part is not None for chunk in part.chunks]
    return pa.chunked_array(chunks) if chunks else None
