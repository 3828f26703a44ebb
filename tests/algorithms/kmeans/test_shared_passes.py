"""Sharing passes between runs, and the bounds that shards keep, change only the work.

A restart, or another number of clusters, is what it would be by itself, whatever other runs share
the pass; and a shard without bounds, such as one rebuilt on another worker, returns the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Place
from support.helpers import BACKENDS, in_turn

from gpuseg.algorithms.data_statistics import measure
from gpuseg.algorithms.kmeans.fit import KMeansFit, fit_kmeans, sweep_kmeans
from gpuseg.algorithms.kmeans.lloyd import LloydRun, iterate
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.backends.backend import Backend
from gpuseg.backends.types import RowBounds
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.sharding.shard import Shard

Array = npt.NDArray[Any]
R = TypeVar("R")

PLENTY = 2**20


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuseg.sharding.shard.BLOCK_ROWS", 64)


class Forgetful(LocalExecutor):
    """Loses the caches of some shards before every call, as lost workers would."""

    def __init__(self, shards: Sequence[Shard], every: int = 1) -> None:
        super().__init__(1)
        self.every, self.calls = every, 0
        self.load(lambda shard, env: shard, shards)

    def map(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        self.calls += 1
        for i, shard in enumerate(self._shards):
            if (i + self.calls) % self.every == 0:
                shard.cache.clear()
        return super().map(function, *args, per_shard=per_shard)


def data(weighted: bool, n: int = 300) -> tuple[Array, Array | None]:
    """Blobs that overlap, so that runs take many iterations and end at different centers."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-9, 9, (6, 2))[np.arange(n) % 6] + 2 * rng.normal(size=(n, 2))
    weight = 10.0 ** rng.uniform(-6, 0, n)
    weight[::10] = 0
    return x.astype(np.float32), weight if weighted else None


def starts(x: Array, *counts: int) -> list[Array]:
    """Rows to begin from, and for the last run a center that no row is near."""
    rng = np.random.default_rng(1)
    centers = [x[rng.choice(len(x), k, replace=False)].astype(np.float64) for k in counts]
    centers[-1][-1] = 1e4
    return centers


def bits(run: LloydRun) -> tuple[object, ...]:
    return run.centers.values.tobytes(), run.n_iter, run.converged


def outcome(fit: KMeansFit) -> tuple[object, ...]:
    sizes = tuple(fit.sizes.tolist())
    return fit.centers.values.tobytes(), fit.inertia.hex(), fit.n_iter, sizes, fit.converged


def labels_of(shards: Sequence[Shard]) -> bytes:
    return np.concatenate([shard.labels for shard in shards if shard.labels is not None]).tobytes()


