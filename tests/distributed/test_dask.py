"""Runs on Dask workers: same bits as in one process, even if workers are killed; and errors."""

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
from support.errors import raises
from support.helpers import (
    ANY_PORT,
    THOROUGH,
    bits,
    call,
    customers,
    cut,
    job,
    leftovers,
    read_parts,
    run,
    toml,
    write_files,
)

import gpuseg
from gpuseg.errors import DataError, ResourceError
from gpuseg.progress import Progress

K = {"n_clusters": 6}
DBSCAN = {"algorithm": "dbscan", "eps": 0.5, "min_samples": 8}
LOCAL = {"cluster": "dask", "n_workers": 2, "threads_per_worker": 1}


class ActAt(Progress):
    """Call a function once: at the start of a stage, or at an iteration of the fit."""

    def __init__(self, stage: str, iteration: int, action: Callable[[], None]) -> None:
        super().__init__()
        self._target, self._action = (stage, iteration), action
        self._stage, self._iteration = "", 0
        self.done = False
        self.lines: list[str] = []
        self.started: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)

    def _open(self, name: str, total: int | None, unit: str) -> Any:
        self._stage, self._iteration = name, 0
        self.started.append(name)
        self._act_once()
        return self

    def advance(self, amount: int) -> None:
        pass

    def status(self, text: str) -> None:
        self._iteration += 1
        self._act_once()

    def _act_once(self) -> None:
        if (self._stage, self._iteration) == self._target and not self.done:
            self.done = True
            self._action()


def local_worker() -> int:
    """Return the process id of the newest worker, which belongs to the current run."""
    commands: dict[psutil.Process, str] = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # of an earlier run, and about to end
            commands[process] = " ".join(process.cmdline())
    servers = [process.pid for process, command in commands.items() if "forkserver" in command]
    workers = [process for process in commands if process.ppid() in servers]
    workers += [process for process, command in commands.items() if "spawn_main" in command]
    return max(workers, key=lambda worker: worker.create_time()).pid


@pytest.fixture(scope="module")
def table() -> pa.Table:
    table = customers(5000, blobs=9, seed=4).append_column("w", [np.arange(5000) % 4 + 0.25])
    spend = [None if i % 11 == 5 else value for i, value in enumerate(table["spend"].to_pylist())]
    ids = [i % 4990 for i in range(5000)]
    return table.append_column("with_missing", [spend]).append_column("repeated_id", [ids])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, table: pa.Table) -> Path:
    folder = tmp_path_factory.mktemp("dask") / "in"
    return write_files(folder, cut(table, 700, 3000), row_group_size=500)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Customers without clusters, so that the fit takes many iterations."""
    x = np.random.default_rng(0).random((12_000, 16), np.float32)
    table = pa.table({"customer": np.arange(12_000), **{f"f{f}": x[:, f] for f in range(16)}})
    folder = tmp_path_factory.mktemp("large") / "in"
    return write_files(folder, cut(table, 6000), row_group_size=1500)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """An external cluster; it restarts killed workers."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=ANY_PORT) as cluster:
        yield cluster


def worker_pid(cluster: LocalCluster) -> int:
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        try:
            client.wait_for_workers(2, timeout=30)
        except TimeoutError:  # sometimes a killed worker is not restarted
            cluster.scale(0)
            cluster.scale(2)
            client.wait_for_workers(2, timeout=60)
        return sorted(client.run(os.getpid).values())[0]


# The same bits.

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "dropped rows, weights, no id": {
        "input": {"features": ["orders", "with_missing"], "weight": "w", "id": None},
        "prepare": {"missing": "drop", "scale": "minmax"},
    },
    "filled, robust": {
        "input": {"features": ["orders", "with_missing"], "weight": "w"},
        "prepare": {"missing": "median", "scale": "robust"},
    },
    "repeated ids": {
        "input": {"id": "repeated_id"},
        "segment": {**K, "init": "random", "n_init": 2},
    },
}


def compare(source: Path, folder: Path, runtime: dict[str, Any], name: str) -> dict[str, Any]:
    """Run a variant in this process and on a cluster; return the manifest of the cluster's run."""
    sections = {"segment": K, **VARIANTS[name]}
    local = run(source, folder / "local", **sections).manifest
    dask = run(source, folder / "dask", **sections, runtime=runtime).manifest
    assert bits(folder / "dask") == bits(folder / "local")
    assert dask["warnings"] == local["warnings"]
    assert dask["executor"]["cluster"] == runtime["cluster"]
    assert dask["executor"]["recovered_shards"] == 0
    assert leftovers(folder) == []
    return dask


