"""Runs that end in the middle and go on: the same bits, and no finished pass is made again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.errors import raises
from support.helpers import call, customers, cut, job, manifest_of, toml, write_files

import gpuseg
from gpuseg.errors import ConfigError, ResourceError
from gpuseg.io.output.run_folder import RunFolder
from gpuseg.io.output.run_lock import RunLock
from gpuseg.io.storage import Storage
from gpuseg.jobs.checkpoint import interrupted_run
from gpuseg.jobs.give_up import give_up
from gpuseg.jobs.run_features import run_features
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.runtime.kept_items import KeepingItems
from gpuseg.synthetic.transactions import write_transactions

ROWS = 600
OVERWRITE = ["output.overwrite=true"]

LINES = {
    "customer": "customer_id", "time": "time", "order": "order_id", "product": "product",
    "quantity": "quantity", "price": "price",
}  # fmt: skip


class Stopping(LocalExecutor):
    """Ends the attempt after some calls, as a lost worker does; counts the calls by their names."""

    left: ClassVar[int] = 0
    made: ClassVar[Counter[str]] = Counter()

    def _count(self, function: Any) -> None:
        if Stopping.left == 0:
            raise ResourceError("worker.lost_repeatedly", "the end of an attempt")
        Stopping.left -= 1
        name = function.name if isinstance(function, KeepingItems) else ""
        Stopping.made[name or getattr(function, "__name__", type(function).__name__)] += 1

    def load(self, load: Any, plans: Any) -> None:
        self._count(load)
        super().load(load, plans)

    def map(self, function: Any, *args: Any, per_shard: Any = None) -> list[Any]:
        self._count(function)
        return super().map(function, *args, per_shard=per_shard)

    apply = map

    def shuffle_reduce(self, split: Any, join: Any, n_pieces: int) -> list[Any]:
        self._count(split)
        return super().shuffle_reduce(split, join, n_pieces)


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Stopping]]:
    monkeypatch.setattr("gpuseg.runtime.cluster.LocalExecutor", Stopping)
    Stopping.left, Stopping.made = -1, Counter()
    yield Stopping


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = customers(ROWS, blobs=4).take(list(range(ROWS - 1, -1, -1)))  # ids do not rise
    return write_files(tmp_path_factory.mktemp("resume") / "in", cut(table, 250))


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume") / "lines"
    write_transactions(folder, lines=4_000, customers=400, files=3)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Return all files of an output whose bits must not depend on its interruptions.

    The id of the run is left out.
    """
    run_id = manifest_of(folder)["run_id"].encode()
    names = ("part-*", "_model/*", "_models/*/*", "_features/*", "_examples.json")
    paths = [path for name in names for path in sorted(folder.glob(name))]
    return {str(path.relative_to(folder)): path.read_bytes().replace(run_id, b"") for path in paths}


def job_of(kind: str, source: Path, lines: Path) -> Callable[[Path], dict[str, Any]]:
    segment: dict[str, Any] = {"n_clusters": 4}
    if kind == "k-means":
        segment |= {"n_init": 3, "init": "random", "max_iter": 9, "tol": 0.0}
    elif kind == "sweep":
        segment = {"n_clusters": [2, 5]}
    elif kind == "hierarchical":
        segment = {"algorithm": "hierarchical", "n_clusters": 4}
    elif kind == "dbscan":
        segment = {"algorithm": "dbscan", "eps": 1.5, "min_samples": 4}

    def make(out: Path) -> dict[str, Any]:
        if kind == "transactions":
            sections = {"transactions": {"path": str(lines), **LINES}}
            return {**sections, "segment": segment, "output": {"path": str(out)}}
        return job(source, out) | {"segment": segment}

    return make


