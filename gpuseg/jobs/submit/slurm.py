"""Slurm: sbatch queues a script, scontrol and sacct know its state."""

import re
import shutil
import time
from pathlib import Path

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.jobs.submit.base import JobState, Submission
from gpuseg.jobs.submit.commands import require_commands, run_command
from gpuseg.jobs.submit.slurm_script import slurm_script
from gpuseg.jobs.submit.slurm_states import merged, of_sacct, of_scontrol
from gpuseg.validation import nearest_known

_FIELD = re.compile(r"(\w+)=(\S+)")
_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d+):(\d+)")

_SECONDS_TO_GIVE_UP, _SECONDS_BETWEEN_LOOKS = 20.0, 0.5
"""How long the tasks of a cancelled job may take to end by themselves."""


class SlurmLauncher:
    """The queue of Slurm; see `JobLauncher`."""

    name = "slurm"
    script_name = "submit.sh"
    runs_elsewhere = False
    keys = frozenset(
        {
            *("nodes", "tasks", "cpus", "memory", "time", "gpus"),
            *("partition", "account", "qos", "constraint", "extra", "skip"),
            *("setup", "environment", "python", "restarts", "at_once"),
        }
    )

    def check(self, submission: Submission) -> None:
        """Ask Slurm for the partition, and whether it would take the script."""
        require_commands(
            ["sbatch", "scontrol", "scancel"],
            "submit from a login node of the cluster, or put Slurm's commands on PATH; --dry-run "
            "needs none of them",
        )
        _check_partition(submission, _partitions())
        tested = run_command(["sbatch", "--test-only"], self.render(submission))
        if tested.returncode:
            raise _refused(tested.stderr)

    def render(self, submission: Submission) -> str:
        """Return the script of sbatch."""
        return slurm_script(submission)

    def submit(self, submission: Submission, script: Path) -> str:
        """Queue the script."""
        done = run_command(["sbatch", "--parsable", str(script)])
        if done.returncode:
            raise _refused(done.stderr)
        return done.stdout.strip().partition(";")[0]

    def state(self, job_id: str) -> JobState:
        """Return what the controller says, or the accounting once that has forgotten the job."""
        shown = run_command(["scontrol", "show", "job", "--oneliner", job_id])
        if not shown.returncode and "JobState=" in shown.stdout:
            return merged([of_scontrol(line) for line in shown.stdout.splitlines() if line])
        if shown.returncode and "Invalid job id" not in shown.stderr:
            raise _unreachable(shown.stderr)
        return merged([of_sacct(line) for line in _accounted(job_id) if line])

    def cancel(self, job_id: str) -> None:
        """End a job; its tasks get SIGINT first, so that they give up and leave nothing."""
        if self.state(job_id).state == "running":
            run_command(["scancel", "--signal=INT", job_id])
            last = time.monotonic() + _SECONDS_TO_GIVE_UP
            while self.state(job_id).state == "running" and time.monotonic() < last:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        done = run_command(["scancel", job_id])
        if done.returncode and "Invalid job id" not in done.stderr:
            raise _unreachable(done.stderr)


def _accounted(job_id: str) -> list[str]:
    """Return the lines of the accounting; none where there is no accounting."""
    if shutil.which("sacct") is None:
        return []
    listed = run_command(["sacct", "-n", "-X", "-P", "-o", "State,ExitCode,Reason", "-j", job_id])
    return listed.stdout.splitlines() if not listed.returncode else []


def _partitions() -> dict[str, dict[str, str]]:
    """Return the fields of each partition, by its name."""
    shown = run_command(["scontrol", "show", "partition", "--oneliner"])
    if shown.returncode:
        raise _unreachable(shown.stderr)
    fields = (dict(_FIELD.findall(line)) for line in shown.stdout.splitlines())
    return {each["PartitionName"]: each for each in fields if "PartitionName" in each}


def _check_partition(submission: Submission, known: dict[str, dict[str, str]]) -> None:
    """Refuse partitions that do not exist, and what is beyond their limits.

    The default partition is checked by sbatch alone.
    """
    asked = (submission.submit.partition or "").split(",")
    for name in filter(None, (name.strip() for name in asked)):
        if name not in known:
            raise ConfigError(
                "submit.no_such_partition", "Slurm has no such partition", value=name,
                parameter="submit.partition", hint=nearest_known(name, known),
            )  # fmt: skip
    limits = [known[name] for name in asked if name in known]
    seconds = [_seconds(each.get("MaxTime", "")) for each in limits]
    if limits and (longest := max(seconds)) < submission.resources.seconds:
        raise ConfigError(
            "submit.time_above_partition",
            f"{submission.resources.seconds:,} s is above the limit of the partition",
            parameter="submit.time", rule=f"at most {longest:,.0f} s",
            hint="ask for less time: a job that has not ended is queued again, and goes on",
        )  # fmt: skip
    nodes = [int(each.get("TotalNodes", "0")) for each in limits]
    if limits and (most := max(nodes)) < submission.resources.nodes:
        raise ConfigError(
            "submit.nodes_above_partition", value=submission.resources.nodes,
            parameter="submit.nodes", rule=f"the partition has {most}",
        )  # fmt: skip


def _seconds(text: str) -> float:
    """Return the seconds of a limit of Slurm; infinity if it is none."""
    if not (match := _TIME.fullmatch(text)):
        return float("inf")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _refused(stderr: str) -> ConfigError | ResourceError:
    if "Unable to contact slurm controller" in stderr:
        return _unreachable(stderr)
    return ConfigError(
        "submit.refused", "Slurm refuses the job", reason=_sentence(stderr),
        hint="see what --dry-run prints, and change [submit]",
    )  # fmt: skip


def _unreachable(stderr: str) -> ResourceError:
    return ResourceError(
        "scheduler.unreachable", "Slurm does not answer", reason=_sentence(stderr),
        hint="check with `sinfo` that its controller runs",
    )  # fmt: skip


def _sentence(stderr: str) -> str:
    """Return what a command of Slurm says, without its name before each line."""
    lines = [re.sub(r"^(\w+: )*(error: )?", "", line.strip()) for line in stderr.splitlines()]
    return "; ".join(dict.fromkeys(filter(None, lines)))
