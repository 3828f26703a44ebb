"""Seeding: where the first centers come from, and that weights count as rows do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Place
from sklearn.cluster import kmeans_plusplus

from gpuseg.algorithms.data_statistics import measure
from gpuseg.algorithms.kmeans import seeding
from gpuseg.algorithms.kmeans.fit import fit_kmeans
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.algorithms.kmeans.sampling import (
    Positions,
    SeedingSample,
    draw_sample,
    merge_equal,
    rows_at,
    weigh,
)
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.backends.types import Centers
from gpuseg.numerics.reproducible_sums import grid_magic
from gpuseg.numerics.sum_grid import on_grid

Array = npt.NDArray[Any]

INIT = ("k-means++", "random")


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of 100 rows, drawn from blocks of 64."""
    monkeypatch.setattr("gpuseg.algorithms.kmeans.sampling.SAMPLE_ROWS", 100)
    monkeypatch.setattr("gpuseg.algorithms.kmeans.sampling.SAMPLE_ROWS_PER_CENTER", 1)
    monkeypatch.setattr("gpuseg.sharding.shard.BLOCK_ROWS", 64)


def sampled(
    place: Place, x: Array, weight: Array | None = None, shards: int = 1, seed: int = 9
) -> SeedingSample:
    executor, _ = place(x, weight, shards)
    return draw_sample(executor, "numba", measure(executor, "numba"), 3, seed)


def bits(sample: SeedingSample) -> tuple[bytes, bytes | None]:
    return sample.x.tobytes(), None if sample.weight is None else sample.weight.tobytes()


def seeds(backend: Backend, sample: SeedingSample, k: int) -> list[bytes]:
    """Return the bits of what both ways of seeding choose, three restarts of each."""
    results = seeding.plus_plus(sample, backend, k, 4, range(3))
    results += [seeding.at_random(sample, k, 4, restart) for restart in range(3)]
    return [rows.tobytes() for rows in results]


