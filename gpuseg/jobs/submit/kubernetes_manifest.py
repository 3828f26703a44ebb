"""The objects of Kubernetes that run a job: an Indexed Job, and what its pods need.

A pod is a rank. Pods find the pod of rank 0 by its name in the headless Service, and prove by a
token that they belong to the job.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpuseg.jobs.schema import RuntimeSpec, SubmitSpec
from gpuseg.jobs.submit.base import Resources

TOKEN_VARIABLE = "GPUSEG_RANKS_SECRET"
"""Variable of a rank's environment with the secret that all ranks know."""

TOKEN_KEY, JOB_KEY = "token", "job.toml"
"""Keys of the Secret, and of the ConfigMap."""

CONTAINER = "gpuseg"
"""Name of the container of a pod."""

USER = 10001
"""The user of the image; see the Dockerfile."""

PORT = 8786
"""Port of rank 0: each pod has an address of its own."""

_JOB_FOLDER, _SCRATCH, _KERNELS = "/etc/gpuseg", "/scratch", "/var/cache/gpuseg"
KERNELS_OF_IMAGE = "/opt/gpuseg/kernels"

_SECONDS_TO_START = 900
"""How long ranks wait for each other: a node may have to be started, and to pull the image."""

_CONFIG, _DATA, _PAUSED, _DRIFT = 2, 3, 75, 5
"""Exit codes: the job is wrong, the data are, the job goes on when it is started again, and the
data have drifted."""

JOB_LABEL, SUBMISSION_LABEL = "app.kubernetes.io/instance", "app.kubernetes.io/part-of"
"""Labels of all objects with the name of their Job, and of the submission, which may have many."""

RANK_LABEL = "batch.kubernetes.io/job-completion-index"
"""Label of a pod that Kubernetes adds."""

_LABELS = {"app.kubernetes.io/name": "gpuseg", "app.kubernetes.io/managed-by": "gpuseg"}


@dataclass(frozen=True)
class PodJob:
    """A job as Kubernetes sees it.

    Attributes
    ----------
    name : str
        Of the Job, the Service, the ConfigMap and the Secret.
    submission : str
        Name of the submission: that of the job, or of its array.
    text : str
        The job file.
    is_secret : bool
        Whether the job file has secrets, so that the Secret has it and not the ConfigMap.
    runtime : RuntimeSpec
    submit : SubmitSpec
    resources : Resources
    """

    name: str
    submission: str
    text: str
    is_secret: bool
    runtime: RuntimeSpec
    submit: SubmitSpec
    resources: Resources

    @property
    def has_ranks(self) -> bool:
        """Whether several pods find one another."""
        return self.resources.tasks > 1

    @property
    def needs_secret(self) -> bool:
        """Whether the job has something to hide."""
        return self.has_ranks or self.is_secret

    @property
    def address(self) -> str:
        """Where rank 0 can be reached: the first pod of the Job, in its Service."""
        return f"{self.name}-0.{self.name}:{PORT}"


def public_objects(job: PodJob) -> list[dict[str, Any]]:
    """Return the objects without secrets, in the order in which they are made."""
    objects = [_object(job, "v1", "Service", _service(job))] if job.has_ranks else []
    if not job.is_secret:
        objects.append(_object(job, "v1", "ConfigMap", {"data": {JOB_KEY: job.text}}))
    objects.append(_object(job, "batch/v1", "Job", {"spec": _job(job)}))
    return objects


def secret_object(job: PodJob, token: str) -> dict[str, Any]:
    """Return the Secret: the token of the ranks, and the job file if it has secrets.

    Parameters
    ----------
    token : str
        Text that nobody can guess.
    """
    texts = {TOKEN_KEY: token} if job.has_ranks else {}
    if job.is_secret:
        texts[JOB_KEY] = job.text
    return _object(job, "v1", "Secret", {"type": "Opaque", "stringData": texts})


def _object(job: PodJob, version: str, kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    place = {"namespace": job.submit.namespace} if job.submit.namespace else {}
    metadata = {"name": job.name, **place, "labels": _labels(job)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _labels(job: PodJob) -> dict[str, str]:
    return {**_LABELS, JOB_LABEL: job.name, SUBMISSION_LABEL: job.submission}


def _service(job: PodJob) -> dict[str, Any]:
    """Return the Service that gives each pod a name; ranks are found before all are ready."""
    return {
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {JOB_LABEL: job.name},
            "ports": [{"name": "ranks", "port": PORT}],
        }
    }


def _job(job: PodJob) -> dict[str, Any]:
    tasks, submit = job.resources.tasks, job.submit
    return {
        "completionMode": "Indexed",
        "completions": tasks,
        "parallelism": tasks,
        # All ranks of an attempt end together, and each of their pods counts.
        "backoffLimit": submit.restarts * tasks,
        "podFailurePolicy": {"rules": _failure_rules()},
        # Rank 0 ends last but for ranks that were started again and have nothing left to do.
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
        "activeDeadlineSeconds": job.resources.seconds,
        "ttlSecondsAfterFinished": submit.keep,
        "template": {"metadata": {"labels": _labels(job)}, "spec": _merged(_pod(job), submit.pod)},
    }


def _failure_rules() -> list[dict[str, Any]]:
    """Return what the failure of a pod means; the first rule that fits decides.

    Other failures count: the pod is started again until too many have failed.
    """

    def exit_codes(action: str, *codes: int) -> dict[str, Any]:
        which = {"containerName": CONTAINER, "operator": "In", "values": [*codes]}
        return {"action": action, "onExitCodes": which}

    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    return [
        {"action": "Ignore", "onPodConditions": disrupted},
        exit_codes("Ignore", _PAUSED),
        exit_codes("FailJob", _CONFIG, _DATA, _DRIFT),
    ]


def _pod(job: PodJob) -> dict[str, Any]:
    submit = job.submit
    account = {"serviceAccountName": submit.service_account} if submit.service_account else {}
    return {
        "restartPolicy": "Never",
        **({"subdomain": job.name} if job.has_ranks else {}),
        **account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": submit.grace,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_spread(job),
        "initContainers": [_copy_kernels(job)],
        "containers": [_container(job)],
        "volumes": [*_volumes(job)],
    }


def _spread(job: PodJob) -> dict[str, Any]:
    """Return the rule that pods are on as many nodes as the job names."""
    if job.submit.nodes is None or job.submit.nodes == 1:
        return {}
    rule = {
        "maxSkew": 1,
        "minDomains": job.submit.nodes,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {JOB_LABEL: job.name}},
    }
    return {"topologySpreadConstraints": [rule]}


