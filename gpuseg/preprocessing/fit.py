"""From raw features to those that are clustered: find the preparation, and apply it.

The raw data is summarised in one mergeable pass. Further passes follow only for what is asked for:
values that fill, quantiles, powers, principal components.

1. Look: summarise the columns, refuse what cannot be prepared.
2. Fill, clip and transform.
3. Survey: a sample tells which features say nothing new; leave out those that are to be dropped.
4. Scale.
5. Project on principal components.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import KINDS, ColumnSummary
from gpuseg.backends.feature_transform import TRANSFORMS, YEO_JOHNSON, FeatureTransform
from gpuseg.errors import DataError
from gpuseg.preprocessing.pca import Components, fit_components
from gpuseg.preprocessing.plan import NUMBER, PreprocessingPlan
from gpuseg.preprocessing.scaling import Statistics, bounds, fill_values, shift_and_scale
from gpuseg.preprocessing.screening import (
    CORRELATED,
    NEAR_CONSTANT,
    FeatureScreening,
    RowSample,
    draw,
    survey,
)
from gpuseg.preprocessing.yeo_johnson_fit import fit_powers
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns


@dataclass(frozen=True)
class PreprocessingFit:
    """The preparation found, and the summary of what it was found from.

    Attributes
    ----------
    preparation : Preparation
    raw : Summary
        Of the data as read, after the transform; of Yeo-Johnson's, before it.
    mean, std : float64 (d,)
        Of the features after filling, clipping and transform, before scaling; population std.
    extremes : float64 (2, d)
        Least and largest value of the same.
    features : tuple of str
        Those that were kept.
    kept : list of int
        Their places among all.
    dropped : dict of str to str
        Features that were left out, and why.
    outliers : float64 (d,)
        The share of each feature's values far from the others, see `screening.FeatureScreening`.
    sample : Drawn
        Rows as they came, of the features that were kept.
    redundant : list of str
        What the survey found and nobody asked to leave out, in words.
    components : Components or None
    """

    preparation: FeatureTransform
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
"""Takes the number of a shard and of a row in it; returns words for where the row came from."""


def fit_preparation(
    executor: Executor, backend: str, recipe: PreprocessingPlan, locate: Locate
) -> PreprocessingFit:
    """Find the preparation and apply it to all shards.

    Raises
    ------
    DataError
        For missing values under ``missing = "error"``, infinite values, values outside the
        domain of a transform, features without any value, and constant features that were
        to be scaled.
    """
    codes = np.array([TRANSFORMS.index(name) for name in recipe.transform], np.int64)
    linear = np.where(codes == YEO_JOHNSON, 0, codes)
    shards = executor.map(columns.summarize, backend, linear)  # 1
    raw = columns.merged(shards)
    _check_values(shards, recipe, locate)
    found = FeatureTransform.identity(len(recipe.features))
    found = replace(
        found,
        transform=linear,
        fill=fill_values(executor, backend, recipe, raw),
        clip=bounds(executor, backend, recipe),
    )
    sample = draw(executor, backend, raw.rows)
    found, rest, known = _transformed(executor, backend, recipe, raw, found, codes)  # 2
    deviation = np.sqrt(np.where(known.variance > 0, known.variance, 1.0))
    scaled = replace(found, shift=known.mean, scale=deviation)
    seen = survey(sample, backend, raw.rows, scaled)  # 3
    kept, dropped = _kept(recipe, seen, known.mean)
    if dropped:
        executor.apply(columns.select, kept)
        own = np.array(kept, np.int64)
        found, rest, known, raw = found.take(own), rest.take(own), known.take(own), raw.take(own)
    recipe = recipe.take(kept)
    shift, scale = shift_and_scale(executor, backend, recipe, known, rest)  # 4
    _check_reach(recipe, (np.array([known.minimum, known.maximum]) - shift) / scale)
    last = replace(rest, shift=shift, scale=scale, unit=recipe.unit and recipe.pca is None)
    executor.apply(columns.prepare, backend, last)
    found = replace(found, shift=shift, scale=scale, unit=recipe.unit)
    extremes = np.array([known.minimum, known.maximum])
    components = _projected(executor, backend, recipe, found, known)  # 5
    if components is not None:
        found = replace(found, projection=components.projection)
    return PreprocessingFit(
        found, raw, known.mean, np.sqrt(known.variance), extremes, recipe.features, kept,
        seen.outliers[kept], replace(sample, x=sample.x[:, kept]), dropped,
        _redundant(recipe, seen, kept), components,
    )  # fmt: skip


def _transformed(
    executor: Executor,
    backend: str,
    recipe: PreprocessingPlan,
    raw: ColumnSummary,
    found: FeatureTransform,
    codes: NDArray[np.int64],
) -> tuple[FeatureTransform, FeatureTransform, Statistics]:
    """Fill, clip and transform where the summary does not already say what comes of it.

    Yeo-Johnson's values are not rounded before they are scaled: where they differ little, float32
    would lose them. Their rows are transformed and scaled at once, at last.

    Returns
    -------
    found : Preparation
        With the powers.
    rest : Preparation
        What is still to be applied.
    known : Statistics
        Of the features after their transforms.
    """
    powered = np.flatnonzero(codes == YEO_JOHNSON)
    filling = recipe.missing != "error" and raw.counts[KINDS.index("missing")].any()
    quick = not filling and recipe.scale != "robust" and recipe.clip is None
    if quick and not powered.size:
        return found, found, Statistics.of_summary(raw)
    executor.apply(columns.prepare, backend, found)
    plain = FeatureTransform.identity(len(codes))
    summary = columns.merged(executor.map(columns.summarize, backend, plain.transform))
    known = Statistics.of_summary(summary)
    if not powered.size:
        return found, plain, known
    bent = fit_powers(executor, backend, powered.tolist(), summary)
    power = np.ones(len(codes))
    power[powered], known.mean[powered], known.variance[powered] = (
        bent.power, bent.mean, bent.variance,
    )  # fmt: skip
    known.minimum[powered], known.maximum[powered] = bent.ends.T
    only = np.where(codes == YEO_JOHNSON, codes, 0)
    rest = replace(plain, transform=only, power=power)
    return replace(found, transform=codes, power=power), rest, known


def _check_reach(recipe: PreprocessingPlan, ends: NDArray[np.float64]) -> None:
    """Refuse features whose prepared values, float64 (2, d), are no float32."""
    beyond = ~(np.abs(ends).max(axis=0) <= np.finfo(np.float32).max)
    for f in np.flatnonzero(beyond & (np.array(recipe.transform) == "yeo-johnson")).tolist():
        raise DataError(
            f"feature '{recipe.features[f]}': beyond float32 (3.4e38) after transform "
            f"'yeo-johnson', which bends it that far; set {recipe.keys}scale = 'standard', "
            f"{recipe.keys}clip, or another transform"
        )


def _kept(
    recipe: PreprocessingPlan, seen: FeatureScreening, mean: NDArray[np.float64]
) -> tuple[list[int], dict[str, str]]:
    """Return which features stay, and why the others do not; a category stays or goes whole."""
    names, numbers = recipe.features, recipe.numbers()
    dropped: dict[str, str] = {}
    left = [f for f in range(len(names)) if numbers[f]]
    if recipe.drop_near_constant:
        for f in [f for f in left if seen.common[f] >= NEAR_CONSTANT]:
            dropped[names[f]] = f"{seen.common[f]:.1%} of the rows have one and the same value"
            left.remove(f)
        kind = recipe.kind()
        for block in range(int(kind.max(initial=NUMBER)) + 1):
            own = np.flatnonzero(kind == block).tolist()
            most = max((float(mean[f]) for f in own), default=0.0)
            if most >= NEAR_CONSTANT:
                why = f"{most:.1%} of the rows are of one category"
                dropped.update(dict.fromkeys((names[f] for f in own), why))
    if recipe.drop_correlated is not None:
        for f, other in seen.repeats(recipe.drop_correlated, left).items():
            r = seen.correlation[other, f]
            dropped[names[f]] = f"correlated {r:.3f} with '{names[other]}', which is kept"
    kept = [f for f, name in enumerate(names) if name not in dropped]
    if not kept:
        raise DataError(
            f"no feature left: all {len(names)} are the same for nearly all rows; set "
            f"{recipe.keys}drop_near_constant = false, or give others in {recipe.columns}"
        )
    return kept, dropped


def _redundant(recipe: PreprocessingPlan, seen: FeatureScreening, kept: list[int]) -> list[str]:
    """Return in words which of the features kept say little."""
    numbers, names = recipe.numbers(), dict(zip(kept, recipe.features, strict=True))
    own = [f for f, number in zip(kept, numbers, strict=True) if number]
    same = [
        f"'{names[f]}': {seen.common[f]:.1%} of the rows have one and the same value"
        for f in own
        if seen.common[f] >= NEAR_CONSTANT
    ]
    alike = [
        f"'{names[i]}' and '{names[j]}' are correlated, r = {r:.3f}"
        for i, j, r in seen.pairs(CORRELATED)
        if i in own and j in own
    ]
    return same + alike


def _projected(
    executor: Executor,
    backend: str,
    recipe: PreprocessingPlan,
    found: FeatureTransform,
    known: Statistics,
) -> Components | None:
    """Project all shards on their principal components, where that is asked for."""
    if recipe.pca is None:
        return None
    d = len(recipe.features)
    if recipe.pca > d:
        raise DataError(
            f"{recipe.keys}pca = {recipe.pca:g}: must be at most the number of columns that are "
            f"left, {d}"
        )
    mean = (known.mean - found.shift) / found.scale
    ends = (np.array([known.minimum, known.maximum]) - found.shift) / found.scale
    reach = np.abs(ends - mean).max(axis=0) * (1 + 2.0**-20)
    components = fit_components(executor, backend, known.rows, mean, reach, recipe.pca)
    plain = FeatureTransform.identity(d)
    executor.apply(
        columns.prepare,
        backend,
        replace(plain, projection=components.projection, unit=recipe.unit),
    )
    return components


def _check_values(
    shards: Sequence[ColumnSummary], recipe: PreprocessingPlan, locate: Locate
) -> None:
    whole, keys = columns.merged(shards), recipe.keys
    if whole.rows == 0:
        raise DataError(
            f"no rows left: every row has a missing value and {keys}missing = 'drop'; "
            "use 'mean', 'median' or 'zero', or leave out the features that are empty"
        )
    rules = {
        "infinite": (
            "infinite",
            f"features must be finite; mend the data, or make them null and set {keys}missing",
        ),
        "outside": (
            "at or below -1",
            "transform 'log1p' needs values above -1; set the feature's transform to "
            "'yeo-johnson' or 'none'",
        ),
    }
    if recipe.missing == "error":
        rules["missing"] = (
            "missing (null or NaN)",
            f"{keys}missing = 'error' allows none; use 'drop', 'mean', 'median' or 'zero'",
        )
    for f, name in enumerate(recipe.features):
        for kind, (what, rule) in rules.items():
            i = KINDS.index(kind)
            count = int(whole.counts[i, f])
            if count:
                shard = next(j for j, summary in enumerate(shards) if summary.counts[i, f])
                where = locate(shard, int(shards[shard].firsts[i, f]))
                values = "1 value is" if count == 1 else f"{count:,} values are"
                raise DataError(f"feature '{name}': {values} {what}, first in {where}; {rule}")
        if whole.valid()[f] == 0:
            raise DataError(
                f"feature '{name}': all {whole.rows} values are missing; "
                f"leave it out of {recipe.columns}"
            )
