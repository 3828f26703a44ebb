"""Parameters of preprocessing, with rules that the estimators and the job file share."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from gpuseg.errors import ConfigError
from gpuseg.preprocessing.encoding.encoder import Encoder, Kind, feature_origins
from gpuseg.preprocessing.encoding.fit_encoders import ColumnCounts, fit_encoders, uncoded
from gpuseg.preprocessing.encoding.vectors import Shape
from gpuseg.preprocessing.plan import FLAG, NUMBER, FeatureRole, PreprocessingPlan
from gpuseg.validation import broken_rule, nearest_known

_MAX_COMPONENTS = 100_000

_NUMBERS = ("number", "vector")
"""Kinds of encoders of columns of numbers."""

Transform = Literal["none", "log1p", "yeo-johnson"]


def _validate_encoding(encoding: Any) -> Any:
    if encoding in ("onehot", "frequency"):
        return encoding
    if not isinstance(encoding, list | tuple) or len(encoding) < 2:
        raise ValueError("must be 'onehot', 'frequency', or a list of at least two ordered values")
    order = [_as_text(value) for value in encoding]
    if len(set(order)) < len(order):
        raise ValueError("must have each value once")
    return order


def _as_text(value: Any) -> str:
    """Return an ordered value as the text that a column's value has."""
    if not isinstance(value, str | int):
        raise ValueError("must have text, whole numbers or booleans, in their order")
    return str(value).lower() if isinstance(value, bool) else str(value)


Encoding = Annotated[str | list[str], BeforeValidator(_validate_encoding)]
Share = Annotated[float, Field(ge=0, le=1)]


