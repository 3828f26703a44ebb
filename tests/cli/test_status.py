"""Runs that are watched from another process: status, logs, cancel."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.errors import raises
from support.held_run import holding_python, start_held, wait_for
from support.helpers import call, customers, job, leftovers, manifest_of, toml, write_files

from gpuseg.errors import DataError
from gpuseg.io.output.run_folder import LOG, STATUS, SUBMISSION, RunFolder
from gpuseg.io.storage import Storage
from gpuseg.jobs.run_log import RunLog
from gpuseg.jobs.status_writer import StatusWriter, Watched
from gpuseg.jobs.watch.cancel_run import cancel_run
from gpuseg.jobs.watch.current_status import current_status
from gpuseg.jobs.watch.follow_log import log_text
from gpuseg.jobs.watch.locate import locate
from gpuseg.progress import Progress
from gpuseg.run_status import RunState, RunStatus, parse_status

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output of a job whose file is `job.toml` beside it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source = write_files(tmp_path / "in", [customers(600)])
    output = tmp_path / "out"
    (tmp_path / "job.toml").write_text(toml(job(source, output, runtime={"backend": "numpy"})))
    return output


def start(out: Path, stage: str = "fit") -> subprocess.Popen[bytes]:
    """Start the job; it waits in a stage until `go` is there."""
    return start_held(stage, out.parent, "run", str(out.parent / "job.toml"))


def shown(capfd: Capture, out: Path | str) -> Any:
    """Return what ``gpuseg status --json`` prints."""
    outcome = call(capfd, "status", out, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def follow(out: Path) -> tuple[list[str], int]:
    """Let the run go on while ``gpuseg logs -f`` follows it; return its lines and its exit code."""
    command = [sys.executable, "-m", "gpuseg.cli", "logs", "-f", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as followed:
        assert followed.stdout is not None
        lines = [followed.stdout.readline()]  # it follows before the run ends
        (out.parent / "go").touch()
        lines += followed.communicate(timeout=60)[0].splitlines()
    return lines, followed.returncode


def run_folder(out: Path) -> RunFolder:
    return RunFolder(Storage.from_url(str(out), {}, "output"))


def test_a_run_is_watched_to_its_end(out: Path, capfd: Capture) -> None:
    run = start(out)
    wait_for(lambda: shown(capfd, out)["stage"] == "fit")
    first = shown(capfd, out)
    wait_for(lambda: shown(capfd, out)["heartbeat"] > first["heartbeat"])
    assert first["state"] == "running" and first["pid"] == run.pid and first["attempt"] == 1
    assert first["n_pass"] == 0 and first["exit_code"] is None
    assert call(capfd, "status", out).out.startswith("state      running\n")
    lines, code = follow(out)
    assert run.wait(60) == code == 0
    assert "plan: started" in lines[0] and lines[-1].endswith("ended: succeeded, exit code 0")
    assert {path.name for path in out.parent.glob(".*")} == set()
    end = shown(capfd, out)
    assert (end["state"], end["exit_code"], end["rows"]) == ("succeeded", 0, 600)
    assert end["run_id"] == first["run_id"] == manifest_of(out)["run_id"]
    assert call(capfd, "logs", out).code == 3
    assert call(capfd, "cancel", out).code == 2


def test_cancel_ends_a_run_and_leaves_nothing(out: Path, capfd: Capture) -> None:
    run = start(out)
    wait_for(lambda: shown(capfd, out)["state"] == "running")
    outcome = call(capfd, "cancel", out)
    assert (outcome.code, run.wait(60)) == (0, 130)
    assert not out.exists() and leftovers(out.parent) == []
    assert not Path(run_folder(out).path).exists()
    assert call(capfd, "status", out).code == 3


@pytest.mark.parametrize(
    ("number", "state", "code"),
    [(signal.SIGKILL, "lost", 4), (signal.SIGTERM, "paused", 75)],
    ids=["killed", "paused"],
)
def test_an_interrupted_run_can_be_given_up(
    out: Path, capfd: Capture, number: int, state: str, code: int
) -> None:
    run = start(out)
    wait_for(lambda: shown(capfd, out)["stage"] == "fit")
    run.send_signal(number)
    assert run.wait(60) == (-number if number == signal.SIGKILL else code)
    assert (shown(capfd, out)["state"], shown(capfd, out)["attempt"]) == (state, 1)
    followed = call(capfd, "logs", "-f", out)
    assert followed.code == code and "fit: started" in followed.out
    assert call(capfd, "cancel", out).code == 0
    assert {path.name for path in out.parent.iterdir()} == {"in", "job.toml", "held"}
    assert call(capfd, "cancel", out).code == 3


def break_input(out: Path) -> None:
    """Give the input a value that the job refuses."""
    table = customers(600)
    spend = np.where(np.arange(600) == 7, np.inf, table["spend"].to_numpy())
    write_files(out.parent / "in", [table.set_column(3, "spend", pa.array(spend))])


def test_a_failed_run_is_followed_to_its_code(out: Path, capfd: Capture) -> None:
    break_input(out)
    run = start(out, "read")
    wait_for(lambda: shown(capfd, out)["stage"] == "read")
    lines, code = follow(out)
    assert run.wait(60) == code == 3
    assert "spend" in lines[-2] and lines[-1].endswith("ended: failed, exit code 3")
    assert not Path(run_folder(out).path).exists()


def test_a_submitted_run_that_failed_keeps_status_and_log(out: Path, capfd: Capture) -> None:
    break_input(out)
    submitted(out)
    assert call(capfd, "run", out.parent / "job.toml").code == 3
    end = shown(capfd, out)
    assert (end["state"], end["exit_code"], end["stage"]) == ("failed", 3, "prepare")
    assert end["error"]["code"] and "spend" in end["error"]["text"]
    followed = call(capfd, "logs", "-f", out)
    assert followed.code == 3 and "ended: failed, exit code 3" in followed.out


def submit(out: Path, capfd: Capture, *options: str) -> str:
    """Submit the job to this machine, and wait until its run is in a stage; return its id."""
    python = holding_python("fit", out.parent)
    here = ["--to", "local", "--set", f"submit.python={python}"]
    outcome = call(capfd, "submit", out.parent / "job.toml", *here, *options)
    assert outcome.code == 0, outcome.err
    wait_for((out.parent / "held").exists)
    return outcome.out.strip()


def test_a_submitted_job_is_watched_by_its_id(out: Path, capfd: Capture) -> None:
    job_id = submit(out, capfd)
    wait_for(lambda: shown(capfd, job_id)["stage"] == "fit")
    (out.parent / "go").touch()
    followed = call(capfd, "logs", "-f", job_id)
    assert followed.code == 0 and f"segments   {out}" in followed.out
    by_id, by_path = shown(capfd, job_id), shown(capfd, out)
    assert by_id == by_path
    assert (by_id["state"], by_id["exit_code"], by_id["job_id"]) == ("succeeded", 0, job_id)
    assert by_id["rows"] == 600 and by_id["stage"] is None
    assert "fit: started" in Path(run_folder(out).file(LOG)).read_text()


def test_a_cancelled_job_leaves_its_status_alone(out: Path, capfd: Capture) -> None:
    job_id = submit(out, capfd)
    wait_for(lambda: shown(capfd, job_id)["state"] == "running")
    assert call(capfd, "cancel", job_id).code == 0
    status = shown(capfd, job_id)
    assert (status["state"], status["exit_code"]) == ("cancelled", 130)
    assert not out.exists() and leftovers(out.parent) == []
    assert {"checkpoint", "ranks"}.isdisjoint(run_folder(out).names())
    assert call(capfd, "logs", "-f", job_id).code == 130
    assert call(capfd, "cancel", job_id).code == 2


def test_a_job_is_not_taken_for_a_later_one_of_its_output(out: Path, capfd: Capture) -> None:
    failing = ["--to", "local", "--wait", "--set", "submit.python=/bin/false"]
    first = call(capfd, "submit", out.parent / "job.toml", *failing).out.strip()
    second = submit(out, capfd)
    wait_for(lambda: shown(capfd, second)["stage"] == "fit")
    ended = shown(capfd, first)
    assert (ended["state"], ended["exit_code"], ended["pid"]) == ("failed", 1, None)
    assert call(capfd, "cancel", first).code == 2
    (out.parent / "link").symlink_to(out.parent)
    for path in (out, out.parent / "in/../out", out.parent / "link/out"):
        refused = call(capfd, "submit", out.parent / "job.toml", "--to", "local",
                       "--set", f"output.path={path}")  # fmt: skip
        assert refused.code == 2 and f"job {second} is running" in refused.err
    assert shown(capfd, second)["state"] == "running"
    assert call(capfd, "cancel", second).code == 0
    assert shown(capfd, first)["state"] == "failed"


def test_a_killed_job_says_so_and_goes_on(out: Path, capfd: Capture) -> None:
    job_id = submit(out, capfd)
    wait_for(lambda: shown(capfd, job_id)["state"] == "running")
    pids = (int(job_id.partition("-")[0]), shown(capfd, job_id)["pid"])
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: shown(capfd, job_id)["state"] == "failed")
    status = shown(capfd, job_id)
    assert (status["exit_code"], status["error"]["code"]) == (4, "submit.job_failed")
    assert "script was killed" in call(capfd, "status", job_id).out
    (out.parent / "go").touch()
    (out.parent / "held").unlink()
    second = submit(out, capfd)  # goes on with the run of the first one
    assert call(capfd, "logs", "-f", second).code == 0
    assert shown(capfd, second)["attempt"] == 2
    assert [shown(capfd, each)["state"] for each in (job_id, second)] == ["failed", "succeeded"]
    shutil.rmtree(run_folder(out).path)
    assert shown(capfd, second)["state"] == "succeeded"  # by its manifest


def test_an_array_is_watched_and_cancelled_by_one_id(out: Path, capfd: Capture) -> None:
    array = submit(out, capfd, "--array", "segment.n_clusters=2,3")
    first = f"{array}_0"
    wait_for(lambda: shown(capfd, first)["state"] == "running")
    assert [each["state"] for each in shown(capfd, array)] == ["running", "queued"]
    assert call(capfd, "logs", array).code == call(capfd, "cancel", first).code == 2
    assert call(capfd, "cancel", array).code == 0
    assert [each["state"] for each in shown(capfd, array)] == ["cancelled", "cancelled"]
    assert not list(out.parent.rglob("part-*"))


def submitted(out: Path) -> RunFolder:
    """Return the run folder of a job that was submitted."""
    folder = run_folder(out)
    folder.write(SUBMISSION, b"{}")
    return folder


def status_of(out: Path, **changes: Any) -> RunStatus:
    """Return the status of a run of this process."""
    with StatusWriter(watched(out)) as writer:
        wait_for(lambda: (run_folder(out).read(STATUS)) is not None)
        content = run_folder(out).read(STATUS)
        assert content is not None
        del writer
    return parse_status(content, "").model_copy(update=changes)


def watched(out: Path, **changes: Any) -> Watched:
    values: dict[str, Any] = {
        "folder": run_folder(out), "output": str(out), "run_id": "20260101T000000-abcdef",
        "started": datetime.now(UTC), "progress": Progress(), "log": RunLog(),
    }  # fmt: skip
    return Watched(**values | changes)


def test_a_process_with_the_same_number_is_left_alone(out: Path) -> None:
    """Neither one that began at another time, nor one of another machine, gets a signal."""
    status = status_of(out)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command) as other:
        for changes, code in (
            ({"pid": other.pid}, "cancel.not_running"),
            ({"pid": other.pid, "host": "elsewhere"}, "cancel.other_machine"),
        ):
            written = status.model_copy(update=changes)
            run_folder(out).write(STATUS, written.to_bytes())
            with raises(code):
                cancel_run(locate(str(out), "run"))
        assert other.poll() is None
        other.kill()


def test_an_old_heartbeat_of_another_machine_is_lost(out: Path) -> None:
    status = status_of(out, host="elsewhere")
    for seconds, state in ((30, RunState.RUNNING), (61, RunState.LOST)):
        heartbeat = datetime.now(UTC) - timedelta(seconds=seconds)
        written = status.model_copy(update={"heartbeat": heartbeat})
        run_folder(out).write(STATUS, written.to_bytes())
        assert current_status(locate(str(out), "run")).state is state


def test_each_attempt_has_its_number_and_adds_to_the_log(out: Path) -> None:
    folder = submitted(out)
    for attempt in (1, 2):
        with pytest.raises(DataError), StatusWriter(watched(out)):
            raise DataError("x.y", "the secret is sesame")
        content = folder.read(STATUS)
        assert content is not None
        status = parse_status(content, "")
        assert (status.attempt, status.state) == (attempt, RunState.FAILED)
        assert len(log_text(locate(str(out), "run")).splitlines()) == 2 * attempt
        paused = status.model_copy(update={"state": RunState.PAUSED})
        folder.write(STATUS, paused.to_bytes())


def test_secrets_are_in_no_file(out: Path) -> None:
    folder = submitted(out)
    writer = StatusWriter(watched(out, secrets=frozenset({"sesame"})))
    with pytest.raises(ValueError, match="sesame"), writer:
        raise ValueError("cannot reach s3://user:open@host/ with sesame")
    texts = [Path(folder.file(name)).read_text() for name in (STATUS, LOG)]
    assert not any(secret in text for text in texts for secret in ("sesame", "open@"))
    assert all("(not shown)" in text for text in texts)
    assert Path(folder.path).stat().st_mode & 0o077 == 0


def test_status_and_log_of_an_object_store(out: Path) -> None:
    storage = Storage.from_url("memory://watched/out", {}, "output")
    folder, log = RunFolder(storage), RunLog()
    log.add("fit: started")
    place = locate("memory://watched/out", "run")
    with StatusWriter(watched(out, folder=folder, log=log)):
        wait_for(lambda: folder.exists(LOG))
        assert current_status(place).state is RunState.RUNNING
        assert "fit: started" in log_text(place)
    assert folder.names() == []
    with raises("status.no_run"):
        current_status(place)


def test_damaged_files_are_refused(out: Path) -> None:
    folder = run_folder(out)
    for content in (b"", b"[]", b'{"state": "dancing", "output": "x"}', b"x" * 2**21):
        folder.write(STATUS, content)
        with raises("status.invalid"):
            current_status(locate(str(out), "run"))
