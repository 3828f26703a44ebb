"""Inertia and centers keep their digits wherever the data lies, and whatever one row is like."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Place

from gpuseg.algorithms.kmeans.fit import fit_kmeans
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.backends.backend import Backend

Array = npt.NDArray[Any]

N = 3000


def blobs(rng: np.random.Generator) -> Array:
    return 10.0 * rng.integers(0, 4, (N, 3)) + rng.normal(size=(N, 3))


def with_outlier(rng: np.random.Generator, size: float = 1e12) -> Array:
    x = blobs(rng)
    x[N // 2] = size
    return x


DATA = {
    "blobs": blobs,
    "offset 1e6": lambda rng: 1e6 + blobs(rng),
    "outlier 1e12": with_outlier,
    "tiny": lambda rng: 1e-15 * blobs(rng),
}


def weights(kind: str) -> Array | None:
    rng = np.random.default_rng(7)
    return {
        "none": None,
        "whole": rng.integers(0, 5, N) * 1.0,
        "six orders": 10.0 ** rng.uniform(-6, 0, N),
        "one heavy row": np.append(np.full(N - 1, 1e-9), 1.0),
    }[kind]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        *((data, kind) for data in DATA for kind in ("none", "whole", "six orders")),
        *((data, "one heavy row") for data in ("blobs", "offset 1e6", "tiny")),
    ],
)
def test_inertia_is_right_to_twelve_digits(
    backend: Backend, place: Place, data: str, kind: str
) -> None:
    """Against the float64 terms of the same labels, added without rounding.

    The outlier has a center of its own and adds next to nothing.
    """
    x = DATA[data](np.random.default_rng(3)).astype(np.float32)
    weight = weights(kind)
    init = x[[0, 1, 2, 3, N // 2]].astype(np.float64).tolist()
    executor, shards = place(x, weight, 3)
    params = KMeansParams(n_clusters=5, init=init, max_iter=3)
    fitted = fit_kmeans(executor, params, backend.name)
    labels = np.concatenate([shard.labels for shard in shards if shard.labels is not None])
    nearest = fitted.centers.values[labels]
    squares = np.zeros(N)
    for f in range(x.shape[1]):
        squares += (x[:, f].astype(np.float64) - nearest[:, f]) ** 2
    exact = math.fsum(squares if weight is None else weight * squares)
    assert fitted.inertia == pytest.approx(exact, rel=1e-12, abs=0)
    assert (fitted.sizes > 0).all()


@pytest.mark.parametrize("kind", ["none", "six orders"])
def test_centers_keep_their_digits_beside_an_outlier(
    backend: Backend, place: Place, kind: str
) -> None:
    x = with_outlier(np.random.default_rng(3), 1e9).astype(np.float32)
    weight = weights(kind)
    w = np.ones(N) if weight is None else weight
    init = x[[0, 1, 2, 3, N // 2]].astype(np.float64)
    executor, _ = place(x, weight, 3)
    params = KMeansParams(n_clusters=5, init=init.tolist(), max_iter=1)
    fitted = fit_kmeans(executor, params, backend.name)
    squares = sum((x[:, f].astype(np.float64)[:, None] - init[:, f]) ** 2 for f in range(3))
    labels = np.argmin(squares, axis=1)
    for j, center in enumerate(fitted.centers.values):
        members = labels == j
        terms = w[members, None] * x[members].astype(np.float64)
        mean = [math.fsum(column) / math.fsum(w[members]) for column in terms.T]
        np.testing.assert_allclose(center, mean, rtol=1e-10, atol=1e-10)
