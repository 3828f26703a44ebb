"""Fit the preprocessing to the raw features, and apply it to the shards.

One mergeable pass summarises the raw data. More passes follow only for what the plan needs: fill
values, quantiles, powers, principal components.

1. Summarise the columns (`summarize_raw`); refuse values that cannot be preprocessed.
2. Fill, clip and transform.
3. Screen the features on a sample; drop those that the plan does not keep.
4. Scale.
5. Project on principal components.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import KINDS, ColumnSummary
from gpuseg.backends.feature_transform import TRANSFORMS, YEO_JOHNSON, FeatureTransform
from gpuseg.errors import DataError, set_key
from gpuseg.formatting import count_with
from gpuseg.preprocessing.missing_values import FILL, FILL_OR_DROP
from gpuseg.preprocessing.pca import Components, fit_components
from gpuseg.preprocessing.plan import PreprocessingPlan
from gpuseg.preprocessing.scaling import Statistics, clip_bounds, fill_values, shift_and_scale
from gpuseg.preprocessing.screening import (
    NEAR_CONSTANT,
    FeatureScreening,
    RowSample,
    draw_sample,
    screen_features,
)
from gpuseg.preprocessing.yeo_johnson_fit import fit_powers
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns

CORRELATED = 0.95
"""Two features are reported as correlated from this |r|."""

MAX_COMPARED = 500
"""Features whose correlations are looked for, if they are only reported: the pairs take time."""

MAX_NOTES = 100
"""Features that are near-constant, and pairs that are correlated, that are reported."""


@dataclass(frozen=True)
class PreprocessingFit:
    """The fitted transform, and statistics from the fit.

    Attributes
    ----------
    feature_transform : FeatureTransform
        From raw features to those that are clustered.
    raw : ColumnSummary
        Of the raw data after log1p; for Yeo-Johnson before the transform.
    mean, std : float64 (d,)
        Of the features after filling, clipping and transform, before scaling; population std.
    extremes : float64 (2, d)
        Minimum and maximum of the same.
    features : tuple of str
        Names of the features that were kept.
    kept : list of int
        Their indices among all features.
    outliers : float64 (d,)
        Share of outliers of each feature, see `screening.FeatureScreening`.
    sample : RowSample
        Raw rows, with the features that were kept.
    dropped : dict of str to str
        Features that were dropped, and the reason.
    redundant : list of str
        Descriptions of kept features that add little information.
    components : Components or None
    """

    feature_transform: FeatureTransform
    raw: ColumnSummary
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    extremes: NDArray[np.float64]
    features: tuple[str, ...]
    kept: list[int]
    outliers: NDArray[np.float64]
    sample: RowSample
    dropped: dict[str, str] = field(default_factory=dict)
    redundant: list[str] = field(default_factory=list)
    components: Components | None = None


Locate = Callable[[int, int], str]
"""Takes the number of a shard and of a row in it; describes where the row was read."""


class _Transformed(NamedTuple):
    """The features after filling, clipping and their transforms, without scaling.

    Attributes
    ----------
    transform : FeatureTransform
        From raw features.
    pending : FeatureTransform
        The part of it that has not been applied to the rows of the shards.
    statistics : Statistics
        Of the transformed features.
    """

    transform: FeatureTransform
    pending: FeatureTransform
    statistics: Statistics

    def take(self, features: NDArray[np.int64]) -> "_Transformed":
        return _Transformed(
            self.transform.take(features),
            self.pending.take(features),
            self.statistics.take(features),
        )


@dataclass(frozen=True)
class RawSummary:
    """What is known of the raw rows, before any step changes them.

    Attributes
    ----------
    columns : ColumnSummary
        Of the data after log1p; for Yeo-Johnson before the transform.
    sample : RowSample
        Rows as read, with all features.
    """

    columns: ColumnSummary
    sample: RowSample


def summarize_raw(
    executor: Executor, backend: str, plan: PreprocessingPlan, locate: Locate
) -> RawSummary:
    """Summarise the columns of all shards, and draw a sample of their rows.

    Raises
    ------
    DataError
        For missing values with ``missing = "error"``, infinite values, values outside the
        domain of a transform, and features without any value.
    """
    codes = _codes(plan)
    without_powers = np.where(codes == YEO_JOHNSON, 0, codes)
    summaries = executor.map(columns.summarize, backend, without_powers)
    raw = columns.merge_summaries(summaries)
    _check_values(summaries, plan, locate)
    return RawSummary(raw, draw_sample(executor, backend, raw.rows, len(plan.features)))


def _codes(plan: PreprocessingPlan) -> NDArray[np.int64]:
    return np.array([TRANSFORMS.index(name) for name in plan.transform], np.int64)


def fit_preprocessing(
    executor: Executor, backend: str, plan: PreprocessingPlan, summary: RawSummary
) -> PreprocessingFit:
    """Fit the preprocessing and apply it to all shards, whose raw rows have the summary.

    Raises
    ------
    DataError
        For constant features that would be scaled, and if no feature is left.
    """
    raw, sample, codes = summary.columns, summary.sample, _codes(plan)
    transformed = _transform(executor, backend, plan, raw, codes)  # 2

    screening = _screen(sample, backend, raw.rows, transformed)  # 3
    kept, dropped = _select_features(plan, screening, transformed.statistics.mean)
    if dropped:
        executor.apply(columns.select_columns, kept)
        indices = np.array(kept, np.int64)
        transformed, raw = transformed.take(indices), raw.take(indices)
    plan = plan.take(kept)
    transform, pending, statistics = transformed

    shift, scale = shift_and_scale(executor, backend, plan, statistics, pending)  # 4
    _check_float32_range(plan, (statistics.range - shift) / scale)
    unit_before_pca = plan.unit and plan.pca is None
    executor.apply(
        columns.prepare, backend, replace(pending, shift=shift, scale=scale, unit=unit_before_pca)
    )

    components = None
    if plan.pca is not None:  # 5
        components = _project(executor, backend, plan, plan.pca, statistics, shift, scale)

    return PreprocessingFit(
        replace(
            transform,
            shift=shift,
            scale=scale,
            unit=plan.unit,
            projection=None if components is None else components.projection,
            origin=plan.origin(),
        ),
        raw,
        statistics.mean,
        np.sqrt(statistics.variance),
        statistics.range,
        plan.features,
        kept,
        screening.outlier_share[kept],
        replace(sample, x=sample.x[:, kept]),
        dropped,
        _describe_redundant(plan, screening, kept),
        components,
    )


def _transform(
    executor: Executor,
    backend: str,
    plan: PreprocessingPlan,
    raw: ColumnSummary,
    codes: NDArray[np.int64],
) -> _Transformed:
    """Fill, clip and transform the rows, unless the summary already has the statistics.

    Yeo-Johnson values are not rounded before they are scaled, since float32 would lose small
    differences. Their transform and scaling are applied together, later.
    """
    power_features = np.flatnonzero(codes == YEO_JOHNSON)
    identity = FeatureTransform.identity(len(codes))
    without_powers = replace(
        identity,
        transform=np.where(codes == YEO_JOHNSON, 0, codes),
        fill=fill_values(executor, backend, plan, raw),
        clip=clip_bounds(executor, backend, plan),
    )
    fills = plan.missing != "error" and raw.counts[KINDS.index("missing")].any()
    summary_suffices = not fills and plan.scale != "robust" and plan.clip is None
    if summary_suffices and not power_features.size:
        return _Transformed(without_powers, without_powers, Statistics.from_summary(raw))

    executor.apply(columns.prepare, backend, without_powers)
    summary = columns.merge_summaries(executor.map(columns.summarize, backend, identity.transform))
    statistics = Statistics.from_summary(summary)
    if not power_features.size:
        return _Transformed(without_powers, identity, statistics)

    powers = fit_powers(executor, backend, power_features.tolist(), summary)
    power = np.ones(len(codes))
    power[power_features] = powers.power
    only_powers = np.where(codes == YEO_JOHNSON, codes, 0)
    return _Transformed(
        replace(without_powers, transform=codes, power=power),
        replace(identity, transform=only_powers, power=power),
        statistics.with_features(power_features, powers.statistics),
    )


def _screen(
    sample: RowSample, backend: str, n_rows: int, transformed: _Transformed
) -> FeatureScreening:
    """Screen the standardized features, whatever the plan's scale is."""
    mean, variance = transformed.statistics.mean, transformed.statistics.variance
    std = np.sqrt(np.where(variance > 0, variance, 1.0))
    standardized = replace(transformed.transform, shift=mean, scale=std)
    return screen_features(sample, backend, n_rows, standardized)