@pytest.mark.slow
def test_same_bits_on_a_local_cluster(tmp_path: Path, source: Path) -> None:
    """Without a warning of Dask's, though the port of its dashboard is in use."""
    with socket.socket() as other, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with suppress(OSError):
            other.bind(("127.0.0.1", 8787))
            other.listen()
        manifest = compare(source, tmp_path, LOCAL, "repeated ids")
    assert [str(warning.message) for warning in caught if "Port" in str(warning.message)] == []
    assert manifest["executor"]["n_workers"] == 2
    assert manifest["warnings"][0].startswith("input.id = 'repeated_id': 10 rows ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", VARIANTS if THOROUGH else ["dropped rows, weights, no id", "filled, robust"]
)
def test_same_bits_on_an_external_cluster(
    tmp_path: Path, source: Path, cluster: LocalCluster, name: str
) -> None:
    manifest = compare(source, tmp_path, {"cluster": cluster.scheduler_address}, name)
    assert manifest["executor"]["n_workers"] == 2
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        assert set(client.run(n_stored_shards).values()) == {0}


def n_stored_shards() -> int:
    from gpuseg.runtime.dask.worker import _SHARDS

    return len(_SHARDS)


@pytest.mark.slow
def test_one_worker_of_an_external_cluster(
    tmp_path: Path, source: Path, cluster: LocalCluster
) -> None:
    runtime = {"cluster": cluster.scheduler_address, "n_workers": 1}
    assert compare(source, tmp_path, runtime, "plain")["executor"]["n_workers"] == 1


# Killed workers.


def recovered_shards(source: Path, folder: Path, at: ActAt, **sections: dict[str, Any]) -> int:
    """Compare with a run in this process; return the number of recovered shards."""
    without_runtime = {name: keys for name, keys in sections.items() if name != "runtime"}
    run(source, folder / "local", **without_runtime)
    manifest = gpuseg.run(job(source, folder / "dask", **sections), progress=at).manifest
    assert at.done
    assert bits(folder / "dask") == bits(folder / "local")
    assert leftovers(folder) == []
    n_recovered: int = manifest["executor"]["recovered_shards"]
    return n_recovered


@pytest.mark.slow
@pytest.mark.parametrize(("where", "iteration"), [("local", 5), ("external", 5)])
def test_worker_killed_during_the_fit(
    tmp_path: Path, large: Path, cluster: LocalCluster, where: str, iteration: int
) -> None:
    external = where == "external"
    victim = worker_pid(cluster) if external else 0
    at = ActAt("fit", iteration, lambda: os.kill(victim or local_worker(), signal.SIGKILL))
    n_recovered = recovered_shards(
        large,
        tmp_path,
        at,
        input={"features": None},
        segment={"n_clusters": 20, "tol": 0.0, "max_iter": 15},
        runtime={"cluster": cluster.scheduler_address} if external else LOCAL,
    )  # fmt: skip
    assert n_recovered == 1
    assert sum("lost the worker of shard" in text for text in at.lines) == 1
    assert bits(tmp_path / "dask")[2][0]["n_iter"] > iteration


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    ["read", "prepare", "write", "check ids", "examples"] if THOROUGH else ["write"],
)
def test_worker_killed_at_the_start_of_a_stage(
    tmp_path: Path, source: Path, cluster: LocalCluster, stage: str
) -> None:
    victim = worker_pid(cluster)
    at = ActAt(stage, 0, lambda: os.kill(victim, signal.SIGKILL))
    sections = {"input": {"id": "repeated_id"}, "segment": K}  # whose check asks the workers
    runtime = {"cluster": cluster.scheduler_address}
    assert recovered_shards(source, tmp_path, at, **sections, runtime=runtime) == 1


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["score", "check ids"] if THOROUGH else ["check ids"])
def test_worker_killed_while_a_table_is_scored(
    tmp_path: Path, source: Path, cluster: LocalCluster, stage: str
) -> None:
    run(source, tmp_path / "fit", segment=K)
    arguments: dict[str, Any] = {"model": tmp_path / "fit", "input": source, "id": "repeated_id"}
    expected = gpuseg.score(**arguments, output=tmp_path / "local")
    victim = worker_pid(cluster)
    at = ActAt(stage, 0, lambda: os.kill(victim, signal.SIGKILL))
    result = gpuseg.score(
        **arguments, output=tmp_path / "dask", cluster=cluster.scheduler_address, progress=at
    )
    assert result.record.executor.recovered_shards == 1
    assert read_parts(tmp_path / "dask").equals(read_parts(tmp_path / "local"))
    assert result.record.segments == expected.record.segments
    assert result.record.warnings == expected.record.warnings != ()


# Errors.


