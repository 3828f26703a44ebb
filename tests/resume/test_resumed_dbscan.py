"""DBSCAN after an interruption: the same bits, and no step before the interrupted one again."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan import fit_units
from gpuseg.algorithms.dbscan.fit import fit_dbscan
from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.algorithms.dbscan.result import DBSCANFit
from gpuseg.runtime.checkpoint_folder import CheckpointFolder
from gpuseg.runtime.executor import LocalExecutor, TaskContext
from gpuseg.runtime.journal.executor import JournaledExecutor
from gpuseg.runtime.journal.journal import LocalJournal
from gpuseg.runtime.retry import retry_if_lost
from gpuseg.sharding.shard import Shard

Rows = NDArray[np.float32]
Labels = tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.float32]]


class Killed(BaseException):
    pass


class KilledExecutor(LocalExecutor):
    """Ends the run at a call of a function, as a signal does; notes the calls before."""

    def __init__(self, at: str) -> None:
        super().__init__(2)
        self._at, self.called = at, list[str]()

    def map(self, function: Any, *args: Any, per_shard: Any = None) -> list[Any]:
        name = function.name
        if name == self._at:
            raise Killed
        if not name.startswith("restore"):
            self.called.append(name)
        return super().map(function, *args, per_shard=per_shard)

    apply = map


def build(plan: tuple[Rows, int, NDArray[np.float64] | None], context: TaskContext) -> Shard:
    x, first_row, weight = plan
    return Shard(x.copy(), weight, first_row)


def labels(shard: Shard, context: TaskContext) -> Labels:
    assert shard.labels is not None and shard.core is not None and shard.distance is not None
    return shard.labels, shard.core, shard.distance


class ResumedFit:
    """Attempts of one run, each in another executor."""

    def __init__(self, folder: Path, x: Rows, n_shards: int, weighted: bool = False) -> None:
        self._folder, self._n_shards, self._x = folder, n_shards, x
        self._weight = np.linspace(0.5, 2, len(x)) if weighted else None
        self.fit: DBSCANFit | None = None
        self.labels: list[Labels] = []

    def attempt(self, killed_at: str = "") -> list[str]:
        """Make an attempt; return the functions that it has called on the shards."""
        self._folder.mkdir(exist_ok=True)
        inner = KilledExecutor(killed_at)
        journal = LocalJournal(self._folder / "journal")
        checkpoint = CheckpointFolder(fsspec.filesystem("file"), str(self._folder), True)
        executor = JournaledExecutor(inner, journal, checkpoint)
        bounds = np.linspace(0, len(self._x), self._n_shards + 1).astype(int).tolist()
        executor.load(build, [
            (self._x[i:j], i, None if self._weight is None else self._weight[i:j])
            for i, j in pairwise(bounds)
        ])  # fmt: skip
        with suppress(Killed):
            params = DBSCANParams(eps=0.35, min_samples=8)
            self.fit = retry_if_lost(lambda: fit_dbscan(executor, params, "numba"))
            self.labels = executor.map(labels)
        journal.close()
        return inner.called


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rows]:
    monkeypatch.setattr(fit_units, "_MAX_SHARE", np.inf)
    rng = np.random.default_rng(0)
    centers = rng.uniform(-8, 8, (4, 2))
    yield np.concatenate([rng.normal(c, 1, (500, 2)) for c in centers]).astype(np.float32)


@pytest.mark.parametrize(("n_shards", "weighted"), [(1, False), (3, False), (3, True)])
def test_a_fit_goes_on_after_each_step(
    tmp_path: Path, rows: Rows, n_shards: int, weighted: bool
) -> None:
    whole, run = (
        ResumedFit(tmp_path / name, rows, n_shards, weighted) for name in ("whole", "run")
    )
    whole.attempt()
    assert "count_local" in run.attempt(killed_at="connect_local")
    assert run.attempt(killed_at="assign_local") == [
        "connect_local",
        "assign_clusters",
        "save_state",
    ]
    assert run.attempt(killed_at="find_local") == ["assign_local", "save_state"]
    assert run.attempt(killed_at="summarize")[0] == "find_local"
    assert run.attempt(killed_at="labels")[0] == "find_local"
    assert run.attempt() == ["labels"]
    assert repr(run.fit) == repr(whole.fit)
    for ours, theirs in zip(run.labels, whole.labels, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


def test_a_fit_begins_again_where_its_files_are_damaged(tmp_path: Path, rows: Rows) -> None:
    whole, run = (ResumedFit(tmp_path / name, rows, 3) for name in ("whole", "run"))
    whole.attempt()
    run.attempt(killed_at="assign_local")
    saved = tmp_path / "run/dbscan/connected-00001.npz"
    saved.write_bytes(saved.read_bytes()[:-100])
    assert "count_local" in run.attempt()
    assert repr(run.fit) == repr(whole.fit)


def relabel(shard: Shard, context: TaskContext) -> None:
    assert shard.labels is not None
    shard.labels = shard.labels + 1


def test_a_rebuilt_shard_has_the_labels_of_the_last_fit(tmp_path: Path, rows: Rows) -> None:
    checkpoint = CheckpointFolder(fsspec.filesystem("file"), str(tmp_path), True)
    steps: list[tuple[Any, Any]] = []

    class Recording(LocalExecutor):
        def apply(self, function: Any, *args: Any, per_shard: Any = None) -> list[Any]:  # type: ignore[override]
            steps.append((function, (*args, *(() if per_shard is None else (per_shard[0],)))))
            return super().map(function, *args, per_shard=per_shard)

    executor = JournaledExecutor(Recording(2), LocalJournal(tmp_path / "journal"), checkpoint)
    executor.load(build, [(rows, 0, None)])
    for _ in range(2):  # as where a worker was lost after the first fit
        fit_dbscan(executor, DBSCANParams(eps=0.35, min_samples=8), "numba")
        executor.apply(relabel)
    expected = executor.map(labels)[0]
    rebuilt, context = build((rows, 0, None), TaskContext()), TaskContext()
    for function, args in steps:
        function(rebuilt, context, *args)
    assert np.array_equal(labels(rebuilt, context)[0], expected[0])


def test_short_fits_save_their_labels_alone(tmp_path: Path, rows: Rows) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_units, "_MAX_SHARE", 0.0)
        ResumedFit(tmp_path / "run", rows, 1).attempt()
    names = {path.name for path in (tmp_path / "run/dbscan").iterdir()}
    assert names == {"labels-00000.npz"}
