"""What Kubernetes says of a Job, as the state of a job."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpuseg.jobs.submit.base import JobState, State
from gpuseg.jobs.submit.kubernetes_manifest import CONTAINER, JOB_LABEL, RANK_LABEL

Find = Callable[..., list[dict[str, Any]]]
"""Finds objects; see `kubectl.kubectl_items`."""

_UNKNOWN = 4
"""Exit code of a job whose pods are gone: it was out of time, or its nodes were."""

_ORDER: tuple[State, ...] = ("running", "queued", "failed", "cancelled", "unknown", "succeeded")
"""States of the jobs of an array; the first one that a job is in is that of the array."""


def state_of(job: Mapping[str, Any], find: Find) -> JobState:
    """Return the state of a Job.

    Parameters
    ----------
    job : mapping
        The Job.
    find : callable
        Finds its pods, which know the exit code of one that has failed.
    """
    status = job.get("status", {})
    conditions = [each for each in status.get("conditions", []) if each["status"] == "True"]
    by_type = {each["type"]: each for each in conditions}
    if done := by_type.get("Complete") or by_type.get("SuccessCriteriaMet"):
        return JobState("succeeded", 0, done.get("reason", ""))
    if failed := by_type.get("Failed") or by_type.get("FailureTarget"):
        reason = ": ".join(filter(None, (failed.get("reason"), failed.get("message"))))
        return JobState("failed", _exit_code(job, find), reason)
    if status.get("ready"):
        return JobState("running", reason=f"{status['ready']} pods are ready")
    return JobState("queued", reason=f"{status.get('active', 0)} pods are there, none is ready")


def together(states: Sequence[JobState]) -> JobState:
    """Return the state of an array from those of its jobs; "unknown" if there are none."""
    if not states:
        reason = "the cluster has no such job: it was cancelled, or removed after its end"
        return JobState("unknown", reason=reason)
    return min(states, key=lambda each: (_ORDER.index(each.state), -(each.exit_code or 0)))


def _exit_code(job: Mapping[str, Any], find: Find) -> int:
    """Return the exit code with which a rank ended last, rank 0 before the others.

    All ranks of an attempt end with the same, but for those that were ended from outside.
    """
    place, name = job["metadata"]["namespace"], job["metadata"]["name"]
    pods = find("pods", f"--namespace={place}", f"-l{JOB_LABEL}={name}")
    ends = [end for pod in pods for end in _ends(pod)]
    return max(ends)[-1] if ends else _UNKNOWN


def _ends(pod: Mapping[str, Any]) -> Iterator[tuple[bool, str, int]]:
    """Yield whether a pod is rank 0, when its container ended, and the exit code."""
    is_first = pod["metadata"].get("labels", {}).get(RANK_LABEL) == "0"
    for container in pod.get("status", {}).get("containerStatuses", []):
        end = container.get("state", {}).get("terminated")
        if container["name"] == CONTAINER and end and end["exitCode"]:
            yield is_first, end.get("finishedAt", ""), end["exitCode"]