@pytest.mark.slow
def test_wrong_data_on_a_worker(
    tmp_path: Path, table: pa.Table, cluster: LocalCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    spend = [*table["spend"].to_pylist()[:-1], 1e300]
    too_large = table.set_column(table.column_names.index("spend"), "spend", [spend])
    write_files(tmp_path / "in", cut(too_large, 2000))
    local = job(tmp_path / "in", tmp_path / "out")
    with pytest.raises(DataError) as error:
        gpuseg.run(local)
    file = tmp_path / "job.toml"
    file.write_text(toml({**local, "runtime": {"cluster": cluster.scheduler_address}}))
    outcome = call(capfd, "run", file)
    assert outcome.code == 3
    assert "row 2999 of in-001.parquet" in str(error.value)
    assert outcome.err.splitlines()[-1] == f"error: {error.value}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "job.toml"]


@pytest.mark.slow
def test_output_must_be_shared_by_the_workers(source: Path, cluster: LocalCluster) -> None:
    with raises("output.not_shared", ResourceError):
        run(source, "memory://gpuseg-dask/out", runtime={"cluster": cluster.scheduler_address})


def test_scheduler_without_workers(tmp_path: Path, source: Path) -> None:
    with LocalCluster(n_workers=0, dashboard_address=ANY_PORT) as empty:
        address = empty.scheduler_address
        with raises("cluster.no_workers", ResourceError, parameter="cluster", value=address):
            run(source, tmp_path / "out", runtime={"cluster": address})


def test_shards_too_large_for_the_workers(
    tmp_path: Path, source: Path, cluster: LocalCluster
) -> None:
    runtime = {"cluster": cluster.scheduler_address, "memory_limit": "1KiB"}
    with raises("memory_limit.too_low", ResourceError):
        run(source, tmp_path / "out", runtime=runtime)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 3, 5] if THOROUGH else [3])
def test_worker_killed_during_dbscan(
    tmp_path: Path, source: Path, cluster: LocalCluster, step: int
) -> None:
    victim = worker_pid(cluster)
    at = ActAt("fit", step, lambda: os.kill(victim, signal.SIGKILL))
    gpuseg.run({**job(source, tmp_path / "local"), "segment": DBSCAN})
    runtime = {"cluster": cluster.scheduler_address}
    on_dask = {**job(source, tmp_path / "dask", runtime=runtime), "segment": DBSCAN}
    manifest = gpuseg.run(on_dask, progress=at).manifest
    assert at.done
    assert manifest["executor"]["recovered_shards"] >= 1
    local, dask = (pq.read_table(tmp_path / name) for name in ("local", "dask"))
    assert local.equals(dask)
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_worker_killed_when_dbscan_has_clustered(
    tmp_path: Path, source: Path, cluster: LocalCluster
) -> None:
    victim = worker_pid(cluster)
    at = ActAt("write", 0, lambda: os.kill(victim, signal.SIGKILL))
    segment = {
        "algorithm": "dbscan",
        "eps": 1e-4,
        "min_samples": 8,
    }  # so small that it is warned of
    here = gpuseg.run({**job(source, tmp_path / "here"), "segment": segment}).manifest
    where = {"cluster": cluster.scheduler_address}
    job_there = {**job(source, tmp_path / "there", runtime=where), "segment": segment}
    there = gpuseg.run(job_there, progress=at).manifest
    assert at.done
    assert any("reloading the shard" in text for text in at.lines)
    assert len(here["warnings"]) == 1
    assert there["warnings"] == here["warnings"]
    assert at.started.count("fit") == 1  # the labels of the lost shard are read
    one, other = (pq.read_table(tmp_path / name) for name in ("here", "there"))
    assert one.equals(other)


@pytest.mark.slow
def test_worker_killed_while_features_are_built(tmp_path: Path, cluster: LocalCluster) -> None:
    rng = np.random.default_rng(0)
    lines = pa.table({
        "who": rng.integers(0, 300, 6000), "paid": rng.lognormal(3, 1, 6000).round(2),
        "at": np.datetime64("2025-01-01T00:00:00") + rng.integers(0, 3 * 10**7, 6000),
    })  # fmt: skip
    source = write_files(tmp_path / "in", cut(lines, 2000, 3000), row_group_size=500)
    roles = {"path": str(source), "customer": "who", "time": "at", "amount": "paid"}
    sections = {"transactions": roles, "segment": K}
    gpuseg.run({**sections, "output": {"path": str(tmp_path / "local")}})
    victim = worker_pid(cluster)
    at = ActAt("features", 0, lambda: os.kill(victim, signal.SIGKILL))
    gpuseg.run({
        **sections, "runtime": {"cluster": cluster.scheduler_address},
        "output": {"path": str(tmp_path / "dask")},
    }, progress=at)  # fmt: skip
    assert at.done
    for name in ("", "_features"):
        local, dask = (
            pa.concat_tables(
                [pq.read_table(part) for part in sorted((tmp_path / run / name).glob("part-*"))]
            )
            for run in ("local", "dask")
        )
        assert local.equals(dask)
    assert leftovers(tmp_path) == []
