"""Profile the segments: what the manifest says of them, and the file of example customers."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from gpuseg.manifest import BasketSummary, ProfileSummary, Segment
from gpuseg.model_selection.confidence import confidences
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.fit import PreprocessingFit
from gpuseg.profiling.association_rules import association_rules
from gpuseg.profiling.examples import Example, select_examples
from gpuseg.profiling.pca_map import segment_map
from gpuseg.profiling.rules.rules import segment_rules
from gpuseg.profiling.sample import ProfilingSample
from gpuseg.profiling.statistics import deviation_intervals, quantiles
from gpuseg.runtime.executor import Executor
from gpuseg.segmentation.base import SegmentationResult
from gpuseg.sharding import row_passes as passes

EXAMPLES = "_examples.json"

_MAX_BASKET_CUSTOMERS = 20_000
"""Maximum number of customers whose orders are read."""


@dataclass(frozen=True)
class ProfileInputs:
    """What is collected from the shards once every customer has a segment.

    Attributes
    ----------
    sample : ProfilingSample
    examples : bytes
        Content of the file of example customers.
    audit_counts : dict
        Customers by segment and value, for each audited column.
    baskets : dict of int to BasketSummary
        Products that are bought together, by segment; empty without transactions.
    """

    sample: ProfilingSample
    examples: bytes
    audit_counts: Counts
    baskets: Mapping[int, BasketSummary]


@dataclass(frozen=True)
class SegmentProfiles:
    """The profile of all customers together, and the segments with theirs.

    Attributes
    ----------
    profile : ProfileSummary
    segments : tuple of Segment
    """

    profile: ProfileSummary
    segments: tuple[Segment, ...]


def collect_profile_inputs(
    executor: Executor,
    preprocessing: PreprocessingFit,
    result: SegmentationResult,
    audit_columns: Sequence[str],
    lines: Source | None,
) -> ProfileInputs:
    """Collect the inputs of the segment profiles.

    Raises
    ------
    DataError
        For audited columns that are not groups.
    """
    sample = sample_of(executor, preprocessing)
    counts = cross_tabulate(executor, audit_columns) if audit_columns else {}
    baskets = {} if lines is None else _baskets(executor, sample, lines)
    return ProfileInputs(sample, examples_file(executor, sample, result), counts, baskets)


def _baskets(
    executor: Executor, sample: ProfilingSample, lines: Source
) -> dict[int, BasketSummary]:
    """Return by segment what customers of the sample buy together."""
    rows = np.flatnonzero(hash_sample_mask(sample.index, _MAX_BASKET_CUSTOMERS, sample.total))
    ids = _ids_at(executor, sample.index[rows])
    bought = None if ids is None else read_baskets(executor, lines, ids.combine_chunks())
    if bought is None or ids is None:
        return {}
    hashes = hash_of(as_id(ids.combine_chunks()))
    order = np.argsort(hashes)
    label = sample.label[rows][order][np.searchsorted(hashes[order], bought.customer)]
    baskets = {}
    for segment in np.unique(sample.label).tolist():
        is_here = label == segment
        rules = association_rules(bought.basket[is_here], bought.product[is_here])
        if rules is not None:
            baskets[segment] = rules
    return baskets


def sample_of(executor: Executor, preprocessing: PreprocessingFit) -> ProfilingSample:
    """Return the rows that were drawn during preprocessing, with their segments."""
    rows, transform = preprocessing.sample, preprocessing.feature_transform
    b = registry.get("numba")  # any backend gives the same bits
    parts = executor.map(passes.labels_at, per_shard=_by_shard(executor, rows.index))
    labels, distances = zip(*parts, strict=True)
    return ProfilingSample(
        rows.index,
        rows.x,
        b.prepare(rows.x.copy(), replace(transform, projection=None, unit=False)),
        b.prepare(rows.x.copy(), transform),
        np.concatenate(labels),
        np.concatenate(distances),
        preprocessing.features,
        preprocessing.raw.rows,
    )


def _by_shard(executor: Executor, index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split rising positions in the data by shard; return positions in the shards."""
    starts = np.cumsum([0, *executor.map(passes.n_rows)])
    bounds = np.searchsorted(index, starts)
    return [
        index[a:b] - start for a, b, start in zip(bounds[:-1], bounds[1:], starts[:-1], strict=True)
    ]