def rows_with_copies(n: int) -> Array:
    """Rows of which some are equal, some in all but the sign of a zero."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, 2)).round(1).astype(np.float32)
    x[::5] = np.where(rng.random((len(x[::5]), 2)) < 0.5, np.float32(-0.0), np.float32(0.0))
    return x


@pytest.mark.slow
def test_every_far_blob_gets_a_center(backend: Backend, place: Place) -> None:
    """Greedy k-means++ and the best of ten refined seedings: no blob is missed."""
    rng = np.random.default_rng(0)
    centers = 100.0 * rng.permutation(400)[:20, None] + rng.normal(size=(20, 3))
    x = np.repeat(centers, 30, axis=0) + rng.normal(size=(600, 3))
    for seed in range(5):
        executor, shards = place(rng.permutation(x), None, 2)
        fitted = fit_kmeans(executor, KMeansParams(n_clusters=20, random_state=seed), backend.name)
        assert fitted.sizes.tolist() == [30] * 20
        assert set(np.concatenate([shard.labels for shard in shards])) == set(range(20))


@pytest.mark.slow
def test_seeds_are_as_good_as_scikit_learns(backend: Backend) -> None:
    """Greedy: of several candidates, each step takes the one that leaves the least inertia."""
    x = np.random.default_rng(2).lognormal(size=(500, 2)).astype(np.float32)
    ours = seeding.plus_plus(SeedingSample(x, None), backend, 10, 0, range(100))
    theirs = [kmeans_plusplus(x, 10, random_state=seed)[0] for seed in range(100)]
    left = [
        np.mean([inertia(backend, x, rows) for rows in seed_rows]) for seed_rows in (ours, theirs)
    ]
    assert left[0] == pytest.approx(left[1], rel=0.05)  # without the candidates: 0.28


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 10])
def test_many_seeds_are_as_good_as_scikit_learns(d: int) -> None:
    """Also those that are chosen within cells; other backends choose the same."""
    backend = registry.get("numba")
    x = np.random.default_rng(2).lognormal(size=(2000, d)).astype(np.float32)
    ours = seeding.plus_plus(SeedingSample(x, None), backend, 300, 0, range(3))
    theirs = [kmeans_plusplus(x, 300, random_state=seed)[0] for seed in range(3)]
    left = [
        np.mean([inertia(backend, x, rows) for rows in seed_rows]) for seed_rows in (ours, theirs)
    ]
    assert left[0] < 1.03 * left[1]


def inertia(backend: Backend, x: Array, rows: Array) -> float:
    packed = backend.pack(Centers(rows.astype(np.float64), rows[0].astype(np.float32)))
    return float(backend.nearest(x, packed)[1].sum())


def test_the_next_center_is_drawn_and_judged_by_weight(backend: Backend) -> None:
    """One row of large weight leaves more inertia than a hundred as far of small weight."""
    others = np.stack([np.linspace(-0.05, 0.05, 100), np.ones(100)], axis=1)
    x = np.concatenate([[[0, 0], [1, 0]], others]).astype(np.float32)
    sample = merge_equal(x, np.append([1e9, 12.0], np.full(100, 0.1)))
    second = [rows[1, 0] for rows in seeding.plus_plus(sample, backend, 2, 0, range(200))]
    assert np.mean(np.equal(second, 1)) > 0.9  # not among five candidates: 0.02; else: 0.05


@pytest.mark.slow
@pytest.mark.parametrize("init", INIT)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_first_center_is_drawn_by_weight(backend: Backend, weighted: bool, init: str) -> None:
    if init == "random" and backend.name != "numpy":
        pytest.skip("no backend takes part")
    x = np.arange(4, dtype=np.float32)[:, None]
    weight = np.array([1.0, 0.0, 3.0, 4.0])
    if not weighted:
        x, weight = np.repeat(x, weight.astype(int), axis=0), np.ones(8)
    sample = merge_equal(x, weight)
    restarts = range(4000)
    if init == "k-means++":
        rows = seeding.plus_plus(sample, backend, 1, 0, restarts)
    else:
        rows = [seeding.at_random(sample, 1, 0, restart) for restart in restarts]
    drawn = Counter(row.item() for row in rows)
    assert drawn[1.0] == 0
    for value, share in ((0, 1 / 8), (2, 3 / 8), (3, 4 / 8)):
        assert drawn[value] == pytest.approx(4000 * share, abs=130)  # 4 standard deviations


@pytest.mark.slow
def test_at_random_is_drawing_one_after_the_other_by_weight() -> None:
    """The second row is drawn by the weights of those that are left."""
    sample = SeedingSample(np.arange(3, dtype=np.float32)[:, None], np.array([1.0, 2.0, 5.0]))
    drawn = Counter(
        tuple(seeding.at_random(sample, 2, 1, restart)[:, 0].tolist()) for restart in range(4000)
    )
    for first, second in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)):
        weight = np.array([1.0, 2.0, 5.0])
        share = weight[first] / 8 * weight[second] / (8 - weight[first])
        assert drawn[first, second] == pytest.approx(4000 * share, abs=130)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("n", [60, 300])
@pytest.mark.usefixtures("small_sample")
def test_rows_of_weight_zero_are_no_centers(
    backend: Backend, place: Place, n: int, shards: int
) -> None:
    """Neither of data taken whole nor of data that is sampled, at its ends as little as within."""
    x, weight = np.random.default_rng(1).normal(size=(n, 2)), np.arange(n) % 3 * 0.75
    weight[-5:] = 0
    x[weight == 0] *= 1000
    usable = set(map(tuple, x[weight > 0].astype(np.float32).tolist()))
    for seed in range(10):
        sample = sampled(place, x, weight, shards, seed)
        assert set(map(tuple, sample.x.tolist())) <= usable
        for restart in range(3):
            for rows in (
                *seeding.plus_plus(sample, backend, 7, seed, [restart]),
                seeding.at_random(sample, 7, seed, restart),
            ):
                assert len(set(map(tuple, rows.tolist()))) == 7
                assert set(map(tuple, rows.tolist())) <= usable


@pytest.mark.parametrize("whole_steps", [3, 128])
@pytest.mark.parametrize("weighted", [False, True])
def test_fewer_centers_are_the_first_of_more(
    backend: Backend, weighted: bool, whole_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuseg.algorithms.kmeans.seeding.WHOLE_STEPS", whole_steps)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    sample = merge_equal(x, rng.lognormal(0, 2, 200) if weighted else np.ones(200))
    for restart in range(5):
        (many,) = seeding.plus_plus(sample, backend, 12, 7, [restart])
        some = seeding.at_random(sample, 12, 7, restart)
        assert len(np.unique(many, axis=0)) == len(np.unique(some, axis=0)) == 12
        for k in (1, 2, 5, 11):
            (few,) = seeding.plus_plus(sample, backend, k, 7, [restart])
            assert few.tobytes() == many[:k].tobytes()
            assert seeding.at_random(sample, k, 7, restart).tobytes() == some[:k].tobytes()


SYMMETRIC = """
import numpy as np
from gpuseg.backends import registry
from gpuseg.algorithms.kmeans import sampling, seeding
for seed in range(400):
    corner = np.random.default_rng(seed).integers(-9, 10, (12, 2)) / 10
    signs = [[1, 1], [-1, -1], [1, -1], [-1, 1]]
    x = np.concatenate([c * sign for c in (corner, corner[:, ::-1]) for sign in signs])
    sample = sampling.merge_equal(x.astype(np.float32), np.ones(len(x)))
    print(seeding.plus_plus(sample, registry.get("numpy"), 5, seed, [0])[0].tolist())