class PreprocessingParams(BaseModel):
    """Preprocessing steps before clustering, in this order.

    Attributes
    ----------
    missing : {"error", "drop", "mean", "median", "zero"}
        Refuse missing values, drop their rows, or fill them.
    clip : (float, float) or None
        Clip values at these quantiles of the values that are not missing.
    transform : {"none", "log1p", "yeo-johnson"} or dict of feature to one of these
        Transform each feature; those that the dict does not name are not changed. Yeo-Johnson
        makes the distribution of a feature as normal as possible, by maximum likelihood.
    scale : {"none", "standard", "robust", "minmax"}
        Shift and scale by mean and population standard deviation, by median and interquartile
        range, or by minimum and range.
    categorical : dict of column to {"onehot", "frequency"} or list of values
        Encode columns of categories: one feature for each of the most frequent values; the share
        of the rows with the same value; or the position in a list of ordered values.
    max_categories : int >= 2
        Maximum number of features of a one-hot column; the last represents all other values.
    missing_indicator : bool
        Add a feature that marks missing values for each column that has some.
    drop_near_constant : bool
        Drop features with the same value in at least 95 % of the rows.
    drop_correlated : float in (0, 1] or None
        Drop a feature if its Pearson |r| with an earlier one is at least this.
    pca : float in (0, 1), int from 1 to 100,000 or None
        Replace the features by this number of principal components, or by as few as keep this
        share of the variance.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    missing: Literal["error", "drop", "mean", "median", "zero"] = "error"
    clip: tuple[Share, Share] | None = None
    transform: Transform | dict[str, Transform] = "none"
    scale: Literal["none", "standard", "robust", "minmax"] = "standard"
    categorical: dict[str, Encoding] = {}
    max_categories: Annotated[int, Field(ge=2, le=1000)] = 20
    missing_indicator: bool = False
    drop_near_constant: bool = False
    drop_correlated: Annotated[float, Field(gt=0, le=1)] | None = None
    pca: float | None = None

    @field_validator("pca", mode="before")
    @classmethod
    def _validate_pca(cls, pca: Any) -> Any:
        is_count = (
            isinstance(pca, int) and not isinstance(pca, bool) and 1 <= pca <= _MAX_COMPONENTS
        )
        if pca is None or is_count or (isinstance(pca, float) and 0 < pca < 1):
            return pca
        raise ValueError(
            "must be a share of the variance between 0 and 1, such as 0.95, or a number of "
            f"components from 1 to {_MAX_COMPONENTS:,}"
        )

    @field_validator("clip", mode="before")
    @classmethod
    def _validate_clip(cls, clip: Any) -> Any:
        if clip is None:
            return None
        bounds = tuple(clip) if isinstance(clip, list | tuple) else ()
        if len(bounds) != 2 or not all(isinstance(bound, int | float) for bound in bounds):
            raise ValueError("must be two quantiles, such as [0.01, 0.99]")
        low, high = (float(bound) for bound in bounds)
        if not 0 <= low < high <= 1:
            raise ValueError("must be two increasing quantiles from 0 to 1, such as [0.01, 0.99]")
        return low, high

    @model_validator(mode="after")
    def _validate_missing_indicator(self) -> "PreprocessingParams":
        if self.missing_indicator and self.missing in ("error", "drop"):
            raise broken_rule(
                "missing_indicator.no_missing",
                f"no row with a missing value remains with missing = {self.missing!r}",
                "missing_indicator",
                "set missing to 'mean', 'median' or 'zero'",
                value=self.missing_indicator,
            )
        return self

    @property
    def needs_counts(self) -> bool:
        """Whether the columns must be counted before the encoders are known."""
        return bool(self.categorical) or self.missing_indicator

    @property
    def keeps_columns(self) -> bool:
        """Whether the rows that are clustered have one column for each column of the input."""
        drops = self.drop_near_constant or self.drop_correlated is not None
        return not (self.needs_counts or drops or self.pca is not None)

    def fit_encoders(
        self,
        columns: Sequence[str],
        counts: Mapping[str, ColumnCounts],
        shapes: Mapping[str, Shape],
    ) -> tuple[Encoder, ...]:
        """Return the encoders of the columns, from their counts and the shapes of vectors."""
        keeps_missing = self.missing not in ("error", "drop")
        return fit_encoders(
            columns,
            self.categorical,
            counts,
            self.max_categories,
            self.missing_indicator,
            keeps_missing,
            shapes,
        )

    def preview_encoders(
        self, columns: Sequence[str], shapes: Mapping[str, Shape]
    ) -> list[Encoder]:
        """Return the encoders as far as they are known before the columns are counted."""
        named: dict[str, Kind] = {"onehot": "onehot", "frequency": "frequency"}
        kinds: dict[str, Kind] = {
            name: named[encoding] if isinstance(encoding, str) else "ordinal"
            for name, encoding in self.categorical.items()
        }
        return [
            Encoder(name, kinds[name]) if name in kinds else uncoded(name, shapes)
            for name in columns
        ]

    def max_features(self, columns: Sequence[str], shapes: Mapping[str, Shape]) -> int:
        """Return the maximum number of columns held per row: features and components."""
        numbers = [name for name in columns if name not in self.categorical]
        one_hot = [name for name in columns if self.categorical.get(name) == "onehot"]
        n_others = len(columns) - len(numbers) - len(one_hot)
        n_flags = len(numbers) * self.missing_indicator
        n_numbers = sum(math.prod(shapes.get(name, ())) for name in numbers)
        n_features = n_numbers + n_flags + n_others + len(one_hot) * (self.max_categories + 1)
        components = 0 if self.pca is None else self.pca if self.pca >= 1 else n_features
        return n_features + int(components)

    def plan(self, encoders: Sequence[Encoder], unit: bool) -> PreprocessingPlan:
        """Return the plan, feature by feature.

        Parameters
        ----------
        encoders : sequence of Encoder
        unit : bool
            Whether rows are scaled to length one at the end.

        Raises
        ------
        ConfigError
            For a transform of a column that is not a feature.
        """
        features = tuple(name for encoder in encoders for name in encoder.feature_names())
        origin = feature_origins(encoders, features)
        return PreprocessingPlan(
            features=features,
            missing=self.missing,
            transform=tuple(self.feature_transforms(encoders)),
            scale=self.scale,
            unit=unit,
            clip=self.clip,
            drop_near_constant=self.drop_near_constant,
            drop_correlated=self.drop_correlated,
            pca=self.pca,
            roles=tuple(role for encoder in encoders for role in _roles(encoder)),
            origins=None if origin is None else tuple(origin.tolist()),
        )

    def columns_with_origin(
        self, encoders: Sequence[Encoder], translation_invariant: bool
    ) -> list[str]:
        """Return the columns of numbers that may be measured from an origin other than 0.

        Scaling subtracts something in any case. A transform needs the values as they are, and a
        missing value that becomes 0 is in the range of the others.

        Parameters
        ----------
        encoders : sequence of Encoder
        translation_invariant : bool
            Whether the result stays the same if all rows are moved by the same vector.
        """
        if self.missing == "zero" or (self.scale == "none" and not translation_invariant):
            return []
        names = zip(encoders, self._transforms(encoders), strict=True)
        return [e.column for e, name in names if e.kind in _NUMBERS and name == "none"]

    def feature_transforms(self, encoders: Sequence[Encoder]) -> list[str]:
        """Return the transform of each feature.

        A single name applies only to numbers; a dict may also name ordinal and frequency features.

        Raises
        ------
        ConfigError
            For a transform of a column that is not a number after encoding.
        """
        names: list[str] = []
        for encoder, name in zip(encoders, self._transforms(encoders), strict=True):
            names += [name] * encoder.n_features
        if isinstance(self.transform, dict):
            with_transform = (*_NUMBERS, "frequency", "ordinal")
            allowed = [e.column for e in encoders if e.kind in with_transform]
            for column, transform in self.transform.items():
                if column not in allowed:
                    raise ConfigError(
                        "transform.unknown_feature",
                        f"'{column}' is not a numeric feature",
                        value={column: transform},
                        hint=nearest_known(column, allowed),
                        parameter="transform",
                    )
        return names

    def _transforms(self, encoders: Sequence[Encoder]) -> list[str]:
        """Return the transform of each encoder's features."""
        names = []
        for encoder in encoders:
            if encoder.kind in ("onehot", "is missing"):
                names.append("none")
            elif isinstance(self.transform, dict):
                names.append(self.transform.get(encoder.column, "none"))
            else:
                names.append(self.transform if encoder.kind in _NUMBERS else "none")
        return names


def _roles(encoder: Encoder) -> list[FeatureRole]:
    """Return the role of each feature of a column."""
    if encoder.kind == "onehot":
        return [FeatureRole("one_hot", encoder.column)] * encoder.n_features
    if encoder.kind == "frequency":
        return [FeatureRole("number", encoder.column)]
    return [FLAG if encoder.kind == "is missing" else NUMBER] * encoder.n_features
