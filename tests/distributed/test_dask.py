"""On Dask workers: the bits of one process, also when workers are killed; errors arrive as such."""

from __future__ import annotations

import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster
from support.helpers import (
    ANY_PORT,
    THOROUGH,
    bits,
    call,
    customers,
    cut,
    job,
    leftovers,
    run,
    toml,
    write_files,
)

import gpuseg
from gpuseg.errors import DataError, ResourceError
from gpuseg.progress import Progress

K = {"n_clusters": 6}
LOCAL = {"cluster": "dask", "n_workers": 2, "threads_per_worker": 1}


class At(Progress):
    """Calls a function once: when a stage begins, or at an iteration of the fit."""

    def __init__(self, stage: str, iteration: int, action: Callable[[], None]) -> None:
        super().__init__()
        self._moment, self._action = (stage, iteration), action
        self._stage, self._noted = "", 0
        self.done = False
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)

    def _open(self, name: str, total: int | None, unit: str) -> Any:
        self._stage, self._noted = name, 0
        self._look()
        return self

    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        self._noted += 1
        self._look()

    def _look(self) -> None:
        if (self._stage, self._noted) == self._moment and not self.done:
            self.done = True
            self._action()


def local_worker() -> int:
    """Return the process of the youngest worker, which is one of the run that is under way."""
    children = psutil.Process().children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    return max(workers, key=lambda child: child.create_time()).pid


@pytest.fixture(scope="module")
def table() -> pa.Table:
    table = customers(5000, blobs=9, seed=4).append_column("w", [np.arange(5000) % 4 + 0.25])
    holed = [None if i % 11 == 5 else value for i, value in enumerate(table["spend"].to_pylist())]
    ids = [i % 4990 for i in range(5000)]
    return table.append_column("holed", [holed]).append_column("twice", [ids])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, table: pa.Table) -> Path:
    folder = tmp_path_factory.mktemp("dask") / "in"
    return write_files(folder, cut(table, 700, 3000), row_group_size=500)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Customers without segments, so that the fit takes many iterations."""
    x = np.random.default_rng(0).random((40_000, 16), np.float32)
    table = pa.table({"customer": np.arange(40_000), **{f"f{f}": x[:, f] for f in range(16)}})
    folder = tmp_path_factory.mktemp("large") / "in"
    return write_files(folder, cut(table, 20_000), row_group_size=5000)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Somebody else's cluster; killed workers come back."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=ANY_PORT) as cluster:
        yield cluster


def a_worker_of(cluster: LocalCluster) -> int:
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        try:
            client.wait_for_workers(2, timeout=30)
        except TimeoutError:  # now and then a killed worker is not started again
            cluster.scale(0)
            cluster.scale(2)
            client.wait_for_workers(2, timeout=60)
        return sorted(client.run(os.getpid).values())[0]


# The same bits.

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "weights, no id": {"input": {"weight": "w", "id": None}},
    "dropped rows": {
        "input": {"features": ["orders", "holed"]},
        "prepare": {"missing": "drop", "scale": "minmax"},
    },
    "filled, robust": {
        "input": {"features": ["orders", "holed"], "weight": "w"},
        "prepare": {"missing": "median", "scale": "robust"},
    },
    "repeated ids": {"input": {"id": "twice"}, "segment": {**K, "init": "random", "n_init": 2}},
}


def both(source: Path, folder: Path, where: dict[str, Any], name: str) -> dict[str, Any]:
    """Run a variant in this process and elsewhere, compare, and return the latter's manifest."""
    sections = {"segment": K, **VARIANTS[name]}
    here = run(source, folder / "here", **sections).manifest
    there = run(source, folder / "there", **sections, runtime=where).manifest
    assert bits(folder / "there") == bits(folder / "here")
    assert there["warnings"] == here["warnings"]
    assert there["executor"]["cluster"] == where["cluster"]
    assert there["executor"]["recovered_shards"] == 0
    assert leftovers(folder) == []
    return there


def test_same_bits_on_a_local_cluster(tmp_path: Path, source: Path) -> None:
    manifest = both(source, tmp_path, LOCAL, "repeated ids")
    assert manifest["executor"]["n_workers"] == 2
    assert manifest["warnings"][0].startswith("input.id = 'twice': 10 rows repeat an id")


