"""`silhouette_score`: scikit-learn's value, and an error that holds."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import sklearn.metrics
from support.errors import raises

from gpuseg import SilhouetteScore, silhouette_score
from gpuseg.errors import ConfigError, DataError

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def x() -> Array:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(center, 2, (200, 3)) for center in (1, 6, 11)])


@pytest.fixture(scope="module")
def labels(x: Array) -> Array:
    """Clusters of different sizes, one of them with one row, and noise."""
    numbers = np.random.default_rng(1).choice([-1, 0, 2, 5], len(x), p=[0.1, 0.5, 0.3, 0.1])
    numbers[7] = 9
    return numbers


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("metric", ["euclidean", "l2", "cosine"])
def test_scikit_learns_value(x: Array, labels: Array, metric: str, backend: str) -> None:
    score = silhouette_score(x, labels, metric=metric, backend=backend)
    expected = sklearn.metrics.silhouette_score(x, labels, metric=metric)
    assert score == pytest.approx(expected, abs=1e-7)
    assert score.error == 0


@pytest.mark.parametrize("kind", [
    list, pd.Series, lambda a: np.array([f"segment {i}" for i in a]), lambda a: a.astype(float),
])  # fmt: skip
def test_labels_of_any_kind(x: Array, labels: Array, kind: Any) -> None:
    expected = silhouette_score(x, labels)
    assert silhouette_score(pd.DataFrame(x, columns=list("abc")), kind(labels)) == expected


def test_the_error_of_a_sample_holds(x: Array, labels: Array) -> None:
    expected = silhouette_score(x, labels)
    scores = [silhouette_score(x, labels, sample_size=100, random_state=i) for i in range(60)]
    assert sum(abs(score - expected) <= score.error for score in scores) >= 50
    again = silhouette_score(x, labels, sample_size=np.int64(100), random_state=np.int64(3))
    assert again == scores[3]
    assert silhouette_score(x, labels, sample_size=10**6) == expected
    assert np.isnan(silhouette_score(x, labels, sample_size=1).error)


def test_a_score_is_a_float(x: Array, labels: Array) -> None:
    score = silhouette_score(x, labels, sample_size=50, random_state=0)
    assert isinstance(score, float) and f"{score:.3f}" == f"{float(score):.3f}"
    loaded = pickle.loads(pickle.dumps(score))
    assert isinstance(loaded, SilhouetteScore)
    assert (loaded, loaded.error) == (score, score.error)


@pytest.mark.parametrize(("params", "kind", "code"), [
    ({"labels": np.zeros(600)}, DataError, "labels.too_few_clusters"),
    ({"labels": np.arange(600)}, DataError, "labels.too_many_clusters"),
    ({"labels": np.zeros(5)}, DataError, "labels.wrong_shape"),
    ({"metric": "manhattan"}, ConfigError, "parameter.invalid_value"),
    ({"metric": len}, ConfigError, "parameter.invalid_value"),
    ({"sample_size": 0}, ConfigError, "parameter.invalid_value"),
    ({"sample_size": 0.5}, ConfigError, "parameter.invalid_value"),
    ({"random_state": -1}, ConfigError, "random_state.invalid"),
    ({"X": np.full((600, 2), np.nan)}, DataError, "features.not_finite"),
], ids=str)  # fmt: skip
def test_refused(x: Array, labels: Array, params: dict[str, Any], kind: Any, code: str) -> None:
    with raises(code, kind):
        silhouette_score(**{"X": x, "labels": labels, **params})