def _select_features(
    plan: PreprocessingPlan, screening: FeatureScreening, mean: NDArray[np.float64]
) -> tuple[list[int], dict[str, str]]:
    """Return the features to keep, and the reasons to drop the others.

    The features of a category are kept or dropped together.
    """
    names = plan.features
    dropped: dict[str, str] = {}
    candidates = np.flatnonzero(plan.is_number()).tolist()
    if plan.drop_near_constant:
        near_constant = [f for f in candidates if screening.mode_share[f] >= NEAR_CONSTANT]
        dropped.update((names[f], _describe_near_constant(screening, f)) for f in near_constant)
        candidates = [f for f in candidates if names[f] not in dropped]
        for features in plan.categories():
            largest = float(mean[features].max())
            if largest >= NEAR_CONSTANT:
                reason = f"{largest:.1%} of the rows are in one category"
                dropped.update((names[f], reason) for f in features.tolist())
    if plan.drop_correlated is not None:
        correlations = screening.correlations
        for f, kept_f in correlations.repeated(candidates, plan.drop_correlated).items():
            r = correlations.exact(kept_f, f)
            dropped[names[f]] = f"correlated {r:.3f} with '{names[kept_f]}', which is kept"
    kept = [f for f, name in enumerate(names) if name not in dropped]
    if not kept:
        raise DataError(
            "feature.none_left",
            f"no feature is left: all {len(names)} are nearly constant",
            hint=f"{set_key('drop_near_constant', False)}, or choose other `features`",
            parameter="drop_near_constant",
        )
    return kept, dropped