"""


@pytest.mark.slow
def test_seeds_do_not_depend_on_the_processor() -> None:
    """Candidates that are as good as each other: a last bit of a sum would choose another."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SYMMETRIC], capture_output=True, text=True, check=True,
            env={**os.environ, "OPENBLAS_CORETYPE": processor},
        ).stdout
        for processor in ("", "Prescott", "Nehalem")
    }  # fmt: skip
    assert len(outputs) == 1


def test_no_more_centers_than_distinct_rows(backend: Backend) -> None:
    x = np.float32([[0, 1], [2, 3], [0, 1], [-0.0, 1], [5, 5], [2, 3]])
    sample = merge_equal(x, np.ones(6))
    expected = [[0, 1], [2, 3], [5, 5]]
    for restart in range(10):
        assert sorted(seeding.plus_plus(sample, backend, 5, 0, [restart])[0].tolist()) == expected
        assert sorted(seeding.at_random(sample, 5, 0, restart).tolist()) == expected


def test_fill_up_takes_rows_of_the_data_and_then_repeats_the_first() -> None:
    seed_rows = np.float32([[3], [1]])
    limits = []

    def distinct(limit: int) -> Array:
        limits.append(limit)
        return np.float32([[0], [1], [2], [3]])[:limit]

    assert seeding.fill_up(seed_rows, 1, distinct).tolist() == [[3]]
    assert seeding.fill_up(seed_rows, 2, distinct).tolist() == [[3], [1]]
    assert limits == []
    assert seeding.fill_up(seed_rows, 3, distinct).tolist() == [[3], [1], [0]]
    assert seeding.fill_up(seed_rows, 6, distinct).tolist() == [[3], [1], [0], [2], [3], [3]]
    assert limits == [3, 6]
    assert seeding.fill_up(seed_rows, 3, distinct).dtype == np.float64


@pytest.mark.parametrize("shards", [1, 2, 7])
@pytest.mark.usefixtures("small_sample")
def test_the_sample_meets_a_weight_as_so_many_rows(place: Place, shards: int) -> None:
    """One position in each of equal intervals of cumulated weight, wherever the rows lie."""
    weight = np.random.default_rng(0).integers(0, 5, 150).astype(float)
    x = np.arange(150, dtype=np.float32)[:, None]
    drawn = []
    for rows, w in ((x, weight), (np.repeat(x, weight.astype(int), axis=0), None)):
        sample = sampled(place, rows, w, shards)
        times = np.ones(len(sample.x)) if sample.weight is None else sample.weight
        drawn.append(np.sort(np.repeat(sample.x[:, 0], times.astype(int))).tolist())
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 100
    ends = np.cumsum(weight)
    for i, row in enumerate(map(int, drawn[0])):
        low, high = ends[row] - weight[row], ends[row]
        assert low < (i + 1) * ends[-1] / 100
        assert high > i * ends[-1] / 100


@pytest.mark.parametrize("n", [40, 150])
@pytest.mark.usefixtures("small_sample")
def test_whole_weights_seed_exactly_as_copies_do(backend: Backend, place: Place, n: int) -> None:
    """150 rows, 300 of them with copies, are sampled; 40 rows, 80 with copies, are not."""
    x = rows_with_copies(n)
    count = np.random.default_rng(n).integers(0, 5, n)
    copies = np.repeat(x, count, axis=0)
    by_weight = sampled(place, x, count.astype(float), 3)
    for shards in (1, 2):
        by_copies = sampled(place, copies, None, shards)
        assert bits(by_copies) == bits(by_weight)
        assert seeds(backend, by_copies, 6) == seeds(backend, by_weight, 6)
        assert bits(sampled(place, copies, np.ones(len(copies)), shards)) == bits(by_weight)


