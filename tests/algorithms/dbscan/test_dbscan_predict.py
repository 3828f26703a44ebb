"""DBSCAN's predict: the nearest core row within eps, for any eps and any batch of rows."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from gpuseg import DBSCAN
from gpuseg.backends.numba.neighbors import NumbaNeighbors
from gpuseg.errors import ConfigError


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev", "cosine", "haversine"])
def test_predict_uses_all_core_rows_whatever_rows_are_together(metric: str, dtype: type) -> None:
    rng = np.random.default_rng(3)
    x = (rng.integers(-8, 9, (400, 2)) / 8).astype(dtype)  # many rows are exactly eps apart
    x = x[np.abs(x).max(axis=1) > 0]
    eps = {"cosine": 1e-5, "haversine": 0.01}.get(metric, 0.125)
    model = DBSCAN(eps, min_samples=3, metric=metric, backend="numba").fit(x)
    new = (rng.integers(-12, 13, (300, 2)) / 8).astype(dtype)
    new = new[(np.abs(new).max(axis=1) > 0) & (np.abs(new[:, 0]) <= np.pi / 2)]
    near = NearestNeighbors(n_neighbors=1, metric=metric, algorithm="brute")
    nearest, _ = near.fit(model.components_.astype(float)).kneighbors(new.astype(float))
    labels = model.predict(new)
    is_certain = np.abs(nearest[:, 0] - eps) > 1e-12
    is_certain |= metric in ("euclidean", "manhattan", "chebyshev")  # no rounding in eighths
    expected = np.where(nearest[:, 0] <= eps, 0, -1)
    assert 0 < (labels >= 0).mean() < 1 and is_certain.mean() > 0.5
    assert (np.minimum(labels, 0) == expected)[is_certain].all()
    assert [int(model.predict(one[None])[0]) for one in new] == labels.tolist()
    assert pickle.loads(pickle.dumps(model)).predict(new).tolist() == labels.tolist()
    plain = DBSCAN(eps, min_samples=3, metric=metric, backend="numpy").fit(x)
    assert plain.predict(new).tolist() == labels.tolist()


@pytest.mark.slow
def test_predict_within_an_infinite_eps() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
    for model in (DBSCAN(1e200, min_samples=1), DBSCAN(3, min_samples=1, metric="cosine")):
        assert model.fit(x).predict([[0.0, -5.0], [1e30, 2.0], [-1.0, 1e-30]]).tolist() == [0] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "eps"), [("cosine", 2.0), ("euclidean", 1e7)])
def test_predict_computes_few_distances_however_large_eps_is(
    metric: str, eps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, n_distances = np.random.default_rng(0).normal(size=(3000, 3)), []
    find = NumbaNeighbors.find_nearest
    record = lambda *args: n_distances.append(find(*args)) or n_distances[-1]  # noqa: E731
    monkeypatch.setattr(NumbaNeighbors, "find_nearest", record)
    model = DBSCAN(eps, min_samples=2, metric=metric, backend="numba").fit(x)
    assert not model.predict(x).any()
    assert sum(n_distances) < 0.2 * len(x) ** 2


@pytest.mark.slow
def test_predict_within_an_eps_with_a_square_of_zero() -> None:
    for eps in (1e-163, 1e-160, 1e-158):
        core = DBSCAN(eps, min_samples=1).fit(np.zeros((1, 2)))
        new = np.column_stack([eps * np.linspace(0, 4, 801), np.zeros(801)])
        within = new[:, 0] * new[:, 0] <= eps * eps
        assert (core.predict(new) == np.where(within, 0, -1)).all()


@pytest.mark.slow
def test_predict_checks_its_threads() -> None:
    model = DBSCAN().fit(np.zeros((9, 2))).set_params(n_threads=0)
    with pytest.raises(ConfigError, match="n_threads"):
        model.predict(np.zeros((1, 2)))


@pytest.mark.slow
def test_predict_takes_the_nearest_core_row() -> None:
    x = np.array([[0], [1], [2], [10], [11], [12], [50]], np.float32)
    model = DBSCAN(eps=1.0, min_samples=2).fit(x)
    assert model.labels_.tolist() == [0, 0, 0, 1, 1, 1, -1]
    new = np.array([[-1], [-1.01], [3], [6], [9], [12.5], [50]], np.float32)
    assert model.predict(new).tolist() == [0, -1, 0, -1, 1, 1, -1]
    assert model.predict(new.astype(np.float64)).tolist() == [0, -1, 0, -1, 1, 1, -1]
    nobody = DBSCAN(eps=0.1, min_samples=2).fit(x)
    assert nobody.predict(new).tolist() == [-1] * 7
    assert nobody.components_.shape == (0, 1)