def _describe_near_constant(screening: FeatureScreening, f: int) -> str:
    return f"{screening.mode_share[f]:.1%} of the rows have the same value"


def _describe_redundant(
    plan: PreprocessingPlan, screening: FeatureScreening, kept: list[int]
) -> list[str]:
    """Describe the kept numbers that are nearly constant or strongly correlated."""
    names = dict(zip(kept, plan.features, strict=True))
    numbers = [f for f, is_number in zip(kept, plan.is_number(), strict=True) if is_number]
    near_constant = (
        f"'{names[f]}': {_describe_near_constant(screening, f)}"
        for f in numbers
        if screening.mode_share[f] >= NEAR_CONSTANT
    )
    notes = _first_notes(near_constant)
    if len(numbers) > MAX_COMPARED:
        return [
            *notes,
            f"correlations are not looked for among more than {MAX_COMPARED:,} features; there "
            f"are {len(numbers):,}",
        ]
    correlations = screening.correlations
    correlated = (
        f"'{names[i]}' and '{names[j]}' are correlated, r = {correlations.exact(i, j):.3f}"
        for i, j in correlations.pairs(numbers, CORRELATED)
    )
    return notes + _first_notes(correlated)


def _first_notes(notes: Iterable[str]) -> list[str]:
    """Return the first notes, and a last one if there are more."""
    notes = iter(notes)
    first = list(islice(notes, MAX_NOTES))
    return first if next(notes, None) is None else [*first, "… and more features like these"]


