"""A row that a model can score, made from the model alone: no customer has to have these values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.runtime.executor import TaskContext

_DIGITS = 2
"""Digits of a number of the row below the scale of its feature."""


def example_row(pipeline: FeaturePipeline) -> dict[str, Any]:
    """Return a row of raw columns, by name: in the middle of the data of the fit.

    Numbers are those that become 0 by scaling, such as means; categories are known ones. Vectors
    are lists. The values come from the statistics of the fit, not from a row.
    """
    values = _middle(pipeline.feature_transform)
    by_feature = dict(zip(pipeline.features, values, strict=True))
    row: dict[str, Any] = {}
    for encoder in pipeline.encoders:
        if encoder.column in pipeline.columns and row.get(encoder.column) is None:
            row[encoder.column] = _example_value(encoder, by_feature)
    return {name: row[name] for name in pipeline.columns}


def columns_with_optional_values(pipeline: FeaturePipeline) -> frozenset[str]:
    """Return the columns of which the model scores a row without a value: it fills the gap."""
    columns = pipeline.columns
    if len(columns) == 1:  # the row has nothing else, and may have no direction
        raw = pipeline.open(pa.table({columns[0]: pa.nulls(1)}))
        raw.transform(slice(0, 1), "numpy", TaskContext())
        return frozenset() if raw.n_bad else frozenset(columns)
    return frozenset(columns) - pipeline.columns_without_gaps()


def _middle(transform: FeatureTransform) -> list[float]:
    """Return the value of each feature in the middle of the data, rounded."""
    z = np.zeros((1, transform.n_columns))
    if transform.unit:  # zeros have no direction
        z[:] = 1 / math.sqrt(z.shape[1])
    with np.errstate(all="ignore"):
        values = transform.inverse(z)[0]
    if not values.any():  # a row of zeros is unlike most rows, and has no direction
        values = np.ones_like(values)
    low, high = transform.add_origin(transform.bounds())
    inside = np.clip(np.where(np.isfinite(values), values, 1.0), low, high)
    return [_rounded(*pair) for pair in zip(inside.tolist(), transform.scale.tolist(), strict=True)]


def _rounded(value: float, scale: float) -> float:
    """Return a number without the digits that tell nothing."""
    digits = _DIGITS - math.floor(math.log10(scale)) if 0 < scale < math.inf else _DIGITS
    return round(value, min(max(digits, 0), 15))


def _example_value(encoder: Encoder, by_feature: Mapping[str, float]) -> Any:
    """Return a value of a column; None if nothing is known of its values."""
    if encoder.kind == "is missing":
        return np.zeros(encoder.shape).tolist() if encoder.shape else 0.0
    if encoder.kind == "number":
        return by_feature.get(encoder.column, encoder.origin)
    if encoder.kind == "vector":
        origins = encoder.origins or [0.0] * encoder.n_features
        names = encoder.feature_names()
        elements = [by_feature.get(name, o) for name, o in zip(names, origins, strict=True)]
        return np.reshape(elements, encoder.shape).tolist()
    if not encoder.categories:
        return None
    return _category(encoder.value_type, _likely(encoder, by_feature))


def _likely(encoder: Encoder, by_feature: Mapping[str, float]) -> str:
    """Return the category that the middle of the data is nearest to."""
    shares: Sequence[float] = encoder.shares[: len(encoder.categories)]
    if not shares:
        shares = [by_feature.get(name, 0.0) for name in encoder.feature_names()]
        shares = shares[: len(encoder.categories)]
    return encoder.categories[int(np.argmax(shares))]


def _category(value_type: str, text: str) -> Any:
    if value_type == "whole numbers":
        return int(text)
    return text == "true" if value_type == "booleans" else text