KINDS = ["k-means", "sweep", "hierarchical", "dbscan", "transactions"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_many_attempts_gives_the_same_bits(
    tmp_path: Path, source: Path, lines: Path, kind: str, stopping: type[Stopping]
) -> None:
    make = job_of(kind, source, lines)
    gpuseg.run(make(tmp_path / "ref" / "out"))
    whole, stopping.made = stopping.made, Counter()
    n_calls, n_attempts = sum(whole.values()), 1
    out = tmp_path / "out"
    while n_attempts < 30:
        # Calls that build the shards again come first.
        stopping.left = n_calls // 4 + 2 * n_attempts
        try:
            result = gpuseg.run(make(out))
            break
        except ResourceError as error:
            assert error.code == "worker.lost_repeatedly"
            n_attempts += 1
            assert not out.exists()
    assert n_attempts > 2
    assert files(out) == files(tmp_path / "ref" / "out")
    assert [path.name for path in tmp_path.iterdir()] in (["ref", "out"], ["out", "ref"])
    assert result.record.run_id
    passes = ("lloyd_pass", "count_features", "_read", "aggregate_parts", "write_parts")
    for name in (*passes, *(["summarize"] if kind != "dbscan" else [])):
        assert stopping.made[name] == whole[name], name


def test_features_scores_and_refreshes_go_on(
    tmp_path: Path, source: Path, lines: Path, stopping: type[Stopping]
) -> None:
    features = {"transactions": {"path": str(lines), **LINES}}
    gpuseg.run(job(source, tmp_path / "model"))
    commands: dict[str, Callable[[Path], object]] = {
        "features": lambda out: run_features({**features, "output": {"path": str(out)}}),
        "score": lambda out: gpuseg.score(tmp_path / "model", source, out),
        "refresh": lambda out: gpuseg.refresh(
            job(source, out, refresh={"feature_psi": 0.0}), tmp_path / "model"
        ),
    }
    for name, command in commands.items():
        stopping.left, stopping.made = -1, Counter()
        command(tmp_path / "ref" / name)
        n_calls = sum(stopping.made.values())
        for n in range(n_calls):
            stopping.left = n_calls // 2 + n
            try:
                command(tmp_path / name)
                break
            except ResourceError:
                assert (tmp_path / f".{name}._run" / "checkpoint" / "run.json").exists()
        assert n > 0, name
        assert files(tmp_path / name) == files(tmp_path / "ref" / name), name
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def interrupted(stopping: type[Stopping], sections: dict[str, Any], n_calls: int = 6) -> None:
    stopping.left = n_calls
    with raises("worker.lost_repeatedly"):
        gpuseg.run(sections)
    stopping.left, stopping.made = -1, Counter()


def test_only_the_same_job_goes_on(tmp_path: Path, source: Path, stopping: type[Stopping]) -> None:
    out = tmp_path / "out"
    copied = Path(shutil.copytree(source, tmp_path / "in"))
    interrupted(stopping, job(copied, out))
    with raises("checkpoint.other_job", ConfigError) as caught:
        gpuseg.run(job(copied, out, segment={"n_clusters": 4}))
    assert "segment.n_clusters" in str(caught.value)
    file = copied / "in-000.parquet"
    file.write_bytes(file.read_bytes())  # another time of change
    with raises("checkpoint.other_job", ConfigError) as caught:
        gpuseg.run(job(copied, out))
    assert "the files of the input have changed" in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert stopping.made == {}
    assert len(list(tmp_path.glob(".out.*"))) == 2
    other = gpuseg.run(job(copied, out, segment={"n_clusters": 4}), fresh=True)
    assert other.record.n_segments == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_other_keys_models_and_commands_do_not_go_on(
    tmp_path: Path, source: Path, lines: Path, stopping: type[Stopping],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out, model = tmp_path / "out", tmp_path / "model"

    def refused(command: Callable[[], object], words: str, then: Callable[[], None]) -> None:
        stopping.left = 2
        with raises("worker.lost_repeatedly"):
            command()
        stopping.left = -1
        then()
        with raises("checkpoint.other_job", ConfigError) as caught:
            command()
        assert words in str(caught.value)
        give_up(Storage.from_url(str(out), {}, "output_path"))

    monkeypatch.setenv("ID_KEY", "a" * 40)
    hashed = job(source, out)
    hashed["input"]["id_hash_key_env"] = "ID_KEY"
    refused(
        lambda: gpuseg.run(hashed), "the secret key that hashes the ids has changed",
        lambda: monkeypatch.setenv("ID_KEY", "b" * 40),
    )  # fmt: skip
    gpuseg.run(job(source, model, segment={"random_state": 1}))
    refused(
        lambda: gpuseg.score(model, source, out), "the model has changed",
        lambda: gpuseg.run(job(source, model, segment={"random_state": 2}), overrides=OVERWRITE),
    )  # fmt: skip
    commands: list[Callable[[Any], object]] = [run_features, gpuseg.run]
    features = {"transactions": {"path": str(lines), **LINES}, "output": {"path": str(out)}}
    refused(lambda: commands[0](features), "the output was", commands.reverse)


def test_what_changes_no_result_may_change(
    tmp_path: Path, source: Path, stopping: type[Stopping]
) -> None:
    interrupted(stopping, job(source, tmp_path / "out"))
    first = json.loads((tmp_path / ".out._run" / "checkpoint" / "run.json").read_text())
    changed = job(source, tmp_path / "out", runtime={"n_workers": 1, "threads_per_worker": 1})
    result = gpuseg.run(changed, overrides=OVERWRITE)
    assert stopping.made["summarize"] == 0
    assert result.record.run_id == first["run_id"]


def test_a_lost_staging_folder_or_record_starts_from_the_beginning(
    tmp_path: Path, source: Path, stopping: type[Stopping]
) -> None:
    interrupted(stopping, job(source, tmp_path / "out"))
    record = tmp_path / ".out._run" / "checkpoint" / "run.json"
    intact = record.read_text()
    for name, value in {"staging": "../in", "run_id": 1, "key": 1, "started": ""}.items():
        record.write_text(json.dumps(json.loads(intact) | {name: value}))
        assert interrupted_run(Storage.from_url(str(tmp_path / "out"), {}, "output_path")) is None
    record.write_text(intact)
    (staging,) = tmp_path.glob(".out.staging-*")
    shutil.rmtree(staging)
    gpuseg.run(job(source, tmp_path / "out"))
    assert stopping.made["summarize"] == 1


def test_what_a_run_left_that_was_killed_after_publishing_is_removed(
    tmp_path: Path, source: Path, stopping: type[Stopping]
) -> None:
    interrupted(stopping, job(source, tmp_path / "out"))
    run_id = gpuseg.run(job(source, tmp_path / "ref")).record.run_id
    (tmp_path / "ref").rename(tmp_path / "out")
    record = tmp_path / ".out._run" / "checkpoint" / "run.json"
    values = json.loads(record.read_text())
    text = (tmp_path / "out" / "_manifest.json").read_text()
    (tmp_path / "out" / "_manifest.json").write_text(text.replace(run_id, values["run_id"]))
    with raises("output.exists"):
        gpuseg.run(job(source, tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_ends_leave_nothing(tmp_path: Path, source: Path, stopping: type[Stopping]) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    codes = ("output.not_writable", "checkpoint.not_writable")
    for error in (*(ResourceError(code, "") for code in codes), KeyboardInterrupt()):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(type(error)):

            def fail(self: Any, function: Any, error: BaseException = error) -> None:
                if getattr(function, "name", "") == "lloyd_pass":
                    raise error

            patch.setattr(stopping, "_count", fail)
            gpuseg.run(job(source, tmp_path / "out"))
        assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_object_store_goes_on(source: Path, memory: Any, stopping: type[Stopping]) -> None:
    url = "memory://gpuseg-test/out"
    interrupted(stopping, job(source, url), 9)
    names = {path.split("/out/")[1].split("/")[0] for path in memory.find("/gpuseg-test/out")}
    assert names == {"_run"}
    result = gpuseg.run(job(source, url))
    assert stopping.made["summarize"] == 0
    assert result.record.n_segments == 3
    left = {path.split("/out/")[1].split("/")[0] for path in memory.find("/gpuseg-test/out")}
    assert not left & {"_run", "_staging"}


def test_one_run_at_a_time(tmp_path: Path, source: Path) -> None:
    lock = RunLock(RunFolder(Storage.from_url(str(tmp_path / "out"), {}, "output_path")))
    with raises("run.active", ResourceError) as caught:
        gpuseg.run(job(source, tmp_path / "out"))
    assert "process" in str(caught.value)
    lock.release()
    gpuseg.run(job(source, tmp_path / "out"))


@pytest.mark.parametrize("beats", [True, False])
def test_a_run_of_another_machine_is_known_by_its_status(
    memory: Any, monkeypatch: pytest.MonkeyPatch, beats: bool
) -> None:
    folder = RunFolder(Storage.from_url("memory://gpuseg-test/out", {}, "output_path"))
    holder = {"host": "elsewhere", "start": "1", "pid": 1, "created": 1.0}
    folder.write("lock", json.dumps(holder).encode())
    status = {"state": "running", "heartbeat": 0}
    folder.write("status.json", json.dumps(status).encode())
    monkeypatch.setattr("gpuseg.io.output.run_lock.HEARTBEAT_SECONDS", 0.05)

    def beat(seconds: float) -> None:
        if beats:
            folder.write("status.json", json.dumps(status | {"heartbeat": 1}).encode())

    monkeypatch.setattr("gpuseg.io.output.run_lock.time.sleep", beat)
    if beats:
        with raises("run.active") as caught:
            RunLock(folder)
        assert "elsewhere" in str(caught.value)
    else:
        RunLock(folder).release()


# In processes of their own.


def started(folder: Path, source: Path, cluster: str = "local") -> subprocess.Popen[str]:
    sections = job(
        source, folder / "out", segment={"n_clusters": 30, "max_iter": 100_000, "tol": 0.0},
        runtime={"cluster": cluster, "n_workers": 2},
    )  # fmt: skip
    (folder / "job.toml").write_text(toml(sections))
    return subprocess.Popen(
        [sys.executable, "-m", "gpuseg", "run", str(folder / "job.toml")],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_journal(folder: Path, process: subprocess.Popen[str], n_bytes: int) -> None:
    """Wait until the journal has some bytes more than at first."""
    journal = folder / ".out._run" / "checkpoint" / "journal"
    first = journal.stat().st_size if journal.exists() else 0
    while not journal.exists() or journal.stat().st_size < first + n_bytes:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "dask"])
def test_killed_and_paused_processes_go_on(
    tmp_path: Path, cluster: str, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write_files(tmp_path / "in", cut(customers(30_000, blobs=9), 15_000), 5_000)
    for number, code in (
        (signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 75), (signal.SIGUSR2, 75),
    ):  # fmt: skip
        process = started(tmp_path, source, cluster)
        wait_for_journal(tmp_path, process, 60_000)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == code, errors
        if code == 75:
            assert errors.splitlines()[-1] == "paused; the same command goes on from here"
        assert len(list(tmp_path.glob(".out.staging-*"))) == 1
    again = call(capfd, "run", tmp_path / "job.toml")
    assert again.code == 0, again.err
    assert "attempt 4" in again.err
    text = (tmp_path / "job.toml").read_text()
    (tmp_path / "job.toml").write_text(text.replace("/out'", "/ref'"))
    assert call(capfd, "run", tmp_path / "job.toml").code == 0
    assert files(tmp_path / "out") == files(tmp_path / "ref")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "job.toml", "out", "ref"]
