"""How each feature of a model comes from a column, in a form that every language can express."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.pipeline import FeaturePipeline


@dataclass(frozen=True)
class Lookup:
    """A number for each category of a column, rounded to float32; NaN is a missing value.

    Attributes
    ----------
    values : mapping of str to float
        The categories that have a number of their own. Whole numbers are in decimal digits,
        booleans are "true" and "false".
    otherwise : float
        The number of all other categories.
    missing : float
        The number of a row without a category.
    """

    values: Mapping[str, float]
    otherwise: float
    missing: float


@dataclass(frozen=True)
class FeatureSource:
    """How one feature comes from a column.

    Attributes
    ----------
    name : str
        The feature.
    encoder : Encoder
        That of the column. Its kind says which of the following is used.
    origin : float
        "number" and "vector": subtracted from the value before it is rounded to float32.
    element : int
        "vector": the place of the element in the vector, in row-major order.
    lookup : Lookup or None
        "onehot", "frequency" and "ordinal": from the category to the feature.
    """

    name: str
    encoder: Encoder
    origin: float = 0.0
    element: int = 0
    lookup: Lookup | None = None

    @property
    def column(self) -> str:
        """The column that the feature comes from."""
        return self.encoder.column


def feature_sources(pipeline: FeaturePipeline) -> list[FeatureSource]:
    """Return the source of each feature, in the order of the features."""
    needed = set(pipeline.features)
    sources = {
        source.name: source
        for encoder in pipeline.encoders
        if not needed.isdisjoint(encoder.feature_names())
        for source in _sources(encoder)
    }
    return [sources[name] for name in pipeline.features]


def _sources(encoder: Encoder) -> list[FeatureSource]:
    names = encoder.feature_names()
    if encoder.kind == "vector":
        origins = encoder.origins or (0.0,) * len(names)
        return [FeatureSource(name, encoder, origins[i], element=i) for i, name in enumerate(names)]
    if encoder.kind in ("number", "is missing"):
        return [FeatureSource(names[0], encoder, encoder.origin)]
    lookups = zip(names, _lookups(encoder), strict=True)
    return [FeatureSource(name, encoder, lookup=lookup) for name, lookup in lookups]


def _lookups(encoder: Encoder) -> list[Lookup]:
    """Return the lookup of each feature of a column of categories; see `Encoder.encode_into`."""
    categories = encoder.categories
    if encoder.kind == "ordinal":
        codes = {name: float(code) for code, name in enumerate(categories)}
        return [Lookup(codes, math.nan, math.nan)]
    like_others = encoder.keeps_missing and not encoder.missing  # the fit had no missing value
    if encoder.kind == "frequency":
        shares = dict(zip(categories, encoder.shares, strict=False))  # the last has no category
        missing = encoder.shares[-1] if encoder.missing else math.nan
        return [Lookup(shares, 0.0, 0.0 if like_others else missing)]
    missing = 0.0 if encoder.missing or like_others else math.nan
    lookups = [Lookup({name: 1.0}, 0.0, missing) for name in categories]
    if encoder.other:
        known = dict.fromkeys(categories, 0.0)
        lookups.append(Lookup(known, 1.0, 1.0 if like_others else missing))
    if encoder.missing:
        lookups.append(Lookup({}, 0.0, 1.0))
    return lookups
