"""Profile the segments: what the manifest says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.column_summary import KINDS
from gpuseg.io.parquet.crosstab import Counts, cross_tabulate
from gpuseg.io.parquet.ids import ids_at
from gpuseg.jobs.context import Reporter
from gpuseg.jobs.positions import rows_by_shard
from gpuseg.jobs.segment_centers import deviations, scaled_centers
from gpuseg.jobs.stages.examples import ChosenExamples, choose_examples
from gpuseg.manifest import Audit, BasketSummary, ProfileSummary, Segment
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.fit import PreprocessingFit
from gpuseg.profiling.association_rules import association_rules
from gpuseg.profiling.audit.audit import audit_column
from gpuseg.profiling.pca_map import segment_map
from gpuseg.profiling.rules.rules import segment_rules
from gpuseg.profiling.sample import ProfilingSample
from gpuseg.profiling.selection import DescriptionScope, select_scope
from gpuseg.profiling.statistics import deviation_intervals, quantiles
from gpuseg.runtime.executor import Executor
from gpuseg.segmentation.base import SegmentationResult
from gpuseg.sharding import row_passes as passes

if TYPE_CHECKING:
    from gpuseg.features.transaction_files import Source

_MAX_BASKET_CUSTOMERS = 20_000
"""Maximum number of customers whose orders are read."""


@dataclass(frozen=True)
class ProfileInputs:
    """What is collected from the shards once every customer has a segment.

    Attributes
    ----------
    scope : DescriptionScope
        The segments and features that are described; the other inputs are of these only.
    sample : ProfilingSample
    examples : ChosenExamples
    audit_counts : dict
        Customers by segment and value, for each audited column.
    baskets : dict of int to BasketSummary
        Products that are bought together, by segment; empty without transactions.
    """

    scope: DescriptionScope
    sample: ProfilingSample
    examples: ChosenExamples
    audit_counts: Counts
    baskets: Mapping[int, BasketSummary]


@dataclass(frozen=True)
class SegmentProfiles:
    """The profile of all customers together, and the segments with theirs.

    Attributes
    ----------
    profile : ProfileSummary or None
        None where the segments could not be described.
    segments : tuple of Segment
    audit : mapping of str to Audit
        By audited column.
    previous_names : dict of int to str
        Older names of segments that have another one now, if an older output is continued.
    """

    profile: ProfileSummary | None
    segments: tuple[Segment, ...]
    audit: dict[str, Audit] = field(default_factory=dict)
    previous_names: dict[int, str] = field(default_factory=dict)


def collect_profile_inputs(
    executor: Executor,
    preprocessing: PreprocessingFit,
    is_element: NDArray[np.bool_],
    result: SegmentationResult,
    audit_columns: Sequence[str],
    lines: Source | None,
    reporter: Reporter,
) -> ProfileInputs:
    """Collect the inputs of the segment profiles.

    Parameters
    ----------
    is_element : bool (d,)
        Which features are elements of vectors.

    Raises
    ------
    DataError
        For audited columns that are not groups.
    """
    deviation = deviations(preprocessing, scaled_centers(preprocessing, result))
    scope = select_scope(result.segments, result.sizes, deviation, is_element)
    sample = sample_of(executor, preprocessing, scope)
    counts = cross_tabulate(executor, audit_columns, scope.merge_others) if audit_columns else {}
    baskets = {} if lines is None else _baskets(executor, sample, scope.segments, lines)
    examples = reporter.describe(
        "examples",
        lambda: choose_examples(sample, scope.segments, result),
        lambda: ChosenExamples(sample, (), None),
    )
    return ProfileInputs(scope, sample, examples, counts, baskets)


def _baskets(
    executor: Executor, sample: ProfilingSample, segments: Sequence[int], lines: Source
) -> dict[int, BasketSummary]:
    """Return by segment what customers of the sample buy together."""
    from gpuseg.features.baskets import read_baskets
    from gpuseg.features.parse import as_id, hash_of

    rows = np.flatnonzero(hash_sample_mask(sample.index, _MAX_BASKET_CUSTOMERS, sample.total))
    ids = _ids_at(executor, sample.index[rows])
    bought = None if ids is None else read_baskets(executor, lines, ids.combine_chunks())
    if bought is None or ids is None:
        return {}
    hashes = hash_of(as_id(ids.combine_chunks()))
    order = np.argsort(hashes)
    label = sample.label[rows][order][np.searchsorted(hashes[order], bought.customer)]
    baskets = {}
    for segment in segments:
        is_here = label == segment
        rules = association_rules(bought.basket[is_here], bought.product[is_here])
        if rules is not None:
            baskets[segment] = rules
    return baskets


def sample_of(
    executor: Executor, preprocessing: PreprocessingFit, scope: DescriptionScope
) -> ProfilingSample:
    """Return the rows that were drawn during preprocessing, with their segments."""
    rows, transform = preprocessing.sample, preprocessing.feature_transform
    b = registry.get("numba")  # any backend gives the same bits
    parts = executor.map(passes.labels_at, per_shard=rows_by_shard(executor, rows.index))
    labels, distances = zip(*parts, strict=True)
    only_features = replace(transform, projection=None, unit=False)
    x = rows.x
    if len(scope.features) < scope.n_features:
        x, only_features = x[:, scope.features], only_features.take(scope.features)
    scaled = b.prepare(x.copy(), only_features)
    keeps_all = transform.keeps_features and x is rows.x
    clustered = scaled if keeps_all else b.prepare(rows.x.copy(), transform)
    return ProfilingSample(
        rows.index,
        x,
        scaled,
        clustered,
        scope.merge_others(np.concatenate(labels)),
        np.concatenate(distances),
        tuple(preprocessing.features[f] for f in scope.features.tolist()),
        preprocessing.raw.rows,
        only_features.origin,
    )


def describe_segments(
    inputs: ProfileInputs,
    preprocessing: PreprocessingFit,
    encoders: Sequence[Encoder],
    segments: Sequence[Segment],
    with_intervals: bool,
    audit_threshold: int,
    columns: Sequence[str],
) -> SegmentProfiles:
    """Add quantiles, intervals, rules and baskets to the segments, and audit columns.

    Parameters
    ----------
    with_intervals : bool
        Whether the averages of the segments are those of customers, so that their confidence
        intervals have a meaning.
    audit_threshold : int
        Smaller counts of audited columns are hidden.
    columns : sequence of str
        All columns of the input.
    """
    sample, transform, features = (
        inputs.sample,
        preprocessing.feature_transform,
        inputs.scope.features,
    )
    std = (np.where(preprocessing.std > 0, preprocessing.std, 1.0) / transform.scale)[features]
    has_missing = preprocessing.raw.counts[KINDS.index("missing")] > 0
    fill = np.where(has_missing, transform.fill, np.float32(np.nan))[features]

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
        growing = thread.submit(segment_rules, sample, encoders, fill, columns)
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
        {
            name: audit_column(counts, inputs.scope.segments, audit_threshold)
            for name, counts in inputs.audit_counts.items()
        },
    )


def missing_rule_warning(profiles: SegmentProfiles) -> str:
    """Return a warning on segments without a rule, where others have one; else an empty text."""
    segments = [str(s.segment) for s in profiles.segments if s.rule is None]
    if not segments or profiles.profile is None or profiles.profile.rules is None:
        return ""
    return (
        f"no simple rule separates segment {', '.join(segments)} from the others; fewer segments "
        "may be enough (segment.max_clusters)"
    )


def _ids_at(executor: Executor, index: NDArray[np.int64]) -> pa.ChunkedArray | None:
    """Return the ids at rising positions in the data; None where there are none."""
    parts = executor.map(ids_at, per_shard=rows_by_shard(executor, index))
    chunks = [chunk for part in parts if part is not None for chunk in part.chunks]
    return pa.chunked_array(chunks) if chunks else None
