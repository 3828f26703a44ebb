"""Initial centers of a job, in the units of its input: in the job itself, or of a saved model.

The rows that are clustered have other units: `preprocessing` fills, transforms and scales them. A
user sees centers in the units of the input only, as in the manifest, so `init` has these too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import ConfigError, GpusegError, literal

if TYPE_CHECKING:
    from gpuseg.models.kmeans import KMeansModel
    from gpuseg.preprocessing.pipeline import FeaturePipeline

SEEDINGS = ("k-means++", "random")
"""Values of `init` that choose the centers from the data."""

_RULE = (
    "must be 'k-means++', 'random', a list of centers in the units of the input, a list of tables "
    "of features, or the path of an earlier output"
)


def parse_init(value: Any) -> Any:
    """Return `init` as a job may have it: a seeding, a path, lists of numbers, or tables of them.

    Raises
    ------
    ValueError
    """
    if isinstance(value, str):
        if value in SEEDINGS:
            return value
        if not value or ("/" not in value and get_close_matches(value, SEEDINGS, cutoff=0.7)):
            raise ValueError(_RULE)
        return value
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(_RULE)
    if all(isinstance(row, Mapping) for row in value):
        return [{_text(name): _number(x) for name, x in row.items()} for row in value]
    if all(isinstance(row, list | tuple) for row in value):
        return [[_number(x) for x in row] for row in value]
    raise ValueError(_RULE)


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(_RULE)
    return name


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(_RULE)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(_RULE) from None


@dataclass(frozen=True)
class InitialCenters:
    """Centers in the units of the input, one row each.

    Attributes
    ----------
    rows : list of lists of float
    names : tuple of str or None
        The features that the rows have; None if they have those of the job, in their order.
    model : KMeansModel or None
        The model that they are of.
    """

    rows: list[list[float]]
    names: tuple[str, ...] | None = None
    model: KMeansModel | None = None

    @classmethod
    def read(cls, init: Any) -> InitialCenters:
        """Return the centers of a value of `init` that is no seeding.

        Raises
        ------
        ConfigError, DataError, ResourceError
            For tables with different features, and for a path without a model of k-means.
        """
        if isinstance(init, str):
            model = _model_at(init)
            return cls(model.cluster_centers_.tolist(), model.features, model)
        if not isinstance(init[0], Mapping):
            return cls(init)
        names = tuple(init[0])
        for row in init:
            _check_names(tuple(row), names, "its first table")
        return cls([[row[name] for name in names] for row in init], names)

    def ordered(self, features: Sequence[str]) -> list[list[float]]:
        """Return the rows with their values in the order of the job's features.

        Raises
        ------
        ConfigError
            If they have other features.
        """
        if self.names is None:
            return self.rows
        _check_names(self.names, features, "the job")
        order = [self.names.index(name) for name in features]
        return [[row[i] for i in order] for row in self.rows]

    def prepared(self, pipeline: FeaturePipeline) -> list[list[float]]:
        """Return the centers as the rows that are clustered, in float64.

        Raises
        ------
        ConfigError
            If they have other features, or values outside the domain of a transform.
        """
        rows, transform = self.ordered(pipeline.features), pipeline.feature_transform
        if self.model is not None and _is_same(self.model.pipeline, pipeline):
            return [list(map(float, row)) for row in self.model.centers.values]
        values = np.array(rows, np.float64)
        by_feature = replace(transform, projection=None, unit=False).apply(values)
        bad = np.argwhere(~np.isfinite(by_feature))
        if len(bad):
            row, f = bad[0].tolist()
            raise ConfigError(
                "init.outside_domain",
                f"feature '{pipeline.features[f]}' of center {row} has the value "
                f"{values[row, f]:g}, outside the domain of its transform",
                rule="centers are in the units of the input",
                parameter="init",
            )
        prepared = transform.apply(values)
        if not np.isfinite(prepared).all():
            row = int(np.argwhere(~np.isfinite(prepared))[0, 0])
            raise ConfigError(
                "init.no_direction",
                f"center {row} has only zeros once it is scaled",
                rule="with `metric` = 'cosine' a center needs a direction",
                parameter="init",
            )
        centers: list[list[float]] = prepared.tolist()
        return centers


def _model_at(path: str) -> KMeansModel:
    from gpuseg.models.kmeans import KMeansModel
    from gpuseg.models.loading import load_model

    try:
        model = load_model(path)
    except GpusegError as error:
        if error.parameter == "path":
            error.parameter = "init"
        raise
    if not isinstance(model, KMeansModel):
        raise ConfigError(
            "init.not_kmeans",
            f"is a model of {model.name}",
            value=path,
            rule="must be an output of k-means",
            hint="give the centers of its manifest as a list of tables",
            parameter="init",
        )
    return model


def _check_names(names: Sequence[str], features: Sequence[str], owner: str) -> None:
    if set(names) == set(features):
        return
    missing = [name for name in features if name not in names]
    unknown = [name for name in names if name not in features]
    problems = [
        f"{what} {', '.join(map(repr, some))}"
        for what, some in (("has no", missing), ("has", unknown))
        if some
    ]
    raise ConfigError(
        "init.other_features",
        f"{' and '.join(problems)}",
        rule=f"must have the features of {owner}: {literal(', '.join(features))}",
        hint="use the same `features` and the same preprocessing, or give the centers as lists",
        parameter="init",
    )


def _is_same(a: FeaturePipeline, b: FeaturePipeline) -> bool:
    """Whether two pipelines transform features in the same way, bit for bit."""
    arrays, others = _arrays(a), _arrays(b)
    return (
        a.features == b.features
        and a.feature_transform.unit == b.feature_transform.unit
        and arrays.keys() == others.keys()
        and all(array.tobytes() == others[name].tobytes() for name, array in arrays.items())
    )


def _arrays(pipeline: FeaturePipeline) -> dict[str, NDArray[Any]]:
    """Return the arrays of a transform, with those that the encoders have."""
    transform = pipeline.feature_transform
    origin = np.zeros(len(transform.shift)) if transform.origin is None else transform.origin
    return {**pipeline.tensors(), "transform": transform.transform, "origin": origin}
