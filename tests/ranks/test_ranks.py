"""N processes that are started by the same command run one job, and end in the same way."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.helpers import THOROUGH, listing, manifest_of, read_parts
from support.launched_ranks import Launcher, launched, mpirun, srun, torchrun
from support.ranks_jobs import (
    DBSCAN,
    KMEANS,
    SLOW,
    job_file,
    job_of,
    nothing_left,
    table_and_model,
    write_rows,
)

import gpuseg


class Jobs(NamedTuple):
    """Data, and the bits of local runs by name of the job."""

    data: Path
    expected: dict[str, Any]


SECTIONS: dict[str, dict[str, Any]] = {"kmeans": KMEANS, "dbscan": DBSCAN}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    folder = tmp_path_factory.mktemp("ranks")
    data = write_rows(folder / "data")
    expected = {}
    for name, sections in SECTIONS.items():
        gpuseg.run(job_of(data, folder / name, **sections))
        expected[name] = table_and_model(folder / name)
    return Jobs(data, expected)


CASES: list[tuple[str, int, Launcher]] = [
    ("kmeans", 1, mpirun),
    ("kmeans", 4, srun),
    ("dbscan", 2, torchrun),
    *([("kmeans", 8, mpirun), ("dbscan", 8, srun), ("dbscan", 4, mpirun)] if THOROUGH else []),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "launcher"), CASES)
def test_ranks_give_the_bits_of_a_local_run(
    tmp_path: Path, jobs: Jobs, name: str, size: int, launcher: Launcher
) -> None:
    file = job_file(tmp_path, jobs.data, {}, **SECTIONS[name])
    with launched(tmp_path, ["run", str(file), "--json"], size, launcher) as ranks:
        ended = ranks.wait()
    assert [each.code for each in ended.values()] == [0] * size, ended
    assert not any(each.out or each.err for rank, each in ended.items() if rank)
    assert table_and_model(tmp_path / "out") == jobs.expected[name]
    executor = manifest_of(tmp_path / "out")["executor"]
    assert (executor["cluster"], executor["n_workers"]) == ("ranks", size)
    assert nothing_left(tmp_path)


@pytest.mark.slow
def test_a_rank_that_never_comes_is_named_by_all(tmp_path: Path, jobs: Jobs) -> None:
    file = job_file(tmp_path, jobs.data, {"start_timeout": 3.0}, **KMEANS)
    with launched(tmp_path, ["run", str(file)], 3, torchrun, absent=(1,)) as ranks:
        ended = ranks.wait()
    assert {rank: each.code for rank, each in ended.items()} == {0: 4, 2: 4}
    assert all("rank 1 of 3 has not come within 3 s" in each.err for each in ended.values())
    assert not (tmp_path / "out").exists()
    assert nothing_left(tmp_path)


@pytest.mark.slow
def test_ranks_without_rank_zero_say_where_they_waited(tmp_path: Path, jobs: Jobs) -> None:
    file = job_file(tmp_path, jobs.data, {"start_timeout": 1.0}, **KMEANS)
    with launched(tmp_path, ["run", str(file)], 2, torchrun, absent=(0,)) as ranks:
        (ended,) = ranks.wait().values()
    assert ended.code == 4
    assert str(tmp_path / ".out._run") in ended.err
    assert nothing_left(tmp_path)


@pytest.mark.slow
def test_an_error_of_rank_zero_ends_all_with_its_code(tmp_path: Path, jobs: Jobs) -> None:
    sections = {**KMEANS, "input": {"features": ["no_column"]}}
    file = job_file(tmp_path, jobs.data, {}, **sections)
    with launched(tmp_path, ["run", str(file)], 2, mpirun) as ranks:
        ended = ranks.wait()
    assert [each.code for each in ended.values()] == [3, 3]
    assert "rank 0 of 2" in ended[1].err and "no_column" in ended[1].err


@pytest.mark.slow
def test_a_killed_rank_is_replaced_by_the_others(tmp_path: Path, jobs: Jobs) -> None:
    gpuseg.run(job_of(jobs.data, tmp_path / "expected", **SLOW))
    file = job_file(tmp_path, jobs.data, {}, **SLOW)
    with launched(tmp_path, ["run", str(file)], 3, torchrun) as ranks:
        ranks.await_text(0, "prepare ")
        ranks.processes[2].send_signal(signal.SIGKILL)
        ended = ranks.wait()
    assert {rank: each.code for rank, each in ended.items()} == {0: 0, 1: 0, 2: -9}
    assert "lost rank 2 on" in ended[0].err
    assert table_and_model(tmp_path / "out") == table_and_model(tmp_path / "expected")
    assert nothing_left(tmp_path)


@pytest.mark.slow
def test_ranks_end_without_rank_zero_and_an_older_output_stays(tmp_path: Path, jobs: Jobs) -> None:
    gpuseg.run(job_of(jobs.data, tmp_path / "out", **KMEANS))
    before = listing(tmp_path / "out")
    file = job_file(tmp_path, jobs.data, {}, **SLOW)
    with launched(tmp_path, ["run", str(file), "--overwrite"], 2, torchrun) as ranks:
        ranks.await_text(0, "prepare ")
        ranks.processes[0].send_signal(signal.SIGKILL)
        ended = ranks.wait(60)
    assert {rank: each.code for rank, each in ended.items()} == {0: -9, 1: 4}
    assert "rank 0 of 2 has ended" in ended[1].err
    assert listing(tmp_path / "out") == before


def pod(rank: int, size: int) -> dict[str, str]:
    """Return the environment of a pod of an Indexed Job."""
    return {"JOB_COMPLETION_INDEX": f"{rank}", "GPUSEG_SIZE": f"{size}", "GPUSEG_RANKS_SECRET": KEY}


def pod_with_other_secret(rank: int, size: int) -> dict[str, str]:
    return {**pod(rank, size), "GPUSEG_RANKS_SECRET": f"{rank}" * len(KEY)}


KEY = "0123456789abcdef" * 2


def met_at_an_address(folder: Path, data: Path, **runtime: Any) -> Path:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"localhost:{free.getsockname()[1]}"
    runtime = {"rendezvous": "address", "address": address, **runtime}
    return job_file(folder, data, runtime, **KMEANS)


@pytest.mark.slow
def test_ranks_meet_at_an_address(tmp_path: Path, jobs: Jobs) -> None:
    file = met_at_an_address(tmp_path, jobs.data)
    with launched(tmp_path, ["run", str(file)], 2, pod) as ranks:
        ended = ranks.wait()
    assert [each.code for each in ended.values()] == [0, 0], ended
    assert table_and_model(tmp_path / "out") == jobs.expected["kmeans"]


@pytest.mark.slow
def test_a_rank_with_another_secret_cannot_join(tmp_path: Path, jobs: Jobs) -> None:
    file = met_at_an_address(tmp_path, jobs.data, start_timeout=3.0)
    with launched(tmp_path, ["run", str(file)], 2, pod_with_other_secret) as ranks:
        ended = ranks.wait()
    assert [each.code for each in ended.values()] == [4, 4]
    assert "rank 1 of 2 has not come" in ended[0].err
    assert "has not met rank 0" in ended[1].err


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a process its own mounts")
def test_an_output_that_is_not_shared_is_noticed_at_the_start(tmp_path: Path, jobs: Jobs) -> None:
    file = met_at_an_address(tmp_path, jobs.data)
    alone = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"']
    (tmp_path / "outputs").mkdir()
    command = ["run", str(file), "--set", f"output.path={tmp_path / 'outputs' / 'out'}"]
    wrapper = [*alone, str(tmp_path / "outputs")]
    with launched(tmp_path, command, 2, pod, wrappers={1: wrapper}) as ranks:
        ended = ranks.wait()
    assert [each.code for each in ended.values()] == [4, 4]
    assert all("rank 1 on" in each.err and "cannot see" in each.err for each in ended.values())


@pytest.mark.slow
def test_other_commands_run_on_ranks(tmp_path: Path, jobs: Jobs) -> None:
    gpuseg.run(job_of(jobs.data, tmp_path / "older", **KMEANS))
    for name, command in {
        "scored": ["score", "older", str(jobs.data), "scored", "--cluster", "ranks"],
        "out": ["refresh", str(job_file(tmp_path, jobs.data, {}, **KMEANS)), "--from", "older"],
    }.items():
        with launched(tmp_path, command, 2, torchrun) as ranks:
            ended = ranks.wait()
        assert [each.code for each in ended.values()] == [0, 0], ended
        assert manifest_of(tmp_path / name)["executor"]["cluster"] == "ranks"
        assert read_parts(tmp_path / name)["segment"] == read_parts(tmp_path / "older")["segment"]


@pytest.mark.slow
def test_paused_ranks_go_on_with_the_same_command(tmp_path: Path, jobs: Jobs) -> None:
    gpuseg.run(job_of(jobs.data, tmp_path / "expected", **SLOW))
    file = job_file(tmp_path, jobs.data, {}, **SLOW)
    with launched(tmp_path, ["run", str(file)], 3, torchrun) as ranks:
        ranks.await_text(0, "prepare ")
        for signalled in (0, 1):
            ranks.processes[signalled].send_signal(signal.SIGTERM)
        ended = ranks.wait()
    assert [each.code for each in ended.values()] == [75, 75, 75], ended
    assert re.search(r"^rank 0 of 3 on .* was told to end$", ended[2].err)
    with launched(tmp_path, ["run", str(file)], 3, torchrun) as ranks:
        ended = ranks.wait()
    assert [each.code for each in ended.values()] == [0, 0, 0], ended
    assert "goes on (attempt 2)" in ended[0].err
    assert table_and_model(tmp_path / "out") == table_and_model(tmp_path / "expected")
    assert nothing_left(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="silence is noticed after half a minute")
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_rank_that_is_stopped_holds_nobody_up(tmp_path: Path, jobs: Jobs, stopped: int) -> None:
    gpuseg.run(job_of(jobs.data, tmp_path / "expected", **SLOW))
    file = job_file(tmp_path, jobs.data, {}, **SLOW)
    with launched(tmp_path, ["run", str(file)], 3, torchrun) as ranks:
        ranks.await_text(0, "prepare ")
        ranks.processes[stopped].send_signal(signal.SIGSTOP)
        others = {rank: ranks.processes[rank] for rank in range(3) if rank != stopped}
        codes = {rank: process.wait(120) for rank, process in others.items()}
        ranks.processes[stopped].send_signal(signal.SIGCONT)
        ended = ranks.wait()
    if stopped:
        assert codes == {0: 0, 2: 0}
        assert ended[stopped].code == 4
    else:  # rank 0 has a worker, and may do the rest of the work by itself
        assert codes == {1: 4, 2: 4}
        assert ended[stopped].code == (0 if (tmp_path / "out").exists() else 4)
    if ended[0].code == 0:
        assert table_and_model(tmp_path / "out") == table_and_model(tmp_path / "expected")
