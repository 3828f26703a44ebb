"""Sizes far beyond any use are refused by a rule, at once."""

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.errors import raises

import gpuseg
from gpuseg.algorithms.kmeans import fit
from gpuseg.errors import ConfigError, ResourceError

X = np.arange(20.0).reshape(10, 2)

HUGE = (10**9, 10**30, 10**5000)

CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("n_clusters", lambda size: gpuseg.KMeans(size).fit(X)),
    ("n_init", lambda size: gpuseg.KMeans(2, n_init=size).fit(X)),
    ("max_iter", lambda size: gpuseg.KMeans(2, max_iter=size).fit(X)),
    ("n_threads", lambda size: gpuseg.KMeans(2, n_threads=size).fit(X)),
    ("n_threads", lambda size: gpuseg.DBSCAN(n_threads=size).fit(X)),
    ("n_clusters", lambda size: gpuseg.kmeans_sweep(X, range(2, size))),
    ("n_clusters", lambda size: gpuseg.select_k(X, range(2, size))),
]


@pytest.mark.parametrize("size", HUGE, ids=["10**9", "10**30", "10**5000"])
@pytest.mark.parametrize(("parameter", "call"), CALLS, ids=range(len(CALLS)))
def test_absurd_size(parameter: str, call: Callable[[Any], Any], size: int) -> None:
    with pytest.raises(ConfigError) as caught:
        call(size)
    assert caught.value.parameter == parameter
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "values",
    [count(2), [2, "a"], ["a", "b"], "abc", [None], [[2, 3]], [2j, 3j], 5.0, []],
    ids=["endless", "text", "texts", "abc", "None", "nested", "complex", "5.0", "none"],
)
@pytest.mark.parametrize("function", [gpuseg.kmeans_sweep, gpuseg.select_k])
def test_numbers_of_clusters_that_are_none(function: Callable[..., Any], values: Any) -> None:
    with raises("n_clusters.not_several", ConfigError, parameter="n_clusters"):
        function(X, values)


def test_so_many_centers_that_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit.psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * 30))
    gpuseg.KMeans(5, n_init=3).fit(X)
    with raises("n_clusters.too_many_centers", ResourceError, value=5):
        gpuseg.KMeans(5, n_init=4).fit(X)
    with raises("n_clusters.too_many_centers", ResourceError, value=2):
        gpuseg.KMeans(2).fit(X)  # ten seedings
