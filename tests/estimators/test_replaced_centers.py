"""Centers that a caller sets on a fitted k-means: predictions use them, as scikit-learn's do."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import sklearn.cluster
from sklearn.base import clone
from support.errors import raises
from support.helpers import in_turn

from gpuseg import KMeans
from gpuseg.errors import ConfigError

Array = npt.NDArray[Any]

CENTERS = np.array([[5.0, 5.0], [-3.0, 1.0], [0.0, -2.0], [1.0, 4.0]])


@pytest.fixture
def x() -> Array:
    return np.random.default_rng(0).normal(size=(300, 2)) * 4


def fit(x: Array, **params: Any) -> KMeans:
    return KMeans(**{"n_clusters": 4, "random_state": 0, **params}).fit(x)


def set_all(model: Any, centers: Array) -> Any:
    model.cluster_centers_ = centers
    return model


def write_all(model: Any, centers: Array) -> Any:
    model.cluster_centers_[:] = centers
    return model


def write_and_copy(model: Any, centers: Array) -> Any:
    return copy.deepcopy(write_all(model, centers))


def set_and_pickle(model: Any, centers: Array) -> Any:
    return pickle.loads(pickle.dumps(set_all(model, centers)))


def check_results(model: KMeans, reference: Any, x: Array, offset: float = 0.0) -> None:
    """Compare with scikit-learn near 0, as its distances lose their digits far from there."""
    assert model.predict(x + offset).tolist() == reference.predict(x).tolist()
    np.testing.assert_allclose(model.transform(x + offset), reference.transform(x), rtol=1e-5)
    assert model.score(x + offset) == pytest.approx(reference.score(x), rel=1e-5)


@pytest.mark.parametrize(("change", "offset", "backend"), in_turn(
    [set_all, write_all, write_and_copy, set_and_pickle],
    [0.0, 1e8],  # far from 0, rows are measured from an origin
    ["numpy", "numba"],
    step=2,
))  # fmt: skip
def test_predictions_are_scikit_learns(
    x: Array, change: Callable[[Any, Array], Any], offset: float, backend: str
) -> None:
    fitted = fit(x + offset, backend=backend)
    labels, inertia = fitted.labels_.copy(), fitted.inertia_
    reference = sklearn.cluster.KMeans(4, n_init=1, random_state=0).fit(x)
    model = change(fitted, CENTERS + offset)
    check_results(model, set_all(reference, CENTERS), x, offset)
    assert model.cluster_centers_.tolist() == (CENTERS + offset).tolist()
    assert model.labels_.tolist() == labels.tolist()
    assert model.inertia_ == inertia


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_present_centers_change_no_bit(x: Array, offset: float) -> None:
    x = x + offset
    fitted = fit(x)
    before = fitted.transform(x)
    fitted.cluster_centers_ = fitted.cluster_centers_.tolist()
    assert fitted.transform(x).tobytes() == before.tobytes()
    assert fitted.predict(x).tolist() == fitted.labels_.tolist()


def test_another_number_of_centers(x: Array) -> None:
    fitted = set_all(fit(x), CENTERS[:2])
    reference = set_all(sklearn.cluster.KMeans(4, n_init=1, random_state=0).fit(x), CENTERS[:2])
    check_results(fitted, reference, x)
    assert fitted.get_feature_names_out().tolist() == ["kmeans0", "kmeans1"]
    with raises("cluster_centers.wrong_count", ConfigError, parameter="cluster_centers_"):
        fitted.partial_fit(x)


def test_batches_continue_from_them(x: Array) -> None:
    fitted = KMeans(4, random_state=0).partial_fit(x[:4])  # each row is a center of weight 1
    fitted.cluster_centers_ = CENTERS
    nearest = ((x[10] - CENTERS) ** 2).sum(axis=1).argmin()
    expected = CENTERS.copy()
    expected[nearest] = (CENTERS[nearest] + x[10]) / 2
    np.testing.assert_allclose(fitted.partial_fit(x[10:11]).cluster_centers_, expected, rtol=1e-6)


def test_cosine_centers_of_any_length(x: Array) -> None:
    fitted = set_all(fit(x, metric="cosine"), CENTERS * [[1.0], [10.0], [0.1], [3.0]])
    unit, rows = (a / np.linalg.norm(a, axis=1)[:, None] for a in (CENTERS, x))
    assert fitted.predict(x).tolist() == (rows @ unit.T).argmax(axis=1).tolist()


def test_a_new_fit_and_a_clone_forget_them(x: Array) -> None:
    fitted, again = fit(x), set_all(fit(x), CENTERS)
    assert not hasattr(clone(again), "cluster_centers_")
    again.fit(x)
    assert again.cluster_centers_.tobytes() == fitted.cluster_centers_.tobytes()
    assert again.predict(x).tolist() == fitted.labels_.tolist()


def test_lazy_results_keep_the_centers_of_their_call(x: Array) -> None:
    fitted = set_all(fit(x), CENTERS)
    expected = fitted.predict(x).tolist()
    lazy = fitted.predict(da.from_array(x, chunks=(100, 2)))
    write_all(fitted, CENTERS[::-1])
    assert lazy.compute(scheduler="synchronous").tolist() == expected
    assert fitted.predict(x).tolist() != expected


@pytest.mark.parametrize(("centers", "code"), [
    ([["a", "b"]], "cluster_centers.not_numeric"),
    ([[1.0, 2.0], [3.0]], "cluster_centers.not_numeric"),
    (CENTERS[:, :1], "cluster_centers.wrong_shape"),
    (CENTERS[0], "cluster_centers.wrong_shape"),
    (CENTERS[:0], "cluster_centers.wrong_shape"),
    (CENTERS * np.nan, "cluster_centers.not_finite"),
    (CENTERS + np.inf, "cluster_centers.not_finite"),
], ids=str)  # fmt: skip
def test_wrong_centers_are_refused_and_change_nothing(x: Array, centers: Any, code: str) -> None:
    fitted = fit(x)
    with raises(code, ConfigError, parameter="cluster_centers_"):
        fitted.cluster_centers_ = centers
    assert fitted.predict(x).tolist() == fitted.labels_.tolist()


def test_a_value_that_is_not_finite_is_refused_where_it_is_used(x: Array) -> None:
    fitted = fit(x)
    fitted.cluster_centers_[0, 0] = np.nan
    for method in (fitted.predict, fitted.transform, fitted.score, fitted.partial_fit):
        with raises("cluster_centers.not_finite", ConfigError, parameter="cluster_centers_"):
            method(x)


def test_an_estimator_that_is_not_fitted_takes_none() -> None:
    with raises("cluster_centers.not_fitted", ConfigError, parameter="cluster_centers_"):
        KMeans(4).cluster_centers_ = CENTERS