@pytest.mark.parametrize("name", VARIANTS)
def test_same_bits_on_an_external_cluster(
    tmp_path: Path, source: Path, cluster: LocalCluster, name: str
) -> None:
    manifest = both(source, tmp_path, {"cluster": cluster.scheduler_address}, name)
    assert manifest["executor"]["n_workers"] == 2
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        assert set(client.run(shards_kept).values()) == {0}


def shards_kept() -> int:
    from gpuseg.runtime.dask.worker import _SHARDS

    return len(_SHARDS)


def test_one_worker_of_an_external_cluster(
    tmp_path: Path, source: Path, cluster: LocalCluster
) -> None:
    where = {"cluster": cluster.scheduler_address, "n_workers": 1}
    assert both(source, tmp_path, where, "plain")["executor"]["n_workers"] == 1


def test_cluster_beside_another(tmp_path: Path, source: Path) -> None:
    with socket.socket() as other, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with suppress(OSError):
            other.bind(("127.0.0.1", 8787))
            other.listen()
        run(source, tmp_path / "out", runtime={**LOCAL, "n_workers": 1})
    assert [str(warning.message) for warning in said if "Port" in str(warning.message)] == []


# Killed workers.


def after_a_kill(source: Path, folder: Path, at: At, **sections: dict[str, Any]) -> int:
    """Compare with a run in this process; return how many lost workers the manifest tells of."""
    here = {name: keys for name, keys in sections.items() if name != "runtime"}
    run(source, folder / "here", **here)
    manifest = gpuseg.run(job(source, folder / "there", **sections), progress=at).manifest
    assert at.done
    assert bits(folder / "there") == bits(folder / "here")
    assert leftovers(folder) == []
    lost: int = manifest["executor"]["recovered_shards"]
    return lost


@pytest.mark.parametrize(("where", "iteration"), [("local", 20), pytest.param("external", 20)])
def test_worker_killed_while_fitting(
    tmp_path: Path, large: Path, cluster: LocalCluster, where: str, iteration: int
) -> None:
    external = where == "external"
    victim = a_worker_of(cluster) if external else 0
    at = At("fit", iteration, lambda: os.kill(victim or local_worker(), signal.SIGKILL))
    lost = after_a_kill(
        large, tmp_path, at,
        input={"features": None},
        segment={"n_clusters": 20, "tol": 0.0, "max_iter": 60},
        runtime={"cluster": cluster.scheduler_address} if external else LOCAL,
    )  # fmt: skip
    assert lost == 1
    assert sum("was lost; another one reads its rows again" in text for text in at.said) == 1
    assert bits(tmp_path / "there")[2][0]["n_iter"] > iteration


@pytest.mark.parametrize(
    "stage",
    ["read", "prepare", "write", "check ids", "examples"] if THOROUGH else ["prepare", "write"],
)
def test_worker_killed_at_the_beginning_of(
    tmp_path: Path, source: Path, cluster: LocalCluster, stage: str
) -> None:
    victim = a_worker_of(cluster)
    at = At(stage, 0, lambda: os.kill(victim, signal.SIGKILL))
    runtime = {"cluster": cluster.scheduler_address}
    lost = after_a_kill(source, tmp_path, at, segment=K, runtime=runtime)
    assert lost == 1


# Errors.


