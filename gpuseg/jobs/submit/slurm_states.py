"""What Slurm says of a job, in the words of gpuseg."""

import re
from collections.abc import Sequence

from gpuseg.jobs.submit.base import JobState, State, ended_with

_FIELD = re.compile(r"\b(JobState|Reason|ExitCode|Requeue)=(\S+)")

_STATES: dict[str, State] = {
    **dict.fromkeys(
        ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"),
        "queued",
    ),
    **dict.fromkeys(
        ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "SIGNALING", "RESIZING"),
        "running",
    ),
    "COMPLETED": "succeeded",
    "CANCELLED": "cancelled",
}  # fmt: skip
"""All others are ends without success: FAILED, TIMEOUT, NODE_FAIL, OUT_OF_MEMORY, PREEMPTED, …"""

_IN_WORDS = {
    "NODE_FAIL": "a node of the job was lost; submitted again, the job goes on",
    "JobLaunchFailure": "its first node was lost; submitted again, the job goes on",
    "TIMEOUT": "its time limit was reached; submitted again, the job goes on",
    "PREEMPTED": "another job took its nodes; submitted again, the job goes on",
    "OUT_OF_MEMORY": "it used more memory than it asked for: use more submit.memory or tasks",
}
"""Ends that the log of the job cannot explain, by Slurm's state or reason."""

_QUEUED_AGAIN = ("PREEMPTED", "NODE_FAIL")
"""Ends that Slurm follows by another start of the job, if it may be queued again."""

_NO_LOG_FILE = 53
"""Slurm's "signal" of a job whose standard output it could not open on its node."""

_RESOURCES = 4
"""Exit code for an end without one: by a signal, a limit, or the loss of a node."""


def of_scontrol(line: str) -> JobState:
    """Return the state in a line of ``scontrol show job --oneliner``."""
    fields = dict(_FIELD.findall(line))
    name, reason = fields.get("JobState", ""), fields.get("Reason", "")
    if name in _QUEUED_AGAIN and fields.get("Requeue") == "1":
        return JobState("queued", None, f"{name}, queued again")
    return _state(name, fields.get("ExitCode", ""), reason)


def of_sacct(line: str) -> JobState:
    """Return the state in a line of ``sacct -P -o State,ExitCode,Reason``."""
    name, code, reason, *_ = [*line.split("|"), "", "", ""]
    return _state(name, code, reason)


def merged(states: Sequence[JobState]) -> JobState:
    """Return the state of an array from those of its jobs; "unknown" without any."""
    if not states:
        return JobState("unknown")
    for state in ("running", "queued"):
        if any(each.state == state for each in states):
            return next(each for each in states if each.state == state)
    return max(states, key=lambda each: (each.exit_code or 0, each.state != "succeeded"))


def _state(name: str, exit_code: str, reason: str) -> JobState:
    name = name.split()[0].rstrip("+") if name else ""  # as in "CANCELLED by 0"
    state = _STATES.get(name, "failed" if name else "unknown")
    text = name if reason in ("", "None") else f"{name} ({reason})"
    if words := _IN_WORDS.get(name, _IN_WORDS.get(reason)):
        text = f"{text}: {words}"
    code, _, signal = exit_code.partition(":")
    if state == "succeeded":
        return JobState(state, 0, text)
    if state not in ("failed", "cancelled"):
        return JobState(state, None, text)
    if signal == str(_NO_LOG_FILE):
        text = (
            f"{name}: Slurm could not open the log on the node; the folder of output.path must be "
            "on a file system that all nodes share"
        )
    if state == "cancelled":
        return JobState(state, 130, text)
    has_code = name == "FAILED" and code.isdigit() and int(code) > 0
    if has_code:
        return JobState(ended_with(int(code)), int(code), text)
    return JobState(state, _RESOURCES, text)