def describe_segments(
    inputs: ProfileInputs,
    preprocessing: PreprocessingFit,
    encoders: Sequence[Encoder],
    segments: Sequence[Segment],
    with_intervals: bool,
) -> SegmentProfiles:
    """Add quantiles, intervals, rules and baskets to the segments.

    Parameters
    ----------
    with_intervals : bool
        Whether the averages of the segments are those of customers, so that their confidence
        intervals have a meaning.
    """
    sample, transform = inputs.sample, preprocessing.feature_transform
    std = np.where(preprocessing.std > 0, preprocessing.std, 1.0) / transform.scale
    has_missing = preprocessing.raw.counts[KINDS.index("missing")] > 0
    fill = np.where(has_missing, transform.fill, np.float32(np.nan))

    def described(segment: Segment) -> Segment:
        rows = sample.label == segment.segment
        deviation = {name: float(value or 0.0) for name, value in segment.deviation.items()}
        intervals = (
            deviation_intervals(sample, rows, deviation, segment.size, std)
            if with_intervals
            else {}
        )
        return segment.model_copy(
            update={
                "quantiles": quantiles(sample, rows),
                "deviation_interval": intervals,
                "baskets": inputs.baskets.get(segment.segment),
            }
        )

    with ThreadPoolExecutor(1, thread_name_prefix="gpuseg-rules") as thread:
        growing = thread.submit(segment_rules, sample, encoders, fill)
        everyone = quantiles(sample)
        map_ = segment_map(sample, [segment.segment for segment in segments])
        without_rules = list(map(described, segments))
        rules = growing.result()
    profile = ProfileSummary(
        sample=sample.describe(),
        quantiles=everyone,
        rules=rules.surrogate if rules else None,
        map=map_,
    )
    by_segment = rules.by_segment if rules else {}
    return SegmentProfiles(
        profile,
        tuple(
            segment.model_copy(update={"rule": by_segment.get(segment.segment)})
            for segment in without_rules
        ),
    )


def examples_file(executor: Executor, sample: ProfilingSample, result: SegmentationResult) -> bytes:
    """Return typical and ambiguous customers as JSON, with ids where there are any.

    It is not a Parquet file, since readers of a folder of Parquet files take all that there are.
    """
    confidence = _confidence(sample, result)
    examples = select_examples(sample, result.segments, confidence)
    ids = _example_ids(executor, sample, examples)
    content = []
    for i, example in enumerate(examples):
        values = map(_or_none, sample.x[example.index])
        content.append(
            {
                "segment": example.segment,
                "kind": example.kind,
                "rank": example.rank,
                "row": int(sample.index[example.index]),
                **({} if ids is None else {"id": ids[i]}),
                "distance": _or_none(sample.distance[example.index]),
                **({} if confidence is None else {"confidence": float(confidence[example.index])}),
                "features": dict(zip(sample.features, values, strict=True)),
            }
        )
    return as_json(content)


def missing_rule_warning(profiles: SegmentProfiles) -> str:
    """Return a warning on segments without a rule, where others have one; else an empty text."""
    segments = [str(s.segment) for s in profiles.segments if s.rule is None]
    if not segments or profiles.profile.rules is None:
        return ""
    return (
        f"no simple rule separates segment {', '.join(segments)} from the others; fewer segments "
        "may be enough (segment.max_clusters)"
    )


def _or_none(value: np.float32) -> float | None:
    """Return a number for JSON, which has neither NaN nor infinity."""
    return float(value) if np.isfinite(value) else None


def _confidence(sample: ProfilingSample, result: SegmentationResult) -> NDArray[np.float32] | None:
    """Return how far each customer is from a second segment; None where there is no such thing."""
    runner_up = result.runner_up
    if runner_up is None or len(result.segments) < 2:
        return None
    # Any backend gives the same bits.
    return confidences(sample.rows, "numba", runner_up.centers, runner_up.segment)


def _example_ids(
    executor: Executor, sample: ProfilingSample, examples: Sequence[Example]
) -> list[Any] | None:
    """Return the ids of the examples, or None where there are none."""
    index = sample.index[[example.index for example in examples]]
    unique, inverse = np.unique(index, return_inverse=True)
    ids = _ids_at(executor, unique)
    if ids is None:
        return None
    values = [_id_as_json(value) for value in ids.to_pylist()]
    return [values[i] for i in inverse]


def _id_as_json(value: Any) -> int | str | None:
    """Return an id as JSON: bytes as hexadecimal digits, types unknown to JSON as text."""
    if value is None or isinstance(value, int | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _ids_at(executor: Executor, index: NDArray[np.int64]) -> pa.ChunkedArray | None:
    """Return the ids at rising positions in the data; None where there are none."""
    parts = executor.map(ids_at, per_shard=_by_shard(executor, index))
    chunks = [chunk for part in parts if part is not None for chunk in part.chunks]
    return pa.chunked_array(chunks) if chunks else None