def test_wrong_data_on_a_worker(
    tmp_path: Path, table: pa.Table, cluster: LocalCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    spend = [*table["spend"].to_pylist()[:-1], 1e300]
    spoiled = table.set_column(table.column_names.index("spend"), "spend", [spend])
    write_files(tmp_path / "in", cut(spoiled, 2000))
    here = job(tmp_path / "in", tmp_path / "out")
    with pytest.raises(DataError) as error:
        gpuseg.run(here)
    file = tmp_path / "job.toml"
    file.write_text(toml({**here, "runtime": {"cluster": cluster.scheduler_address}}))
    outcome = call(capfd, "run", file)
    assert outcome.code == 3
    assert "row 2999 of in-001.parquet" in str(error.value)
    assert outcome.err.splitlines()[-1] == f"error: {error.value}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "job.toml"]


def test_output_that_workers_do_not_share(source: Path) -> None:
    with pytest.raises(ResourceError, match=r"must share the output's file system"):
        run(source, "memory://gpuseg-dask/out", runtime={**LOCAL, "n_workers": 1})


def test_scheduler_without_workers(tmp_path: Path, source: Path) -> None:
    with LocalCluster(n_workers=0, dashboard_address=ANY_PORT) as empty:
        address = empty.scheduler_address
        with pytest.raises(ResourceError) as error:
            run(source, tmp_path / "out", runtime={"cluster": address})
    assert f"runtime.cluster = '{address}': the scheduler has no workers" in str(error.value)
    assert f"'dask worker {address}'" in str(error.value)


def test_shards_too_large_for_the_workers(
    tmp_path: Path, source: Path, cluster: LocalCluster
) -> None:
    where = {"cluster": cluster.scheduler_address, "memory_limit": "1KiB"}
    with pytest.raises(
        ResourceError, match=r"the largest of [12] shards needs about .* MiB, even with"
    ):
        run(source, tmp_path / "out", runtime=where)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", [0, 3, 5] if THOROUGH else [3])
def test_worker_killed_while_dbscan_clusters(
    tmp_path: Path, source: Path, cluster: LocalCluster, step: int
) -> None:
    victim = a_worker_of(cluster)
    at = At("fit", step, lambda: os.kill(victim, signal.SIGKILL))
    rules = {"algorithm": "dbscan", "eps": 0.5, "min_samples": 8}
    gpuseg.run({**job(source, tmp_path / "here"), "segment": rules})
    where = {"cluster": cluster.scheduler_address}
    there = {**job(source, tmp_path / "there", runtime=where), "segment": rules}
    manifest = gpuseg.run(there, progress=at).manifest
    assert at.done
    assert manifest["executor"]["recovered_shards"] >= 1
    one, other = (pq.read_table(tmp_path / name) for name in ("here", "there"))
    assert one.equals(other)
    assert leftovers(tmp_path) == []


def test_worker_killed_when_dbscan_has_clustered(
    tmp_path: Path, source: Path, cluster: LocalCluster
) -> None:
    victim = a_worker_of(cluster)
    at = At("write", 0, lambda: os.kill(victim, signal.SIGKILL))
    rules = {"algorithm": "dbscan", "eps": 0.5, "min_samples": 8}
    gpuseg.run({**job(source, tmp_path / "here"), "segment": rules})
    where = {"cluster": cluster.scheduler_address}
    there = {**job(source, tmp_path / "there", runtime=where), "segment": rules}
    gpuseg.run(there, progress=at)
    assert at.done
    assert any("clustering begins anew" in text for text in at.said)
    one, other = (pq.read_table(tmp_path / name) for name in ("here", "there"))
    assert one.equals(other)


def test_worker_killed_while_features_are_built(tmp_path: Path, cluster: LocalCluster) -> None:
    rng = np.random.default_rng(0)
    lines = pa.table({
        "who": rng.integers(0, 900, 40_000), "paid": rng.lognormal(3, 1, 40_000).round(2),
        "at": np.datetime64("2025-01-01T00:00:00") + rng.integers(0, 3 * 10**7, 40_000),
    })  # fmt: skip
    source = write_files(tmp_path / "in", cut(lines, 10_000, 20_000), row_group_size=2000)
    roles = {"path": str(source), "customer": "who", "time": "at", "amount": "paid"}
    rules = {"transactions": roles, "segment": K}
    gpuseg.run({**rules, "output": {"path": str(tmp_path / "here")}})
    victim = a_worker_of(cluster)
    at = At("features", 0, lambda: os.kill(victim, signal.SIGKILL))
    gpuseg.run({
        **rules, "runtime": {"cluster": cluster.scheduler_address},
        "output": {"path": str(tmp_path / "there")},
    }, progress=at)  # fmt: skip
    assert at.done
    for name in ("", "_features"):
        one, other = (
            pa.concat_tables(
                [pq.read_table(own) for own in sorted((tmp_path / where / name).glob("part-*"))]
            )
            for where in ("here", "there")
        )
        assert one.equals(other)
    assert leftovers(tmp_path) == []
