"""From raw features to those that are clustered: find fill values, shifts and scales.

The raw data is summarised in one mergeable pass. Only where missing values are to be filled,
or quantiles are asked for, do further passes follow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import KINDS, TRANSFORMS, Preparation, Summary
from gpuseg.backends.moments import mean_and_variance
from gpuseg.engine import columns
from gpuseg.engine.quantiles import quantiles
from gpuseg.errors import DataError
from gpuseg.runtime.executor import Executor


@dataclass(frozen=True)
class Recipe:
    """What the job asks for.

    Attributes
    ----------
    features : names, in the order of the columns
    missing : {"error", "drop", "mean", "median", "zero"}
    transform : names of `TRANSFORMS`, one for each feature
    scale : {"none", "standard", "robust", "minmax"}
    unit : bool
        Whether rows are scaled to length one at last, as the cosine wants them.
    clip : (float, float) or None
        Quantiles between which values are clipped, before the transform.
    keys : str
        What stands before the names of parameters in messages.
    columns : str
        What holds the names of features, in messages.
    """

    features: tuple[str, ...]
    missing: str
    transform: tuple[str, ...]
    scale: str
    unit: bool = False
    clip: tuple[float, float] | None = None
    keys: str = "prepare."
    columns: str = "input.features"


@dataclass(frozen=True)
class Prepared:
    """The preparation found, and the summary of what it was found from.

    Attributes
    ----------
    preparation : Preparation
    raw : Summary
        Of the data as read, after the transform.
    mean, std : float64 (d,)
        Of the features after filling, clipping and transform, before scaling; population std.
    extremes : float64 (2, d)
        Least and largest value of the same.
    """

    preparation: Preparation
    raw: Summary
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    extremes: NDArray[np.float64]


Locate = Callable[[int, int], str]
"""Takes the number of a shard and of a row in it; returns words for where the row came from."""


def fit_preparation(executor: Executor, backend: str, recipe: Recipe, locate: Locate) -> Prepared:
    """Find the preparation and apply it to all shards.

    Raises
    ------
    DataError
        For missing values under ``missing = "error"``, infinite values, values outside the
        domain of a transform, features without any value, and constant features that were
        to be scaled.
    """
    transform = np.array([TRANSFORMS.index(name) for name in recipe.transform], np.int64)
    preparation = replace(Preparation.identity(len(recipe.features)), transform=transform)
    shards = executor.run(columns.summarize, backend, transform)
    raw = columns.merged(shards)
    _check_values(shards, recipe, locate)
    preparation = replace(preparation, fill=_fill_values(executor, backend, recipe, raw))
    if recipe.clip is not None:
        every = list(range(len(recipe.features)))
        ends = quantiles(executor, backend, every, recipe.clip).T
        preparation = replace(preparation, clip=np.ascontiguousarray(ends, np.float32))
    filling = recipe.missing != "error" and raw.counts[KINDS.index("missing")].any()
    if not filling and recipe.scale != "robust" and recipe.clip is None:
        summary = raw
        shift, scale = _shift_and_scale(executor, backend, recipe, summary)
        preparation = replace(preparation, shift=shift, scale=scale, unit=recipe.unit)
        executor.update(columns.prepare, backend, preparation)
    else:
        executor.update(columns.prepare, backend, preparation)
        plain = Preparation.identity(len(recipe.features))
        summary = columns.merged(executor.run(columns.summarize, backend, plain.transform))
        shift, scale = _shift_and_scale(executor, backend, recipe, summary)
        rest = replace(plain, shift=shift, scale=scale, unit=recipe.unit)
        executor.update(columns.prepare, backend, rest)
        preparation = replace(preparation, shift=shift, scale=scale, unit=recipe.unit)
    mean, variance = column_statistics(summary)
    extremes = np.array([summary.minimum, summary.maximum])
    return Prepared(preparation, raw, mean, np.sqrt(variance), extremes)


def column_statistics(summary: Summary) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and population variance of each feature, each rounded once, float64 (d,)."""
    pairs = [
        mean_and_variance(*summary.moments.totals(f), count)
        for f, count in enumerate(summary.valid().tolist())
    ]
    mean, variance = np.array(pairs, dtype=np.float64).T
    return mean, variance


def _check_values(shards: Sequence[Summary], recipe: Recipe, locate: Locate) -> None:
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
            "transform 'log1p' needs values above -1; set the feature's transform to 'none'",
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


def _fill_values(
    executor: Executor, backend: str, recipe: Recipe, raw: Summary
) -> NDArray[np.float32]:
    """Return what replaces missing values, in raw units; NaN where nothing does.

    Every feature gets a value, also those that lack none here: customers scored later may.
    """
    if recipe.missing == "zero":
        return np.zeros(len(recipe.features), np.float32)
    if recipe.missing == "median":
        every = list(range(len(recipe.features)))
        return quantiles(executor, backend, every, (0.5,))[:, 0].astype(np.float32)
    if recipe.missing == "mean":
        untransformed = np.zeros(len(recipe.features), np.int64)
        if any(name != "none" for name in recipe.transform):
            raw = columns.merged(executor.run(columns.summarize, backend, untransformed))
        return column_statistics(raw)[0].astype(np.float32)
    return np.full(len(recipe.features), np.nan, np.float32)


def _shift_and_scale(
    executor: Executor, backend: str, recipe: Recipe, summary: Summary
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if recipe.scale == "none":
        return np.zeros(len(recipe.features)), np.ones(len(recipe.features))
    if recipe.scale == "minmax":
        shift, scale = summary.minimum, summary.maximum - summary.minimum
        rule = f"{recipe.keys}scale = 'minmax' divides by max - min"
    elif recipe.scale == "robust":
        every = list(range(len(recipe.features)))
        low, shift, high = quantiles(executor, backend, every, (0.25, 0.5, 0.75)).T
        scale = high - low
        rule = f"{recipe.keys}scale = 'robust' divides by the interquartile range"
    else:
        shift, variance = column_statistics(summary)
        scale = np.sqrt(variance)
        rule = f"{recipe.keys}scale = 'standard' divides by the standard deviation"
    for f in np.flatnonzero(scale == 0).tolist():
        constant = summary.minimum[f] == summary.maximum[f]
        what = "constant" if constant else "constant in its middle half"
        what += f" once clipped at the quantiles {list(recipe.clip)}" if recipe.clip else ""
        raise DataError(
            f"feature '{recipe.features[f]}': {what} (value {shift[f]:g}), and {rule}, "
            f"which is 0; leave it out of {recipe.columns} or set {recipe.keys}scale = "
            + ("'none'" if constant else "'standard'")
        )
    return shift, scale
