"""Weights: rows of small weight keep their digits, and no weight breaks the sums."""

import numpy as np
import pytest
from support.errors import raises

from gpuseg import KMeans

X = np.array([[0.0], [0.1], [10.0], [10.3]], np.float32)
INIT = np.array([[0.0], [10.0]])


@pytest.mark.parametrize("small", [1.0, 1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_light_clusters_keep_their_digits(small: float, backend: str) -> None:
    """The center of rows of small weight does not depend on the weight of the others."""
    weight = [small, 2 * small, 1.0, 2.0]
    model = KMeans(2, init=INIT, backend=backend).fit(X, sample_weight=weight)
    expected = float(2 * X[1, 0].astype(np.float64) / 3)
    assert model.cluster_centers_[0, 0] == pytest.approx(expected, rel=1e-9)


def test_six_orders_of_magnitude() -> None:
    """Centers agree with a float64 evaluation of the same labels."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 5)).astype(np.float32) + np.float32(1000)
    weight = 10.0 ** rng.uniform(-6, 0, len(x))
    model = KMeans(6, random_state=0, max_iter=5).fit(x, sample_weight=weight)
    wide = x.astype(np.float64)
    again = KMeans(6, init=model.cluster_centers_, max_iter=1).fit(x, sample_weight=weight)
    for k, center in enumerate(again.cluster_centers_):
        members = model.labels_ == k
        mean = np.average(wide[members], axis=0, weights=weight[members])
        np.testing.assert_allclose(center, mean, rtol=1e-12)


@pytest.mark.parametrize("weight", [1e308, 1e40, 1e-40, 1e-300])
def test_weights_out_of_reach_are_refused(weight: float) -> None:
    with raises("weight.out_of_range"):
        KMeans(2, init=INIT).fit(X, sample_weight=np.full(4, weight))


def test_scaling_all_weights_changes_nothing_but_the_inertia() -> None:
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(500, 3)), rng.integers(1, 9, 500) * 1.0
    one = KMeans(4, random_state=0).fit(x, sample_weight=weight)
    other = KMeans(4, random_state=0).fit(x, sample_weight=weight * 1024)
    assert np.array_equal(one.labels_, other.labels_)
    np.testing.assert_allclose(one.cluster_centers_, other.cluster_centers_, rtol=1e-12)
    assert other.inertia_ == pytest.approx(1024 * one.inertia_, rel=1e-12)