@pytest.mark.usefixtures("small_sample")
def test_whole_weights_that_are_mostly_zero_seed_as_copies_do(place: Place) -> None:
    """150 rows are more than a sample has, but the few that count are not."""
    x, count = rows_with_copies(150), np.arange(150) % 5 % 4 % 3
    count[30:] = 0
    copies = np.repeat(x, count, axis=0)
    assert bits(sampled(place, x, count.astype(float), 3)) == bits(sampled(place, copies))


@pytest.mark.usefixtures("small_sample")
def test_the_order_of_few_rows_does_not_matter(backend: Backend, place: Place) -> None:
    x, rng = rows_with_copies(40), np.random.default_rng(0)
    count = rng.integers(0, 4, 40)
    copies = np.repeat(x, count, axis=0)
    expected = sampled(place, x, count.astype(float))
    for shards in (1, 2, 5):
        order = rng.permutation(len(copies))
        shuffled = sampled(place, copies[order], None, shards)
        assert bits(shuffled) == bits(expected)
        assert seeds(backend, shuffled, 6) == seeds(backend, expected, 6)
        order = rng.permutation(40)
        shuffled = sampled(place, x[order], count[order].astype(float), shards)
        assert bits(shuffled) == bits(expected)


@pytest.mark.parametrize("kind", ["none", "whole", "broken", "six orders"])
@pytest.mark.parametrize("n", [70, 600])
@pytest.mark.usefixtures("small_sample")
def test_the_sample_does_not_depend_on_the_sharding(place: Place, n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, 2)).astype(np.float32)
    weight = {
        "none": None,
        "whole": rng.integers(0, 4, n) * 1.0,
        "broken": rng.integers(0, 4, n) * 0.3,
        "six orders": 10.0 ** rng.uniform(-6, 0, n),
    }[kind]
    for seed in range(3):
        samples = {bits(sampled(place, x, weight, shards, seed)) for shards in (1, 2, 5, 11)}
        assert len(samples) == 1
    assert bits(sampled(place, x, weight, 1, 2)) in samples
    assert (bits(sampled(place, x, weight, 1, 3)) in samples) == (n == 70)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.usefixtures("small_sample")
def test_a_position_where_a_row_ends_is_the_next_rows(place: Place, weighted: bool) -> None:
    """Sums of weights on the grid are exact: even there, no cut of the data matters."""
    rng = np.random.default_rng(5)
    x, weight = np.arange(300, dtype=np.float32)[:, None], 10.0 ** rng.uniform(-6, 0, 300)
    weight[::4] = 0
    magic = grid_magic(300, 1.0)
    ends = np.cumsum(on_grid(weight, magic)) if weighted else np.arange(1, 301.0)
    positions = np.append(0.0, ends[:-1])
    expected = [i + (weighted and i % 4 == 0) for i in range(300)]
    for shards in (1, 2, 5):
        executor, _ = place(x, weight if weighted else None, shards)
        shares, before = [], 0.0
        for shard_weight in executor.map(weigh, "numpy", magic):
            inside = positions[(positions >= before) & (positions < before + shard_weight.total)]
            shares.append(Positions(inside, before))
            before += shard_weight.total
        drawn = np.concatenate(executor.map(rows_at, "numpy", magic, per_shard=shares))[:, 0]
        assert before == ends[-1]
        assert drawn.tolist() == expected


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.usefixtures("small_sample")
def test_shards_without_rows_do_not_change_the_sample(place: Place, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(300, 2)), rng.lognormal(size=300) if weighted else None
    executor, shards = place(x, weight, 3)
    expected = sampled(place, x, weight)
    empty = [place(x[:0], None if weight is None else weight[:0])[1][0] for _ in range(3)]
    mixed = [empty[0], shards[0], empty[1], *shards[1:], empty[2]]
    executor.load(lambda shard, env: shard, mixed)
    assert bits(draw_sample(executor, "numba", measure(executor, "numba"), 3, 9)) == bits(expected)


def test_equal_rows_are_merged() -> None:
    x = np.float32([[0.0, 1], [2, 2], [-0.0, 1], [3, 3], [2, 2], [4, 4]])
    merged = merge_equal(x, np.array([1.0, 0.25, 2.0, 0.0, 0.5, 1.0]))
    assert merged.weight is not None
    weights = dict(zip(map(tuple, merged.x.tolist()), merged.weight.tolist(), strict=True))
    assert weights == {(0, 1): 3, (2, 2): 0.75, (4, 4): 1}
    assert not np.signbit(merged.x).any()
    assert merge_equal(x[[0, 1, 3]], np.ones(3)).weight is None
