"""A rank is killed in each stage of a job: the others finish its work, or end within a minute."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.held_run import holding_python, wait_for
from support.helpers import THOROUGH, listing
from support.launched_ranks import Ended, launched, torchrun
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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not THOROUGH, reason="dozens of runs, and the loss of rank 0 takes 13 s"),
]

JOBS: dict[str, dict[str, Any]] = {"kmeans": SLOW, "dbscan": DBSCAN}

STAGES = (
    "plan", "start", "read", "prepare", "count for drift", "fit", "examples", "write", "check ids",
    "describe", "publish",
)  # fmt: skip

BEFORE_ALL_HAVE_COME = ("plan", "start")
"""Stages in which a rank may be lost before it has met rank 0."""

SENTENCES = {
    0: ("rank 0 of 3 has ended", "has not met rank 0 within"),
    2: ("rank 2 of 3 has not come within",),
}
"""What the other ranks say where they cannot finish the work, by rank that was killed."""

NEEDS_ALL_ROWS = ("read", "prepare", "count for drift", "fit", "examples", "write")
"""Stages with work on all ranks: rank 0 notices there that one was lost."""

IN_FLIGHT = ("read", "prepare", "fit", "write")
"""Stages in which a rank is killed also a moment after their start."""

MOMENTS = [*((stage, 0.0) for stage in STAGES), *((stage, 0.05) for stage in IN_FLIGHT)]
"""A stage, and the seconds from its start to the kill."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("ranks") / "data")


@pytest.fixture(scope="module")
def expected(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The rows and the model of an undisturbed local run, by name of the job."""
    folder = tmp_path_factory.mktemp("expected")
    for name, sections in JOBS.items():
        gpuseg.run(job_of(data, folder / name, **sections))
    return {name: table_and_model(folder / name) for name in JOBS}


def kill_in(stage: str, seconds: float, killed: int, folder: Path, file: Path) -> dict[int, Ended]:
    """Kill one of three ranks in a stage that rank 0 has begun; return how all ended."""
    # The shell leaves out the name of the interpreter, which comes before "-m gpuseg".
    held = ["sh", "-c", 'shift; exec "$0" "$@"', str(holding_python(stage, folder))]
    command = ["run", str(file), "--overwrite"]
    with launched(folder, command, 3, torchrun, wrappers={0: held}) as ranks:
        wait_for(lambda: (folder / "held").exists() or ranks.processes[0].poll() is not None)
        assert (folder / "held").exists(), ranks.text(0, "err")
        if seconds:
            (folder / "go").touch()
            time.sleep(seconds)
        ranks.processes[killed].send_signal(signal.SIGKILL)
        (folder / "go").touch()
        return ranks.wait(60)  # the limit of each rank, whatever happens


@pytest.mark.parametrize("killed", [0, 2])
@pytest.mark.parametrize("name", list(JOBS))
@pytest.mark.parametrize(("stage", "seconds"), MOMENTS)
def test_a_rank_is_killed_in_a_stage(
    tmp_path: Path, data: Path, expected: dict[str, Any], name: str, stage: str, seconds: float,
    killed: int,
) -> None:  # fmt: skip
    gpuseg.run(job_of(data, tmp_path / "out", **KMEANS))
    before = listing(tmp_path / "out")
    file = job_file(tmp_path, data, {"start_timeout": 30.0}, **JOBS[name])
    ended = kill_in(stage, seconds, killed, tmp_path, file)
    others = [each for rank, each in ended.items() if rank != killed]
    assert ended[killed].code == -signal.SIGKILL
    if killed == 0 or (stage in BEFORE_ALL_HAVE_COME and others[0].code):
        assert [each.code for each in others] == [4, 4], ended
        assert all(any(text in each.err for text in SENTENCES[killed]) for each in others), ended
        assert listing(tmp_path / "out") == before
        with launched(tmp_path, ["run", str(file), "--overwrite"], 3, torchrun) as ranks:
            others = list(ranks.wait().values())
    elif stage in NEEDS_ALL_ROWS and not seconds:
        assert "lost rank 2 on" in ended[0].err
    assert {each.code for each in others} == {0}, others
    assert table_and_model(tmp_path / "out") == expected[name]
    assert nothing_left(tmp_path)
