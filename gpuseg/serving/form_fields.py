"""The fields of the page's form: one for each column that the model needs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from gpuseg import formatting as fmt
from gpuseg.features.definitions import FEATURES, RFM
from gpuseg.manifest import FeatureSummary, Manifest
from gpuseg.models.base import SegmentModel
from gpuseg.preprocessing.encoding.encoder import Encoder

Kind = Literal["number", "vector", "category"]

_CATEGORIES = ("onehot", "frequency", "ordinal")
"""Kinds of encoders of categories."""

_UNITS = {feature.name: feature.unit for feature in (*FEATURES, *RFM)}
"""Units of the features that are built from transactions, by name."""

_STEPS = 1000
"""Steps into which a range is cut at least by the decimals of a starting value."""

_MAX_DECIMALS = 12

_MAX_SHOWN_ELEMENTS = 6
"""Elements of a vector up to which the ranges of all are shown."""


@dataclass(frozen=True)
class Option:
    """A choice of a category.

    Attributes
    ----------
    text : str
        As the page shows it.
    json : str
        The value in JSON, as a row has it.
    features : sequence of float or None
        What becomes of it, for each of the field's features; None where it is missing.
    is_start : bool
        Whether it is chosen at the start.
    """

    text: str
    json: str
    features: Sequence[float | None]
    is_start: bool = False


@dataclass(frozen=True)
class FormField:
    """A field of the form.

    Attributes
    ----------
    column : str
        Name of the column.
    kind : {"number", "vector", "category"}
    start : str
        Text at the start, of numbers and vectors.
    hint : str
        The range of the data, and whether the field may be empty.
    unit : str
        Empty if it is not known.
    features : sequence of str
        The described features that come from the column; see `sources`.
    sources : sequence of int or str
        Of numbers and vectors: which part of the value each feature is: the position of an element,
        "value" or "is missing".
    options : sequence of Option
        Of categories.
    """

    column: str
    kind: Kind
    start: str = ""
    hint: str = ""
    unit: str = ""
    features: Sequence[str] = ()
    sources: Sequence[int | str] = ()
    options: Sequence[Option] = field(default=())

    @property
    def start_json(self) -> str:
        """The value at the start, in JSON, as a row has it."""
        if self.kind == "category":
            return next((option.json for option in self.options if option.is_start), "null")
        return self.start or "null"


def form_fields(model: SegmentModel, manifest: Manifest | None) -> list[FormField]:
    """Return a field for each column, in the order of the model's columns.

    Parameters
    ----------
    model : SegmentModel
    manifest : Manifest or None
        Has medians and ranges of the data; without it, a field starts with the model's own center.
    """
    typical = _Typical(model, manifest)
    columns: dict[str, list[Encoder]] = {name: [] for name in model.pipeline.columns}
    for encoder in model.pipeline.encoders:
        if encoder.column in columns:
            columns[encoder.column].append(encoder)
    return [_field(name, encoders, typical) for name, encoders in columns.items()]


def _field(column: str, encoders: Sequence[Encoder], typical: "_Typical") -> FormField:
    if any(encoder.kind in _CATEGORIES for encoder in encoders):
        return _category_field(column, encoders, typical)
    if any(encoder.shape for encoder in encoders):
        return _vector_field(column, encoders, typical)
    return _number_field(column, encoders, typical)


class _Typical:
    """What is known of the values of each feature."""

    def __init__(self, model: SegmentModel, manifest: Manifest | None) -> None:
        self.described: Mapping[str, FeatureSummary] = manifest.features if manifest else {}
        profile = manifest.profile if manifest else None
        self._quantiles = profile.quantiles if profile else {}
        transform = model.feature_transform
        center = transform.inverse(np.zeros((1, transform.n_columns)))[0]
        self._center = dict(zip(model.features, center.tolist(), strict=True))
        fills = zip(model.features, transform.fill.tolist(), strict=True)
        self._is_filled = {name: not math.isnan(fill) for name, fill in fills}
        self._built = manifest is not None and manifest.transactions is not None

    def value(self, feature: str) -> float | None:
        """Return the median of a feature, or else its mean; None if none is known."""
        if feature in self._quantiles:
            return self._quantiles[feature].median
        if feature in self.described:
            return self.described[feature].mean
        value = self._center.get(feature)
        return value if value is not None and math.isfinite(value) else None

    def value_text(self, feature: str) -> str:
        """Return `value` as a text to type, with the decimals that suit the range."""
        value = self.value(feature)
        if value is None:
            return ""
        summary = self.described.get(feature)
        return _plain(value, summary.max - summary.min if summary else 0.0)

    def range_text(self, feature: str) -> str:
        """Return what the data had, in words; empty if it is not known."""
        summary = self.described.get(feature)
        if summary is None:
            return ""
        average = "median" if feature in self._quantiles else "mean"
        values = fmt.span(fmt.number(summary.min), fmt.number(summary.max))
        return f"{values} in the data, {average} {fmt.number(self.value(feature))}."

    def may_be_missing(self, feature: str) -> bool:
        """Return whether the model fills the gaps of a feature."""
        return self._is_filled.get(feature, True)

    def unit(self, column: str) -> str:
        """Return the unit of a column that was built from transactions, or an empty text."""
        return _UNITS.get(column, "") if self._built else ""


def _plain(value: float, extent: float) -> str:
    """Return a number as one types it, without separators, and without digits that say nothing."""
    if extent > 0 and math.isfinite(extent):
        decimals = max(0, math.ceil(math.log10(_STEPS / extent)))
        if decimals <= _MAX_DECIMALS and abs(value) < 1e15:
            return _trimmed(f"{value:.{decimals}f}")
    if value != 0 and not 1e-6 < abs(value) < 1e15:
        return f"{value:.6g}"
    return _trimmed(format(Decimal(f"{value:.6g}"), "f"))


def _trimmed(decimal: str) -> str:
    text = decimal.rstrip("0").rstrip(".") if "." in decimal else decimal
    return "0" if text == "-0" else text


def _number_field(column: str, encoders: Sequence[Encoder], typical: _Typical) -> FormField:
    sources = {
        encoder.feature_names()[0]: "value" if encoder.kind == "number" else encoder.kind
        for encoder in encoders
    }
    shown = [name for name in sources if name in typical.described]
    return FormField(
        column,
        "number",
        start=typical.value_text(column),
        hint=_hint(typical.range_text(column), [column], typical),
        unit=typical.unit(column),
        features=shown,
        sources=[sources[name] for name in shown],
    )


def _hint(ranges: str, features: Sequence[str], typical: _Typical) -> str:
    is_optional = all(typical.may_be_missing(name) for name in features)
    return f"{ranges} It may be left empty.".strip() if is_optional else ranges


def _vector_field(column: str, encoders: Sequence[Encoder], typical: _Typical) -> FormField:
    sources: dict[str, int | str] = {}
    elements: list[str] = []
    shape: tuple[int, ...] = ()
    for encoder in encoders:
        names = encoder.feature_names()
        shape = encoder.shape or shape
        if encoder.kind == "vector":
            elements = names
            sources.update({name: e for e, name in enumerate(names)})
        else:
            sources[names[0]] = encoder.kind
    shown = [name for name in sources if name in typical.described]
    values = [typical.value_text(name) or "0" for name in elements] or ["0"] * math.prod(shape)
    numbers = f"{fmt.count(len(values), 'number')}, separated by commas."
    ranges = ""
    if len(elements) <= _MAX_SHOWN_ELEMENTS:
        ranges = " ".join(f"{n}: {text}" for n in elements if (text := typical.range_text(n)))
    return FormField(
        column,
        "vector",
        start=_nested(values, shape),
        hint=_hint(f"{numbers} {ranges}".strip(), elements, typical),
        features=shown,
        sources=[sources[name] for name in shown],
    )


def _nested(values: Sequence[str], shape: Sequence[int]) -> str:
    """Return values as a list of JSON, nested as their shape is."""
    if len(shape) <= 1:
        return f"[{', '.join(values)}]"
    width = math.prod(shape[1:])
    rows = [_nested(values[i * width : (i + 1) * width], shape[1:]) for i in range(shape[0])]
    return f"[{', '.join(rows)}]"


def _category_field(column: str, encoders: Sequence[Encoder], typical: _Typical) -> FormField:
    main = next(encoder for encoder in encoders if encoder.kind in _CATEGORIES)
    texts = list(main.categories)
    values = [_typed(text, main.value_type) for text in texts]
    if (other := _another_value(main)) is not None:
        texts.append("another value" if main.value_type != "booleans" else str(other).lower())
        values.append(other)
    texts.append("missing")
    values.append(None)
    names = [name for encoder in encoders for name in encoder.feature_names()]
    shown = [name for name in names if name in typical.described]
    encoded = _encoded(encoders, values)
    start = _most_frequent(main, typical)
    options = [
        Option(
            text,
            json.dumps(value),
            [_or_none(encoded[name][i]) for name in shown],
            is_start=i == start,
        )
        for i, (text, value) in enumerate(zip(texts, values, strict=True))
    ]
    return FormField(column, "category", unit=typical.unit(column), features=shown, options=options)


def _typed(text: str, value_type: str) -> Any:
    """Return a category as a row has it."""
    if value_type == "whole numbers":
        return int(text)
    return text == "true" if value_type == "booleans" else text


def _another_value(encoder: Encoder) -> Any:
    """Return a value that is no category of the encoder; None if there is none."""
    known = set(encoder.categories)
    if not encoder.value_type:  # every value was missing at the fit
        return None
    if encoder.value_type == "booleans":
        return next((value for value in (True, False) if str(value).lower() not in known), None)
    if encoder.value_type == "whole numbers":
        return next(n for n in range(len(known) + 1) if str(n) not in known)
    text = "another value"
    while text in known:
        text += "…"
    return text


def _encoded(encoders: Sequence[Encoder], values: Sequence[Any]) -> dict[str, list[float]]:
    """Return what becomes of the values, by feature."""
    is_large = any(isinstance(value, int) and value >= 2**63 for value in values)
    column = pa.array(values, pa.uint64() if is_large else None)
    result: dict[str, list[float]] = {}
    for encoder in encoders:
        out = np.empty((len(values), encoder.n_features), np.float32)
        encoder.encode_into(column, out)
        result.update(zip(encoder.feature_names(), out.T.tolist(), strict=True))
    return result


def _most_frequent(encoder: Encoder, typical: _Typical) -> int:
    """Return the position of the category that most customers have, as far as it is known."""
    n = len(encoder.categories)
    if n == 0:
        return 0
    if encoder.kind == "ordinal":
        return min(max(round(typical.value(encoder.column) or 0.0), 0), n - 1)
    if encoder.kind == "frequency":
        shares = encoder.shares[:n]
    else:
        names = encoder.feature_names()[:n]
        shares = tuple(
            typical.described[name].mean if name in typical.described else 0.0 for name in names
        )
    return max(range(n), key=lambda i: shares[i])


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