def _copy_kernels(job: PodJob) -> dict[str, Any]:
    """Return the container that copies the image's compiled kernels to where others can be added.

    The root file system is read-only, and numba reads no folder that it cannot write to.
    """
    copy = f"if [ -d {KERNELS_OF_IMAGE} ]; then cp -R {KERNELS_OF_IMAGE}/. {_KERNELS}/; fi"
    return {
        "name": "kernels",
        "image": job.submit.image,
        "command": ["sh", "-c", copy],
        "resources": _quantities("100m", "128Mi"),
        "securityContext": _hardened(),
        "volumeMounts": [{"name": "kernels", "mountPath": _KERNELS}],
    }


def _container(job: PodJob) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": job.submit.image,
        "command": command(job),
        "env": [*_environment(job)],
        "resources": _resources(job),
        "securityContext": _hardened(),
        "volumeMounts": [*_mounts(job)],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def command(job: PodJob) -> list[str]:
    """Return the command line of each rank.

    A process sees all processors of the node, and not the share of its pod.
    """
    keys: dict[str, Any] = {}
    if job.has_ranks:
        keys["rendezvous"], keys["address"] = "address", job.address
        keys["start_timeout"] = _SECONDS_TO_START
        if job.runtime.threads_per_worker is None:
            keys["threads_per_worker"] = job.resources.cpus_per_task
    sets = [f"--set=runtime.{key}={json.dumps(value)}" for key, value in keys.items()]
    return ["gpuseg", "run", f"{_JOB_FOLDER}/{JOB_KEY}", *sets]


def _environment(job: PodJob) -> Iterator[dict[str, Any]]:
    """Yield the variables; Kubernetes adds JOB_COMPLETION_INDEX, the rank."""
    values = {
        **({"GPUSEG_SIZE": str(job.resources.tasks)} if job.has_ranks else {}),
        "HOME": _SCRATCH,
        "TMPDIR": _SCRATCH,
        "NUMBA_CACHE_DIR": _KERNELS,
        "PYTHONUNBUFFERED": "1",
        **job.submit.environment,
    }
    yield from ({"name": name, "value": value} for name, value in values.items())
    token = {TOKEN_VARIABLE: f"{job.name}/{TOKEN_KEY}"} if job.has_ranks else {}
    secrets = {**token, **job.submit.secrets}
    for name, place in secrets.items():
        secret, _, key = place.partition("/")
        yield {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _resources(job: PodJob) -> dict[str, Any]:
    """Return requests and limits: a pod beyond its memory is ended, one beyond its CPUs is not."""
    need = job.resources
    resources = _quantities(str(need.cpus_per_task), str(need.memory))
    if need.gpus_per_task:
        resources["limits"]["nvidia.com/gpu"] = str(need.gpus_per_task)
    if job.submit.scratch is not None:
        for quantities in resources.values():
            quantities["ephemeral-storage"] = str(int(job.submit.scratch))
    return resources


def _quantities(cpu: str, memory: str) -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def _hardened() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _mounts(job: PodJob) -> Iterator[dict[str, Any]]:
    yield {"name": "job", "mountPath": _JOB_FOLDER, "readOnly": True}
    yield {"name": "scratch", "mountPath": _SCRATCH}
    yield {"name": "kernels", "mountPath": _KERNELS}
    for number, folder in enumerate(job.submit.claims.values()):
        yield {"name": f"claim-{number}", "mountPath": folder}


def _volumes(job: PodJob) -> Iterator[dict[str, Any]]:
    items = [{"key": JOB_KEY, "path": JOB_KEY}]
    if job.is_secret:
        secret = {"secretName": job.name, "defaultMode": 0o440, "items": items}
        yield {"name": "job", "secret": secret}
    else:
        yield {"name": "job", "configMap": {"name": job.name, "items": items}}
    limit = {"sizeLimit": str(int(job.submit.scratch))} if job.submit.scratch is not None else {}
    yield {"name": "scratch", "emptyDir": limit}
    yield {"name": "kernels", "emptyDir": {}}
    for number, claim in enumerate(job.submit.claims):
        yield {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}


def _merged(object_: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the changes of a JSON merge patch; tables are merged, not lists."""
    merged = dict(object_)
    for key, value in patch.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            value = _merged(old, value)
        merged[key] = value
    return merged
