"""Killed, interrupted, or with a full disk: a run leaves an older output complete."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.dataset as ds
import pytest
from support.helpers import THOROUGH, call

import gpuseg
from gpuseg.synthetic.customers import write_customers

ROWS = 120_000
OLD, NEW = 3, 5
"""Number of clusters of the older and of the newer output, to distinguish them."""


@pytest.fixture(scope="module")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "customers"
    write_customers(folder, rows=ROWS, features=8, files=4)
    return folder


@pytest.fixture(scope="module")
def old_output(customers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("old") / "segments"
    gpuseg.run(command(customers, out, OLD)[-1])
    return out


def command(customers: Path, out: Path, k: int, cluster: str = "local") -> list[str]:
    job = out.parent / "job.toml"
    job.parent.mkdir(exist_ok=True)
    job.write_text(
        f"[input]\npath = '{customers}'\nid = 'customer_id'\n[segment]\nn_clusters = {k}\n"
        f"[runtime]\ncluster = '{cluster}'\nn_workers = 2\n"
        f"[output]\npath = '{out}'\noverwrite = true\n"
    )
    return [sys.executable, "-m", "gpuseg.cli", "run", str(job)]


def check_complete(out: Path) -> int:
    """Check that the output is complete; return its number of clusters."""
    assert (out / "_SUCCESS").exists()
    manifest = json.loads((out / "_manifest.json").read_text())
    assert {part["name"] for part in manifest["parts"]} == {p.name for p in out.glob("part-*")}
    table = ds.dataset(out).to_table()
    assert np.array_equal(np.sort(table["customer_id"].to_numpy()), np.arange(1, ROWS + 1))
    k = manifest["result"]["n_clusters"]
    assert np.array_equal(np.unique(table["segment"].to_numpy()), np.arange(k))
    return int(k)


def staging(out: Path) -> list[str]:
    return [path.name for path in out.parent.iterdir() if ".staging-" in path.name]


def gone(pids: list[int], seconds: float = 15) -> bool:
    """Whether all the processes end by themselves within some seconds."""
    alive = []
    for _ in range(int(seconds * 10)):
        alive = [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != "zombie"]
        if not alive:
            return True
        time.sleep(0.1)
    return False


STAGES = ("plan", "read", "prepare", "fit", "write")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cluster", "kills"), [("local", 12), ("dask", 8)] if THOROUGH else [("local", 1), ("dask", 1)]
)
def test_killed_at_random_moments(
    customers: Path,
    old_output: Path,
    tmp_path: Path,
    cluster: str,
    kills: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next run goes on with what killed ones have left, and removes it."""
    out = tmp_path / "outputs" / "segments"
    shutil.copytree(old_output, out)
    moments = random.Random(7)
    scratch = short_scratch(tmp_path)
    for _ in range(kills):
        process = started_run(customers, out, moments.choice(STAGES), cluster, scratch)
        time.sleep(moments.uniform(0.0, 0.2))
        children = [p.pid for p in psutil.Process(process.pid).children(recursive=True)]
        process.kill()
        process.communicate()
        assert gone(children)
        assert check_complete(out) in (OLD, NEW)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    gpuseg.run(command(customers, out, NEW)[-1])
    assert check_complete(out) == NEW
    assert staging(out) == []
    assert list(scratch.iterdir()) == []


def fork_server(driver: int) -> psutil.Process:
    """Return the process that the workers of a run are forked from."""
    children = psutil.Process(driver).children()
    (server,) = (child for child in children if "forkserver" in " ".join(child.cmdline()))
    return server


