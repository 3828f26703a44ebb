"""Submissions: what is refused, arrays, scripts, and jobs that run on this machine."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from support.helpers import bits, call, job, manifest_of, toml
from support.refused_submissions import (
    REFUSED_SUBMISSIONS,
    RefusedSubmission,
    submit_refused,
    write_rows,
)

import gpuseg
from gpuseg.errors import ConfigError, GpusegError, ResourceError
from gpuseg.jobs.submit.arrays import read_axis, variants
from gpuseg.jobs.submit.base import JobState, Submission
from gpuseg.jobs.submit.exit_code import run_exit_code
from gpuseg.jobs.submit.forecast import forecast_job
from gpuseg.jobs.submit.launchers import launcher_of
from gpuseg.jobs.submit.prepare import prepare
from gpuseg.jobs.submit.registry import all_records, records_of
from gpuseg.jobs.submit.slurm_states import merged, of_sacct, of_scontrol
from gpuseg.jobs.submit.submit_job import submit_job
from gpuseg.jobs.submit.toml_text import toml_text
from gpuseg.jobs.time_limit import seconds_of
from gpuseg.run_status import RunState, RunStatus


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """A job whose tasks run on one CPU."""
    write_rows(tmp_path)
    return {
        **job(tmp_path / "in", tmp_path / "out", runtime={"backend": "numpy"}),
        "submit": {"cpus": 1},
    }


@pytest.mark.parametrize("case", REFUSED_SUBMISSIONS.values(), ids=REFUSED_SUBMISSIONS)
def test_refused(tmp_path: Path, case: RefusedSubmission) -> None:
    write_rows(tmp_path)
    with pytest.raises(GpusegError) as caught:
        submit_refused(tmp_path, case)
    assert (caught.value.code, caught.value.parameter) == (case.code, case.parameter)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_no_commands_of_slurm(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    launcher = launcher_of("slurm")
    submission = prepare(values, launcher)
    with pytest.raises(ResourceError) as caught:
        launcher.check(submission)
    assert caught.value.code == "scheduler.no_command"
    assert launcher.render(submission).startswith("#!/bin/bash\n")


def test_state_without_commands_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError) as caught:
        launcher_of("slurm").state("77")
    assert caught.value.code == "scheduler.no_command" and "scontrol" in str(caught.value)


def test_state_without_accounting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id' >&2; exit 1\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launcher_of("slurm").state("77") == JobState("unknown")


def directives(submission: Submission) -> list[str]:
    lines = launcher_of("slurm").render(submission).splitlines()
    return [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]


def test_script_of_slurm(tmp_path: Path, values: dict[str, Any]) -> None:
    values["submit"] = {
        "cpus": 3, "memory": "1GiB", "time": "90m", "gpus": 2, "partition": "a,b",
        "account": "x", "qos": "y", "constraint": "z", "extra": ["--exclusive"],
        "skip": ["--open-mode", "--gres=gpu"], "restarts": 0,
        "setup": ["module load cuda"], "environment": {"A": "it's"},
    }  # fmt: skip
    submission = prepare(values, launcher_of("slurm"))
    assert directives(submission) == [
        "--job-name=gpuseg-out", "--nodes=1", "--ntasks=1", "--ntasks-per-node=1",
        "--cpus-per-task=3", "--mem=1024M", "--time=0-01:30:00", "--partition=a,b", "--account=x",
        "--qos=y", "--constraint=z", f"--chdir={Path.cwd()}",
        f"--output={tmp_path}/.out._run/output.txt", "--signal=USR2@120", "--no-requeue",
        "--exclusive",
    ]  # fmt: skip
    script = launcher_of("slurm").render(submission)
    assert "export A='it'\"'\"'s'\nmodule load cuda\n" in script
    subprocess.run(["/bin/bash", "-n"], input=script, text=True, check=True)


def test_script_of_odd_paths(tmp_path: Path, values: dict[str, Any]) -> None:
    values["output"]["path"] = f'{tmp_path}/a "b" 50%'
    assert [line for line in directives(prepare(values, launcher_of("slurm"))) if "output" in line
            ] == [f'--output="{tmp_path}/.a \\"b\\" 50%%._run/output.txt"']  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code"),
    [("a\nb", "submit.path_with_line_end"), ("a\\b", "submit.path_with_backslash")],
)
def test_paths_that_slurm_cannot_have(
    tmp_path: Path, values: dict[str, Any], name: str, code: str
) -> None:
    values["output"]["path"] = f"{tmp_path}/{name}"
    with pytest.raises(ConfigError) as caught:
        launcher_of("slurm").render(prepare(values, launcher_of("slurm")))
    assert caught.value.code == code


@pytest.mark.parametrize("kind", ["slurm", "local"])
def test_scripts_have_no_secrets(values: dict[str, Any], kind: str) -> None:
    values["input"]["storage_options"] = {"auto_mkdir": False}
    submission = prepare(values, launcher_of(kind))
    assert "auto_mkdir" not in launcher_of(kind).render(submission)


def test_tasks_get_what_is_asked_for(values: dict[str, Any]) -> None:
    submission = prepare(values, launcher_of("slurm"))
    forecast = forecast_job(submission.members[0].spec, 1, 1)
    assert submission.resources.memory == forecast.proposed_memory >= 1.5 * forecast.memory
    assert submission.resources.seconds == forecast.proposed_seconds == 600
    assert submission.members[0].values["runtime"] == {
        "backend": "numpy", "threads_per_worker": 1, "memory_limit": forecast.proposed_memory,
    }  # fmt: skip
    assert "submit" not in submission.members[0].values


def test_workers_of_a_scheduler_keep_their_limits(tmp_path: Path, values: dict[str, Any]) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tcp://127.0.0.1:1"}')
    for cluster in (str(file), "tcp://127.0.0.1:1"):
        values["runtime"] = {"cluster": cluster}
        [member] = prepare(values, launcher_of("local")).members
        assert member.values["runtime"] == {"cluster": cluster}


def test_array_has_a_job_for_each_combination() -> None:
    axes = [read_axis("segment.n_clusters=2, 3"), read_axis('segment.init=["a", "b"]')]
    made = variants({"output": {"path": "out/"}}, axes)
    assert [each.values["output"]["path"] for each in made] == [
        "out/n_clusters=2/init=a", "out/n_clusters=2/init=b",
        "out/n_clusters=3/init=a", "out/n_clusters=3/init=b",
    ]  # fmt: skip
    assert made[1].values["segment"] == {"n_clusters": 2, "init": "b"}
    assert made[1].label == "n_clusters=2,init=b"


def test_array_fills_placeholders() -> None:
    made = variants(
        {"output": {"path": "out/k{n_clusters}"}}, [read_axis("segment.n_clusters=2,3")]
    )
    assert [each.values["output"]["path"] for each in made] == ["out/k2", "out/k3"]
    [only] = variants({"output": {"path": "out/{x}"}}, [])
    assert (only.values["output"]["path"], only.label) == ("out/{x}", "")


def test_array_of_lists() -> None:
    axis = read_axis('input.features=[["a", "b"], ["a"]]')
    made = variants({"output": {"path": "out"}}, [axis])
    assert [each.values["output"]["path"] for each in made] == [
        "out/features=a,b",
        "out/features=a",
    ]


def test_toml_of_all_kinds_of_values() -> None:
    values = {
        "a": {"text": 'é "\\\n\x7f\t', "n": 3, "x": 0.1, "big": 1e300, "yes": True, "no": []},
        "b c": {"at": datetime(2026, 1, 2, 3, tzinfo=UTC), "on": date(2026, 1, 2)},
        "join": [{"path": ["p", "q"], "o": {"k": {"m": 1}, "e": {}}}, {"path": "r"}],
    }
    assert tomllib.loads(toml_text(values)) == values
    assert tomllib.loads(toml_text({"a": {"x": float("inf")}})) == {"a": {"x": float("inf")}}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(90, 90), ("45s", 45), ("90m", 5400), ("2h", 7200), ("1d", 86400), ("1-12:30", 131400),
     ("0:00:10", 10), ("1-12:00:00", 129600)],
)  # fmt: skip
def test_time_limits(text: Any, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["1:30", "90", "1.5h", "0m", "367d", "", True, 0])
def test_refused_time_limits(text: Any) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        seconds_of(text)


STATES: Mapping[str, tuple[JobState, JobState]] = {
    "failed": (
        of_scontrol("JobId=1 JobState=FAILED Reason=NonZeroExitCode Requeue=1 ExitCode=3:0"),
        JobState("failed", 3, "FAILED (NonZeroExitCode)"),
    ),
    "succeeded": (
        of_scontrol("JobId=1 JobState=COMPLETED Reason=None ExitCode=0:0"),
        JobState("succeeded", 0, "COMPLETED"),
    ),
    "preempted": (
        of_scontrol("JobId=1 JobState=PREEMPTED Reason=None Requeue=1 ExitCode=0:0"),
        JobState("queued", None, "PREEMPTED, queued again"),
    ),
    "node lost for good": (
        of_scontrol("JobId=1 JobState=NODE_FAIL Reason=NodeDown Requeue=0 ExitCode=0:0"),
        JobState(
            "failed",
            4,
            "NODE_FAIL (NodeDown): a node of the job was lost; submitted again, the job goes on",
        ),
    ),
    "cancelled": (of_sacct("CANCELLED by 0|0:15|None"), JobState("cancelled", 130, "CANCELLED")),
    "no start": (of_sacct("BOOT_FAIL|0:0|None"), JobState("failed", 4, "BOOT_FAIL")),
    "forgotten": (merged([]), JobState("unknown")),
    "array": (
        merged([JobState("succeeded", 0), JobState("failed", 3), JobState("succeeded", 0)]),
        JobState("failed", 3),
    ),
    "array that runs": (
        merged([JobState("succeeded", 0), JobState("queued"), JobState("running")]),
        JobState("running"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("seen", STATES.values(), ids=STATES)
def test_states_of_slurm(seen: tuple[JobState, JobState]) -> None:
    assert seen[0] == seen[1]


def test_log_that_a_node_cannot_open() -> None:
    state = of_scontrol("JobId=1 JobState=FAILED Reason=NonZeroExitCode ExitCode=0:53")
    assert state.exit_code == 4
    assert "file system that all nodes share" in state.reason


def test_nothing_is_queued_where_no_job_can_be_written_down(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    (tmp_path / "state").touch()
    launcher = launcher_of("local")
    with pytest.raises(ResourceError) as caught:
        submit_job(prepare(values, launcher), launcher)
    assert caught.value.code == "submit.not_written" and "XDG_STATE_HOME" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "state"]


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_damaged_record_of_a_job(tmp_path: Path, capfd: pytest.CaptureFixture[str],
                                 content: str) -> None:  # fmt: skip
    jobs = tmp_path / "state/gpuseg/jobs"
    jobs.mkdir(parents=True)
    (jobs / "local-1-2.json").write_text(content)
    for run in ("1-2", str(tmp_path / "out")):
        outcome = call(capfd, "status", run)
        assert outcome.code == 3 and "local-1-2.json is not the record of a job" in outcome.err


@pytest.mark.slow
def test_job_on_this_machine(
    tmp_path: Path, values: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    taken = {"folder": "/nowhere", "size": "9", "code": "3"}  # the script has others
    submit = {"cpus": 1, "tasks": 2, "kind": "local", "environment": taken}
    file = tmp_path / "job.toml"
    file.write_text(toml({**values, "submit": submit}))
    outcome = call(capfd, "submit", file, "--wait", "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    gpuseg.run({**values, "output": {"path": str(tmp_path / "here")}})
    assert bits(tmp_path / "out") == bits(tmp_path / "here")
    folder = Path(record["folder"])
    assert stat.S_IMODE((folder / "job.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.job_id for each in records_of(record["job_id"])] == [record["job_id"]]
    assert launcher_of("local").state(record["job_id"]).exit_code == 0


@pytest.mark.slow
def test_array_on_this_machine(
    tmp_path: Path,
    values: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "job.toml"
    file.write_text(toml(values))
    monkeypatch.chdir(tmp_path)
    arguments = ("--to", "local", "--wait", "--array", "segment.n_clusters=2,3", "--set",
                 "output.path=out")  # fmt: skip
    outcome = call(capfd, "submit", file, *arguments)
    assert outcome.code == 0, outcome.err
    outputs = [tmp_path / "out" / f"n_clusters={k}" for k in (2, 3)]
    assert [len(manifest_of(each)["segments"]) for each in outputs] == [2, 3]
    whole = records_of(outcome.out.strip())[0]
    assert whole.output == str(tmp_path / "out")
    assert {each.output for each in all_records() if each.job_id in whole.members} == {
        str(each) for each in outputs
    }


def test_exit_code_of_a_run_that_lost_a_task(tmp_path: Path, values: dict[str, Any]) -> None:
    file = tmp_path / "job.toml"
    file.write_text(toml(job(tmp_path / "in", tmp_path / "out")))
    assert run_exit_code(str(file), 0) == 4  # it has no status
    heartbeat = datetime(2026, 1, 2, tzinfo=UTC)
    ended = RunStatus(state=RunState.PAUSED, output="out", exit_code=75, heartbeat=heartbeat)
    (tmp_path / ".out._run").mkdir(mode=0o700)
    (tmp_path / ".out._run/status.json").write_bytes(ended.to_bytes())
    assert run_exit_code(str(file), heartbeat.timestamp() - 1) == 75
    assert run_exit_code(str(file), heartbeat.timestamp() + 1) == 4  # of an earlier run


def test_task_that_does_not_see_its_job(tmp_path: Path, values: dict[str, Any]) -> None:
    script = launcher_of("slurm").render(prepare(values, launcher_of("slurm")))
    [line] = [line for line in script.splitlines() if line.startswith("srun ")]
    command = shlex.split(line)[4:]
    missing = str(tmp_path / "elsewhere/job.toml")
    done = subprocess.run([*command[:-1], missing], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert f"does not see {missing}" in done.stderr
