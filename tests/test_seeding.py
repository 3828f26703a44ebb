"""Seeding: where the first centres come from, and that weights count as rows do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Place
from sklearn.cluster import kmeans_plusplus

from gpuseg.backends.base import Backend, Centers
from gpuseg.engine import passes, seeding
from gpuseg.engine.exact import grid_magic
from gpuseg.engine.kmeans import fit_kmeans
from gpuseg.engine.params import KMeansParams

Array = npt.NDArray[Any]


def no_more(limit: int) -> Array:
    raise AssertionError("the sample has enough distinct rows")


def test_every_far_blob_gets_a_centre(backend: Backend, place: Place) -> None:
    """Greedy k-means++ and the best of ten refined seedings: no blob is missed."""
    rng = np.random.default_rng(0)
    places = 100.0 * rng.permutation(400)[:20, None] + rng.normal(size=(20, 3))
    x = np.repeat(places, 30, axis=0) + rng.normal(size=(600, 3))
    for seed in range(5):
        executor, shards = place(rng.permutation(x), None, 2)
        found = fit_kmeans(executor, KMeansParams(n_clusters=20, random_state=seed), backend.name)
        assert found.sizes.tolist() == [30] * 20
        assert set(np.concatenate([shard.labels for shard in shards])) == set(range(20))


def test_seeds_are_as_good_as_scikit_learns(backend: Backend) -> None:
    """Greedy: of several candidates, each step takes the one that leaves the least inertia."""
    x = np.random.default_rng(2).lognormal(size=(500, 2)).astype(np.float32)
    sample = seeding.Sample(x, None)
    ours = [seeding.seed_centers(sample, backend, 10, 0, run, no_more) for run in range(100)]
    theirs = [kmeans_plusplus(x, 10, random_state=seed)[0] for seed in range(100)]
    left = [np.mean([backend.nearest(x, Centers(c.astype(float), c[0].astype(np.float32)))[1].sum()
                     for c in seeds]) for seeds in (ours, theirs)]  # fmt: skip
    assert left[0] == pytest.approx(left[1], rel=0.05)  # without the candidates: 0.28


@pytest.mark.parametrize("weighted", [False, True])
def test_the_first_centre_is_drawn_by_weight(backend: Backend, weighted: bool) -> None:
    x = np.arange(4, dtype=np.float32)[:, None]
    weight = np.array([1.0, 0.0, 3.0, 4.0])
    rows = seeding.Sample(x if weighted else np.repeat(x, weight.astype(int), axis=0),
                          weight if weighted else None)  # fmt: skip
    drawn = Counter(
        seeding.seed_centers(rows, backend, 1, 0, restart, no_more).item()
        for restart in range(4000)
    )
    assert drawn[1.0] == 0
    for value, share in ((0, 1 / 8), (2, 3 / 8), (3, 4 / 8)):
        assert drawn[value] == pytest.approx(4000 * share, abs=130)  # 4 standard deviations


def test_rows_of_weight_zero_are_no_centres(backend: Backend) -> None:
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(60, 2)).astype(np.float32), np.arange(60) % 3 * 1.0
    x[weight == 0] *= 1000
    sample = seeding.Sample(x, weight)
    usable = set(map(tuple, x[weight > 0].tolist()))
    for restart in range(30):
        for centers in (
            seeding.seed_centers(sample, backend, 7, 0, restart, no_more),
            seeding.random_centers(sample, 7, 0, restart, no_more),
        ):
            chosen = set(map(tuple, centers.tolist()))
            assert len(chosen) == 7
            assert chosen <= usable


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_the_sample_meets_a_weight_as_so_many_rows(
    place: Place, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One position in each of equal intervals of cumulated weight, wherever the rows lie."""
    monkeypatch.setattr(seeding, "SAMPLE_ROWS", 100)
    monkeypatch.setattr(seeding, "SAMPLE_ROWS_PER_CENTER", 1)
    weight = np.random.default_rng(0).integers(0, 5, 150).astype(float)
    x = np.arange(150, dtype=np.float32)[:, None]
    drawn = []
    for rows, w in ((x, weight), (np.repeat(x, weight.astype(int), axis=0), None)):
        executor, _ = place(rows, w, shards)
        magic = grid_magic(len(rows), 4.0 if w is not None else 1.0)
        total = executor.run(passes.total_weight, magic)
        sample = seeding.draw_sample(executor, len(rows), total, magic, 3, 9)
        assert sample.weight is None
        drawn.append(sample.x[:, 0].tolist())
    assert drawn[0] == drawn[1]
    ends = np.cumsum(weight)
    for i, row in enumerate(map(int, drawn[0])):
        low, high = ends[row] - weight[row], ends[row]
        assert low < (i + 1) * ends[-1] / 100
        assert high > i * ends[-1] / 100