def iterated(
    executor: LocalExecutor, backend: str, begin: Sequence[Array], spare_bytes: int = 0
) -> list[LloydRun]:
    statistics = measure(executor, backend)
    params = KMeansParams(max_iter=40, tol=0.0)
    return iterate(executor, backend, statistics, begin, params, spare_bytes=spare_bytes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "weighted"), in_turn(BACKENDS, [False, True], step=2), indirect=["backend"]
)
def test_each_of_several_runs_is_what_it_is_by_itself(
    backend: Backend, place: Place, weighted: bool
) -> None:
    x, weight = data(weighted)
    begin = starts(x, 3, 7, 1, 3, 12, 5)
    for threads in (1, 2):
        executor, shards = place(x, weight, 3, threads)
        single = [iterated(executor, backend.name, [start])[0] for start in begin]
        assert len({run.n_iter for run in single}) > 3  # they do not end together
        for spare_bytes in (0, 2 * backend.bounds_bytes_per_row(3) * len(shards[-1].x), PLENTY):
            together = iterated(executor, backend.name, begin, spare_bytes)
            assert [bits(run) for run in together] == [bits(run) for run in single]
            assert [run.number for run in together] == list(range(6))
        again = iterated(executor, backend.name, begin[::-1], PLENTY)
        assert [bits(run) for run in again[::-1]] == [bits(run) for run in single]
        assert not any(shard.cache for shard in shards)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_shards_that_forget_return_the_same_bits(
    backend: Backend, place: Place, weighted: bool
) -> None:
    x, weight = data(weighted)
    begin = starts(x, 4, 7, 5)
    executor, shards = place(x, weight, 3)
    normal = iterated(executor, backend.name, begin, PLENTY)
    first_only = iterated(executor, backend.name, begin)
    for every in (1, 2, 3):
        runs = iterated(Forgetful(shards, every), backend.name, begin, PLENTY)
        assert [bits(run) for run in runs] == [bits(run) for run in normal]
        if every == 1:
            assert [run.n_rows_scored for run in runs] == [len(x) * run.n_iter for run in runs]
    assert [bits(run) for run in first_only] == [bits(run) for run in normal]
    assert normal[0].n_rows_scored < len(x) * normal[0].n_iter
    if backend.name == "cuda":
        return  # it keeps bounds by the memory of its device, for all runs or none
    assert first_only[0].n_rows_scored == normal[0].n_rows_scored
    for few, many in zip(first_only[1:], normal[1:], strict=True):
        assert many.n_rows_scored < few.n_rows_scored <= len(x) * few.n_iter


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_imprecise_slack_is_reset(
    backend: Backend, place: Place, monkeypatch: pytest.MonkeyPatch, weighted: bool
) -> None:
    """One center moves far at first: without a reset, later passes would score every row."""
    reset: list[int] = []
    reset_slack = backend.reset_slack

    def counting(bounds: RowBounds) -> None:
        reset.append(len(bounds.label))
        reset_slack(bounds)

    monkeypatch.setattr(backend, "reset_slack", counting)
    monkeypatch.setattr(backend, "slack_rounding", 0.0)
    x, weight = data(weighted)
    begin = starts(x, 4, 7, 5)
    executor, shards = place(x, weight, 3)
    normal = iterated(executor, backend.name, begin, PLENTY)
    assert not reset
    monkeypatch.setattr(backend, "slack_rounding", 2.0**-7)
    for run_starts in (begin, begin[-1:]):
        reset.clear()
        runs = iterated(executor, backend.name, run_starts, PLENTY)
        assert [bits(run) for run in runs] == [bits(run) for run in normal[-len(runs) :]]
        passes = max(run.n_iter for run in runs)
        assert len(shards) <= len(reset) <= len(runs) * len(shards) * passes / 4
        assert runs[-1].n_rows_scored < len(x) * runs[-1].n_iter


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "weighted", "init", "n_init"),
    in_turn(BACKENDS, [False, True], ["k-means++", "random"], ["auto", 3], step=4),
    indirect=["backend"],
)
def test_a_fit_does_not_depend_on_bounds(
    backend: Backend, place: Place, weighted: bool, init: str, n_init: Any
) -> None:
    params = KMeansParams(n_clusters=6, init=init, n_init=n_init, tol=0.0)
    outcomes = set()
    for spare_bytes in (0, PLENTY):
        executor, shards = place(*data(weighted), 3)
        for runner in (executor, Forgetful(shards), Forgetful(shards, 2)):
            fit = fit_kmeans(runner, params, backend.name, spare_bytes=spare_bytes)
            outcomes.add((*outcome(fit), labels_of(shards)))
    assert len(outcomes) == 1


