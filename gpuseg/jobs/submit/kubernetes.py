"""Submit jobs to Kubernetes by kubectl."""

import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpuseg.errors import hidden
from gpuseg.jobs.submit.base import JobState, Member, Submission
from gpuseg.jobs.submit.kubectl import kubectl, kubectl_items, kubectl_lines, require_kubectl
from gpuseg.jobs.submit.kubernetes_checks import check_pods, has_secrets
from gpuseg.jobs.submit.kubernetes_manifest import (
    CONTAINER,
    JOB_KEY,
    JOB_LABEL,
    RANK_LABEL,
    SUBMISSION_LABEL,
    TOKEN_KEY,
    PodJob,
    public_objects,
    secret_object,
)
from gpuseg.jobs.submit.kubernetes_state import state_of, together
from gpuseg.jobs.submit.toml_text import toml_text
from gpuseg.jobs.submit.yaml_documents import from_yaml, to_yaml

_MAX_NAME = 63
"""Characters of the name of a pod's host: that of the Job, a hyphen and the rank."""

_CREATED = '-o=jsonpath={.metadata.namespace} {.metadata.name} {.metadata.uid}{"\\n"}'

_SECONDS = 2.0
"""Between two looks for the next attempt of a job."""


class KubernetesLauncher:
    """Kubernetes: a Job for each member of a submission.

    The id of a submission is "NAMESPACE.NAME", and that of the member of an array
    "NAMESPACE.NAME_NUMBER".
    """

    name = "kubernetes"
    script_name = "manifest.yaml"
    runs_elsewhere = True
    keys = frozenset(
        (
            *("nodes", "tasks", "cpus", "memory", "time", "gpus", "environment", "restarts"),
            *("image", "namespace", "service_account", "claims", "secrets", "scratch", "grace"),
            *("keep", "pod"),
        )
    )

    def check(self, submission: Submission) -> None:
        """Refuse a job whose pods would not start or would not have its files; look for kubectl.

        Raises
        ------
        ConfigError, ResourceError
        """
        check_pods(submission)
        require_kubectl()

    def render(self, submission: Submission) -> str:
        """Return the manifest, without the Secret; its names are new each time.

        Raises
        ------
        ConfigError
        """
        check_pods(submission)
        jobs = _pod_jobs(submission, _new_name(submission))
        objects = [each for job in jobs for each in public_objects(job)]
        missing = [_missing_secret(job) for job in jobs if job.needs_secret]
        return "".join(missing) + to_yaml(objects)

    def submit(self, submission: Submission, script: Path) -> str:
        """Make the objects of a manifest and the Secrets, and return the id.

        Raises
        ------
        ResourceError
        """
        objects = from_yaml(script.read_text())
        jobs = [each for each in objects if each["kind"] == "Job"]
        others = [each for each in objects if each["kind"] != "Job"]
        name = jobs[0]["metadata"]["labels"][SUBMISSION_LABEL]
        hiding = [job for job in _pod_jobs(submission, name) if job.needs_secret]
        tokens = [secrets.token_hex(32) for _ in hiding]
        others += map(secret_object, hiding, tokens)
        place = _place(submission.submit.namespace)
        with hidden(frozenset(tokens)):
            kubectl("create", "--dry-run=server", *place, "-f", "-", text=to_yaml(others + jobs))
            try:
                namespace = _create(jobs, others, place)
            except BaseException:
                _delete(name, place)
                raise
        return f"{namespace}.{name}"

    def state(self, job_id: str) -> JobState:
        """Return the state of a job, or of all jobs of an array together.

        Raises
        ------
        ResourceError
        """
        place, selector = _selected(job_id)
        jobs = kubectl_items("jobs", *place, selector)
        return together([state_of(job, kubectl_items) for job in jobs])

    def cancel(self, job_id: str) -> None:
        """Delete a job, or all jobs of an array, with all that they own.

        Raises
        ------
        ResourceError
        """
        place, selector = _selected(job_id)
        kubectl("delete", "jobs", *place, selector, "--ignore-not-found", "--wait=false")

    def logs(self, job_id: str, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines that rank 0 has printed in all attempts; follow them until the job ends.

        Raises
        ------
        ResourceError
        """
        place, selector = _selected(job_id)
        options = ["-f"] if follow else []
        shown: set[str] = set()
        while True:
            has_ended = not follow or self.state(job_id).state not in ("queued", "running")
            for pod in _started_pods(place, f"{selector},{RANK_LABEL}=0"):
                if pod not in shown:
                    shown.add(pod)
                    yield from kubectl_lines("logs", *place, pod, "-c", CONTAINER, *options)
            if has_ended:
                return
            time.sleep(_SECONDS)


def _new_name(submission: Submission) -> str:
    """Return a name that no other job has: it starts with a letter, and leaves room for a rank."""
    suffix = f"-{secrets.token_hex(3)}"
    rank = f"-{submission.resources.tasks - 1}"
    number = f"-{len(submission.members) - 1}" * submission.is_array
    words = re.sub(r"[^a-z0-9]+", "-", submission.name.lower())
    readable = re.sub(r"^[^a-z]+", "", words) or "gpuseg"
    room = _MAX_NAME - len(suffix + number + rank)
    return readable[:room].rstrip("-") + suffix


def _pod_jobs(submission: Submission, name: str) -> list[PodJob]:
    def job(number: int, member: Member) -> PodJob:
        return PodJob(
            name=f"{name}-{number}" if submission.is_array else name,
            submission=name,
            text=toml_text(member.values),
            is_secret=has_secrets(member.spec),
            runtime=member.spec.runtime,
            submit=submission.submit,
            resources=submission.resources,
        )

    return [job(number, member) for number, member in enumerate(submission.members)]


def _missing_secret(job: PodJob) -> str:
    """Return a comment for those who apply the manifest themselves."""
    place = f" -n {job.submit.namespace}" if job.submit.namespace else ""
    token = f' --from-literal={TOKEN_KEY}="$(openssl rand -hex 32)"' if job.has_ranks else ""
    file = f" --from-file={JOB_KEY}=JOB.toml" if job.is_secret else ""
    return (
        f"# 'gpuseg submit' makes the Secret {job.name}, too. By hand:\n"
        f"# kubectl create secret generic {job.name}{place}{token}{file}\n"
    )


def _create(
    jobs: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], place: Sequence[str]
) -> str:
    """Make Jobs, and what each of them owns, so that it goes with its Job; return the namespace.

    Pods wait until their Secret and their job file are there.
    """
    printed = kubectl("create", *place, _CREATED, "-f", "-", text=to_yaml(jobs))
    uids, namespace = {}, ""
    for line in printed.splitlines():
        namespace, job, uid = line.split(" ")
        uids[job] = uid
    for each in others:
        each["metadata"]["ownerReferences"] = [_owner(each["metadata"]["name"], uids)]
    kubectl("create", *place, "-f", "-", text=to_yaml(others))
    return namespace


def _owner(name: str, uids: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uids[name],
        "controller": True, "blockOwnerDeletion": False,
    }  # fmt: skip


def _delete(name: str, place: Sequence[str]) -> None:
    """Delete what an attempt to submit has left."""
    kinds = "jobs,services,configmaps,secrets"
    selector = f"-l{SUBMISSION_LABEL}={name}"
    kubectl("delete", kinds, *place, selector, "--ignore-not-found", "--wait=false")


def _started_pods(place: Sequence[str], selector: str) -> list[str]:
    """Return the names of the pods that have printed, or may, the oldest first."""
    pods = [
        (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"])
        for pod in kubectl_items("pods", *place, selector)
        if pod.get("status", {}).get("phase") != "Pending"
    ]
    return [name for _, name in sorted(pods)]


def _place(namespace: str | None) -> list[str]:
    return [f"--namespace={namespace}"] if namespace else []


def _selected(job_id: str) -> tuple[list[str], str]:
    """Return the namespace of a job, and the selector of its Jobs, as arguments."""
    namespace, _, name = job_id.partition(".")
    name, _, number = name.partition("_")
    if number:
        return _place(namespace), f"-l{JOB_LABEL}={name}-{number}"
    return _place(namespace), f"-l{SUBMISSION_LABEL}={name}"