def _project(
    executor: Executor,
    backend: str,
    plan: PreprocessingPlan,
    n_components: float,
    statistics: Statistics,
    shift: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> Components:
    """Fit principal components to the scaled features, and project all shards on them."""
    d = len(plan.features)
    if n_components > d:
        raise DataError(
            "pca.too_many_components",
            "",
            value=int(n_components),
            rule=f"must be at most the number of features that are left, {d}",
            parameter="pca",
        )
    mean = (statistics.mean - shift) / scale
    extremes = (statistics.range - shift) / scale
    max_deviation = np.abs(extremes - mean).max(axis=0) * (1 + 2.0**-20)
    components = fit_components(
        executor, backend, statistics.rows, mean, max_deviation, n_components
    )
    identity = FeatureTransform.identity(d)
    executor.apply(
        columns.prepare,
        backend,
        replace(identity, projection=components.projection, unit=plan.unit),
    )
    return components


def _check_float32_range(plan: PreprocessingPlan, extremes: NDArray[np.float64]) -> None:
    """Refuse features that Yeo-Johnson stretches beyond float32; extremes are (2, d)."""
    too_large = ~(np.abs(extremes).max(axis=0) <= np.finfo(np.float32).max)
    for f in np.flatnonzero(too_large & (np.array(plan.transform) == "yeo-johnson")).tolist():
        raise DataError(
            "feature.beyond_float32",
            f"feature '{plan.features[f]}' has values beyond float32 (3.4e38) after 'yeo-johnson'",
            hint=f"{set_key('scale', 'standard')}, set `clip`, or use another transform",
            parameter="transform",
        )


def _check_values(
    summaries: Sequence[ColumnSummary], plan: PreprocessingPlan, locate: Locate
) -> None:
    """Refuse data without rows, and values that the plan does not allow."""
    total = columns.merge_summaries(summaries)
    if total.rows == 0:
        raise DataError(
            "rows.none_left",
            "no rows are left, since every row has a missing value",
            value=plan.missing,
            hint=f"{FILL}; or leave out the features without values",
            parameter="missing",
        )
    refused = ("infinite", "outside", *(["missing"] if plan.missing == "error" else []))
    has_refused = total.counts[[KINDS.index(kind) for kind in refused]].any(axis=0)
    for f in np.flatnonzero(has_refused | (total.valid() == 0)).tolist():
        name = plan.features[f]
        for kind in refused:
            i = KINDS.index(kind)
            if count := int(total.counts[i, f]):
                shard = next(j for j, summary in enumerate(summaries) if summary.counts[i, f])
                row = locate(shard, int(summaries[shard].firsts[i, f]))
                category = plan.feature_roles()[f].category
                if kind == "missing" and category:
                    raise _missing_category(category, count, row)
                raise _refused_values(kind, name, count, row, plan.missing)
        if total.valid()[f] == 0:
            raise DataError(
                "feature.all_missing",
                f"feature '{name}': {count_with(total.rows, 'row', 'was', 'were')} read, "
                "and none has a value",
                hint="leave it out of `features`",
                parameter="features",
            )


def _missing_category(column: str, count: int, first: str) -> DataError:
    """Return the error for missing values of a category; `first` describes the first row."""
    return DataError(
        "category.missing",
        f"column '{column}': {count_with(count, 'value', 'is', 'are')} missing (null), "
        f"first in {first}",
        value="error",
        hint=f'{FILL_OR_DROP}; all but "drop" make missing a category of its own',
        parameter="missing",
    )


def _refused_values(kind: str, feature: str, count: int, first: str, missing: str) -> DataError:
    """Return the error for values of one of `KINDS`; `first` describes the first row.

    `missing` says what becomes of missing values.
    """
    values = count_with(count, "value", "is", "are")
    if kind == "infinite":
        step = f", and {FILL_OR_DROP}" if missing == "error" else ""
        return DataError(
            "feature.infinite",
            f"feature '{feature}': {values} infinite, first in {first}",
            rule="must be finite",
            hint=f"fix the data, or make these values null{step}",
            parameter="features",
        )
    if kind == "outside":
        return DataError(
            "feature.outside_log1p",
            f"feature '{feature}': {values} at or below -1, first in {first}",
            rule="'log1p' needs values above -1",
            hint="set the transform of this feature to 'yeo-johnson' or 'none'",
            parameter="transform",
        )
    return DataError(
        "feature.missing",
        f"feature '{feature}': {values} missing (null or NaN), first in {first}",
        value="error",
        hint=FILL_OR_DROP,
        parameter="missing",
    )