def started_run(
    customers: Path,
    out: Path,
    stage: str,
    cluster: str = "dask",
    scratch: Path = Path("/tmp"),  # the path of the server's socket has a limit
    options: Sequence[str] = (),
) -> "subprocess.Popen[str]":
    """Start a job; return its process once a stage has ended."""
    process = subprocess.Popen(
        [*command(customers, out, NEW, cluster), *options],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while not process.stderr.readline().startswith(stage):
        assert process.poll() is None
    return process


def short_scratch(tmp_path: Path) -> Path:
    """Make a folder for temporary files; the paths of sockets in it have a limit."""
    folder = tmp_path / "t"
    folder.mkdir()
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are not forked on this system")
def test_interrupted_with_a_stopped_worker(customers: Path, tmp_path: Path) -> None:
    out = tmp_path / "outputs" / "segments"
    process = started_run(customers, out, "start")
    children = psutil.Process(process.pid).children(recursive=True)
    for worker in fork_server(process.pid).children():
        worker.suspend()
    process.terminate()
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 75
    assert errors.splitlines()[-1] == "paused; the same command goes on from here"
    assert "Traceback" not in errors
    assert gone([child.pid for child in children])


@pytest.mark.slow
@pytest.mark.parametrize(("number", "cluster"), [
    (signal.SIGINT, "local"), (signal.SIGTERM, "dask"),
    *([(signal.SIGTERM, "local"), (signal.SIGINT, "dask")] if THOROUGH else []),
])  # fmt: skip
def test_interrupted(customers: Path, tmp_path: Path, cluster: str, number: signal.Signals) -> None:
    """SIGINT goes to the process group, as with Ctrl-C; SIGTERM goes to the process only.

    SIGTERM pauses the run, and SIGINT gives it up.
    """
    out = tmp_path / "outputs" / "segments"
    slow = ["--set", "segment.max_iter=100000", "--set", "segment.tol=0.0"]
    slow += ["--set", "segment.n_clusters=500"]
    process = subprocess.Popen(
        [*command(customers, out, NEW, cluster), *slow],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    before = []
    for line in process.stderr:
        before.append(line)
        if line.startswith("prepare") and before[-2].startswith("count for drift"):
            break
    assert before[-1].startswith("prepare"), before
    children = [p.pid for p in psutil.Process(process.pid).children(recursive=True)]
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    is_paused = number == signal.SIGTERM
    assert process.returncode == (75 if is_paused else 130)
    assert output == ""
    words = "paused; the same command goes on from here" if is_paused else "interrupted"
    assert [line for line in errors.splitlines() if not line.startswith("fit ")] == [words]
    assert gone(children)
    assert not out.exists()
    assert len(staging(out)) == is_paused


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are not forked on this system")
@pytest.mark.parametrize("stage", ["read", "prepare"] if THOROUGH else ["prepare"])
def test_fork_server_killed(customers: Path, tmp_path: Path, stage: str) -> None:
    """Its workers are lost with it; others take their place."""
    out = tmp_path / "outputs" / "segments"
    process = started_run(customers, out, stage, options=["--set", "segment.tol=0.0"])
    fork_server(process.pid).kill()
    errors = process.communicate(timeout=100)[1]
    assert process.returncode == 0, errors
    assert "lost the worker of shard" in errors
    assert check_complete(out) == NEW


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are not forked on this system")
def test_fork_server_stopped(customers: Path, tmp_path: Path) -> None:
    """It is continued, so that it ends with the run."""
    out = tmp_path / "outputs" / "segments"
    process = started_run(customers, out, "read")
    server = fork_server(process.pid)
    server.suspend()
    errors = process.communicate(timeout=100)[1]
    assert process.returncode == 0, errors
    assert gone([server.pid])
    assert check_complete(out) == NEW


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small file system; only root may."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    done = subprocess.run(["mount", *options], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "room"), [("local", 0), ("local", 400_000), ("two workers", 400_000)]
)
def test_full_disk(
    customers: Path,
    old_output: Path,
    small_disk: Path,
    two_workers: dict[str, Any],
    where: str,
    room: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = small_disk / "segments"
    shutil.copytree(old_output, out)
    job = command(customers, out, NEW, "local" if where == "local" else two_workers["cluster"])[-1]
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(bytes(free - room))
    outcome = call(capfd, "run", job)
    assert outcome.code == 4, outcome.err
    assert "No space left on device" in outcome.err
    assert "Traceback" not in outcome.err
    assert check_complete(out) == OLD
    assert staging(out) == []


# Tables that are scored.


def score_command(model: Path, customers: Path, out: Path, *options: str) -> list[str]:
    arguments = ["score", model, customers, out, "--overwrite", *options]
    return [sys.executable, "-m", "gpuseg.cli", *map(str, arguments)]


def check_scores(out: Path) -> str:
    """Check that the scores are complete; return the run that has scored."""
    assert (out / "_SUCCESS").exists()
    manifest = json.loads((out / "_manifest.json").read_text())
    assert {part["name"] for part in manifest["parts"]} == {p.name for p in out.glob("part-*")}
    ids = ds.dataset(out).to_table(columns=["customer_id"])["customer_id"]
    assert np.array_equal(ids.to_numpy(), np.arange(1, ROWS + 1))
    return str(manifest["run_id"])


@pytest.mark.slow
def test_scoring_killed_and_interrupted(customers: Path, old_output: Path, tmp_path: Path) -> None:
    out, moments = tmp_path / "scored", random.Random(3)
    old = gpuseg.score(old_output, customers, out).record.run_id
    numbers = [signal.SIGKILL, signal.SIGINT, *[signal.SIGKILL, signal.SIGTERM] * (4 * THOROUGH)]
    for number in numbers:
        process = subprocess.Popen(
            score_command(old_output, customers, out), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        while not process.stderr.readline().startswith("start"):
            assert process.poll() is None
        time.sleep(moments.uniform(0.0, 0.1))
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode in (0, 75, 130, -number)
        assert (check_scores(out) == old) == (process.returncode != 0) or number == signal.SIGKILL
        old = check_scores(out)
    assert gpuseg.score(old_output, customers, out, overwrite=True).record.run_id == check_scores(
        out
    )
    assert staging(out) == []


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 300_000])
def test_full_disk_while_scoring(
    customers: Path,
    old_output: Path,
    small_disk: Path,
    room: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = small_disk / "scored"
    old = gpuseg.score(old_output, customers, out).record.run_id
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(bytes(free - room))
    outcome = call(capfd, "score", old_output, customers, out, "--overwrite")
    assert outcome.code == 4, outcome.err
    assert "No space left on device" in outcome.err
    assert "Traceback" not in outcome.err
    assert check_scores(out) == old
    assert staging(out) == []
