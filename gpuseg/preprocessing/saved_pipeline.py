"""The schema of a saved pipeline: its values of JSON, and its arrays."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gpuseg.backends.feature_transform import (
    TRANSFORMS,
    YEO_JOHNSON,
    FeatureTransform,
    Projection,
)
from gpuseg.errors import DataError
from gpuseg.preprocessing.encoding.encoder import Encoder, Kind, feature_origins
from gpuseg.preprocessing.encoding.vectors import MAX_ELEMENTS
from gpuseg.preprocessing.params import Share, Transform

R = TypeVar("R", bound=BaseModel)

_TUPLES = ("categories", "shares", "shape", "origins")
"""Lists of JSON that are tuples of an encoder."""

Arrays = Mapping[str, NDArray[Any]]
"""Arrays of a saved model by name."""


Finite = Annotated[float, Field(allow_inf_nan=False)]


class SavedEncoder(BaseModel):
    """The values of an `Encoder`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    column: str
    kind: Kind
    value_type: Literal["", "text", "whole numbers", "booleans"]
    categories: list[str]
    shares: list[Share]
    other: bool
    missing: bool
    keeps_missing: bool
    origin: Finite = 0.0
    shape: list[Annotated[int, Field(ge=1)]] = []
    origins: list[Finite] = []

    @model_validator(mode="after")
    def _suits_its_kind(self) -> "SavedEncoder":
        if len(set(self.categories)) < len(self.categories):
            raise ValueError("each category must be there once")
        match self.kind:
            case "onehot":
                fits = not self.shares and bool(self.categories or self.other or self.missing)
            case "frequency":
                fits = len(self.shares) == len(self.categories) + 1 and not self.other
            case "ordinal":
                fits = not (self.shares or self.other or self.missing or self.keeps_missing)
            case "number":
                fits = self.encoder() == Encoder(self.column, origin=self.origin)
            case "vector":
                n = math.prod(self.shape)
                only = Encoder(
                    self.column, "vector", shape=tuple(self.shape), origins=tuple(self.origins)
                )
                fits = self.encoder() == only and bool(self.shape) and n <= MAX_ELEMENTS
                fits &= not self.origins or (len(self.origins) == n and any(self.origins))
            case _:
                shape = tuple(self.shape)
                fits = self.encoder() == Encoder(self.column, self.kind, shape=shape)
        fits &= self.kind == "number" or self.origin == 0.0
        fits &= self.kind in ("vector", "is missing") or not (self.shape or self.origins)
        if not fits:
            raise ValueError(f"the values do not suit the kind {self.kind!r}")
        return self

    def encoder(self) -> Encoder:
        """Return the encoder."""
        values = self.model_dump()
        tuples = {name: tuple(values[name]) for name in _TUPLES}
        return Encoder(**{**values, **tuples})


class SavedPipeline(BaseModel):
    """The values of a `FeaturePipeline`, without its arrays."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    features: Annotated[list[str], Field(min_length=1)]
    encoders: list[SavedEncoder]
    transform: list[Transform]
    unit_length: bool
    drops_missing: bool = False

    @model_validator(mode="after")
    def _features_are_encoded(self) -> "SavedPipeline":
        names = [name for saved in self.encoders for name in saved.encoder().feature_names()]
        if len(set(names)) < len(names):
            raise ValueError("two features of the encoders have the same name")
        if len(set(self.features)) < len(self.features) or not set(self.features) <= set(names):
            raise ValueError("features must be different features of the encoders")
        if len(self.transform) != len(self.features):
            raise ValueError("there must be one transform for each feature")
        moved = {saved.column for saved in self.encoders if saved.origin}
        for saved in self.encoders:
            if saved.origins:
                features = zip(saved.encoder().feature_names(), saved.origins, strict=True)
                moved |= {name for name, origin in features if origin}
        if any(
            f in moved for f, t in zip(self.features, self.transform, strict=True) if t != "none"
        ):
            raise ValueError("a feature with a transform has no origin")
        return self

    def feature_transform(self, arrays: Arrays) -> FeatureTransform:
        """Return the transform of the features, with its arrays.

        Raises
        ------
        DataError
            For arrays that are missing, or do not suit the features.
        """
        d = len(self.features)
        codes = np.array([TRANSFORMS.index(name) for name in self.transform], np.int64)
        fill = saved_array(arrays, "fill", np.float32, (d,), finite=False)
        scale = saved_array(arrays, "scale", np.float64, (d,))
        clip = power = projection = None
        if "clip" in arrays:
            clip = saved_array(arrays, "clip", np.float32, (2, d), finite=False)
        if "power" in arrays or (codes == YEO_JOHNSON).any():
            power = saved_array(arrays, "power", np.float64, (d,))
        if "pca_components" in arrays:
            components = saved_array(arrays, "pca_components", np.float64, (None, d))
            projection = Projection(saved_array(arrays, "pca_mean", np.float64, (d,)), components)
        if np.isinf(fill).any():
            raise damaged_array("fill", "must be finite, or NaN")
        if not (scale > 0).all():
            raise damaged_array("scale", "must be above 0")
        if clip is not None and not (clip[0] <= clip[1]).all():
            raise damaged_array("clip", "must be increasing bounds")
        shift = saved_array(arrays, "shift", np.float64, (d,))
        origin = feature_origins([saved.encoder() for saved in self.encoders], self.features)
        return FeatureTransform(
            fill, codes, shift, scale, self.unit_length, clip, power, projection, origin
        )


def validated_values(schema: type[R], values: Any) -> R:
    """Return the values of a saved model that follow a schema.

    Raises
    ------
    DataError
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(
            "model.damaged",
            f"model.json does not follow its schema at {key!r}",
            rule=first["msg"].removeprefix("Value error, "),
            hint="run the job again",
        ) from None


def saved_array(
    arrays: Arrays,
    name: str,
    dtype: type[np.generic],
    shape: Sequence[int | None],
    *,
    finite: bool = True,
) -> NDArray[Any]:
    """Return an array of a saved model, of a certain type and shape.

    Parameters
    ----------
    shape : sequence of int or None
        None is any length from 1 on.
    finite : bool
        Whether every value must be finite.

    Raises
    ------
    DataError
    """
    array = arrays.get(name)
    if array is None:
        raise damaged_array(name, "must be there")
    fits = len(array.shape) == len(shape) and all(
        n == length if length is not None else n >= 1
        for n, length in zip(array.shape, shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        wanted = " × ".join("n" if n is None else str(n) for n in shape)
        raise damaged_array(
            name,
            f"must be {dtype.__name__} of shape {wanted}, but is {array.dtype} of shape "
            f"{' × '.join(map(str, array.shape))}",
        )
    if finite and not np.isfinite(array).all():
        raise damaged_array(name, "must have finite values")
    return array


def damaged_array(name: str, rule: str) -> DataError:
    """Return the error of an array of a saved model that breaks a rule."""
    return DataError(
        "model.damaged",
        f"model.safetensors does not suit model.json at {name!r}",
        rule=rule,
        hint="run the job again",
    )