def test_a_pass_that_fails_leaves_nothing_half_changed(
    backend: Backend, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor calls it again: changes by the first blocks must not count."""
    x, _ = data(False)
    begin = starts(x, 4, 7)
    executor, _ = place(x, None, 2)
    expected = [bits(run) for run in iterated(executor, backend.name, begin, PLENTY)]
    step, calls = backend.lloyd, iter(range(10**6))

    def failing(*args: Any) -> Any:
        if next(calls) % 20 == 12:
            raise ConnectionError
        return step(*args)

    class Stubborn(LocalExecutor):
        def map(
            self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
        ) -> list[R]:
            try:
                return super().map(function, *args, per_shard=per_shard)
            except ConnectionError:
                return self.map(function, *args, per_shard=per_shard)

    stubborn = Stubborn(1)
    stubborn.load(lambda shard, env: shard, place(x, None, 2)[1])
    monkeypatch.setattr(backend, "lloyd", failing)
    runs = iterated(stubborn, backend.name, begin, PLENTY)
    assert next(calls) > 50
    assert [bits(run) for run in runs] == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "weighted", "init", "n_init"),
    in_turn(BACKENDS, [False, True], ["k-means++", "random"], ["auto", 3], step=4),
    indirect=["backend"],
)
def test_each_model_of_a_sweep_is_what_it_is_by_itself(
    backend: Backend, place: Place, monkeypatch: pytest.MonkeyPatch,
    weighted: bool, init: str, n_init: Any,
) -> None:  # fmt: skip
    """Whatever the other models are, and where they need samples and seedings of several kinds."""
    monkeypatch.setattr("gpuseg.algorithms.kmeans.sampling.SAMPLE_ROWS", 128)
    monkeypatch.setattr("gpuseg.algorithms.kmeans.sampling.SAMPLE_ROWS_PER_CENTER", 16)
    monkeypatch.setattr("gpuseg.algorithms.kmeans.seeding.WHOLE_STEPS", 5)
    monkeypatch.setattr("gpuseg.algorithms.kmeans.fit._AUTO_WORK", 10 * 5**2)
    options: dict[str, Any] = {"init": init, "n_init": n_init, "random_state": 5}
    models = [KMeansParams(n_clusters=k, **options) for k in (8, 2, 12, 3, 1)]
    executor, shards = place(*data(weighted), 3)
    single = []
    for params in models:
        fit = fit_kmeans(executor, params, backend.name)
        single.append((outcome(fit), labels_of(shards)))
    for selected, spare_bytes in (([0, 1, 2, 3, 4], PLENTY), ([2, 0], 0), ([3, 4, 1], PLENTY)):
        swept = sweep_kmeans(
            executor, [models[i] for i in selected], backend.name, spare_bytes=spare_bytes
        )
        assert [outcome(fit) for fit in swept] == [single[i][0] for i in selected]
        assert [fit.in_shards for fit in swept] == [i == selected[-1] for i in selected]
        assert labels_of(shards) == single[selected[-1]][1]
        sweep_kmeans(executor, [models[i] for i in selected], backend.name, keep_all=True)
        assert labels_of(shards) == single[selected[-1]][1]
        for model, i in enumerate(selected):
            labels = np.concatenate([shard.labels_by_model[model] for shard in shards])
            assert labels.tobytes() == single[i][1]


@pytest.mark.slow
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_a_sweep_beyond_the_distinct_rows(backend: Backend, place: Place, init: str) -> None:
    x = np.float32([[0, 1], [2, 3], [0, 1], [-0.0, 1], [5, 5], [2, 3]])
    executor, _ = place(x, None, 2)
    models = [KMeansParams(n_clusters=k, init=init) for k in (2, 3, 5)]
    swept = sweep_kmeans(executor, models, backend.name)
    single = [fit_kmeans(executor, params, backend.name) for params in models]
    assert [outcome(fit) for fit in swept] == [outcome(fit) for fit in single]
    assert [fit.n_distinct for fit in swept] == [2, 3, 3]
    assert [fit.inertia for fit in swept[1:]] == [0, 0]


def test_every_pass_is_reported(place: Place) -> None:
    """Also those after the first run has converged."""
    x, _ = data(False)
    executor, _ = place(x, None, 2)
    reported: list[int] = []
    begin = starts(x, 2, 9, 4)
    statistics = measure(executor, "numba")
    params = KMeansParams(n_clusters=2, tol=0.0)
    runs = iterate(
        executor, "numba", statistics, begin, params, lambda n_iter, *_: reported.append(n_iter)
    )
    assert runs[0].n_iter < max(run.n_iter for run in runs)
    assert reported == list(range(1, max(run.n_iter for run in runs) + 1))
