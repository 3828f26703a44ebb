"""Jobs on Kubernetes: manifests against its schemas, and kubectl against a server with its API."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from support.errors import raises
from support.helpers import call
from support.kubernetes_api import KubernetesApi, kubernetes_api

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.jobs.submit.base import JobState, Submission
from gpuseg.jobs.submit.kubernetes import KubernetesLauncher
from gpuseg.jobs.submit.kubernetes_state import state_of
from gpuseg.jobs.submit.prepare import prepare
from gpuseg.jobs.submit.submit_job import submit_job
from gpuseg.jobs.submit.toml_text import toml_text
from gpuseg.jobs.submit.yaml_documents import from_yaml, to_yaml

VERSIONS = ("1.31", "1.37")

JOB: dict[str, Any] = {
    "input": {"path": "/data/customers", "id": "id", "id_hash_key_env": "SHOP_KEY"},
    "segment": {"n_clusters": 4},
    "output": {"path": "/data/Out_1"},
    "submit": {
        "image": "registry.example/gpuseg:0.1.0",
        "claims": {"customers": "/data"},
        "secrets": {"SHOP_KEY": "shop/id-key"},
        "tasks": 4, "nodes": 2, "cpus": 4, "memory": "8GiB", "time": "2h", "gpus": 1,
        "scratch": "20GiB", "service_account": "batch", "namespace": "shop",
        "environment": {"LEVEL": "1e3", "FLAG": "no"},
        "pod": {"nodeSelector": {"pool": "spot"}, "tolerations": [{"key": "spot"}]},
    },
}  # fmt: skip
"""A job with all keys of Kubernetes."""

SECRET = {"path": "memory://shop/customers", "storage_options": {"secret": "kept to myself"}}
"""The input of a job file with a secret."""

PLAIN: dict[str, Any] = {
    "input": {"path": "/data/customers"},
    "output": {"path": "/data/out"},
    "submit": {"image": "gpuseg:1", "memory": "4GiB", "claims": {"customers": "/data"}},
}
"""A job of one task, with what is needed alone."""


def changed(job: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    """Return a job with other values of keys; None leaves a key out."""
    job = copy.deepcopy(job)
    for section, keys in sections.items():
        for key, value in keys.items():
            job[section][key] = value
            if value is None:
                del job[section][key]
    return job


def submission(job: dict[str, Any], *array: str) -> Submission:
    return prepare(job, KubernetesLauncher(), array=array)


def documents(job: dict[str, Any], *array: str) -> dict[str, list[dict[str, Any]]]:
    """Return the documents of the manifest of a job, by kind."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for each in from_yaml(KubernetesLauncher().render(submission(job, *array))):
        by_kind.setdefault(each["kind"], []).append(each)
    return by_kind


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("job", [JOB, PLAIN], ids=["all keys", "plain"])
def test_manifests_are_valid(job: dict[str, Any], version: str) -> None:
    made = documents(job)
    count = {kind: len(each) for kind, each in made.items()}
    assert count == {"Job": 1, "ConfigMap": 1} | ({"Service": 1} if job is JOB else {})
    for each in chain.from_iterable(made.values()):
        kubernetes_validate.validate(each, version, strict=True)


def test_schemas_find_errors() -> None:
    wrong = documents(JOB)["Job"][0]
    wrong["spec"]["template"]["spec"]["containers"][0]["memory"] = "8Gi"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_pods_may_do_nothing_but_their_work() -> None:
    pod = documents(JOB)["Job"][0]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    for container in [*pod["containers"], *pod["initContainers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        writable = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert writable <= {"/scratch", "/var/cache/gpuseg", "/data", "/etc/gpuseg"}


def test_pods_get_what_the_job_asks_for() -> None:
    job = documents(JOB)["Job"][0]["spec"]
    pod = job["template"]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 4, 4)
    assert job["activeDeadlineSeconds"] == 7200
    resources = pod["containers"][0]["resources"]
    memory, disk = str(8 * 2**30), str(20 * 2**30)
    assert resources["requests"] == {"cpu": "4", "memory": memory, "ephemeral-storage": disk}
    assert resources["limits"] == {
        "memory": memory, "ephemeral-storage": disk, "nvidia.com/gpu": "1",
    }  # fmt: skip
    assert pod["topologySpreadConstraints"][0]["minDomains"] == 2
    assert pod["serviceAccountName"] == "batch"
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"pool": "spot"}, [{"key": "spot"}])
    environment = {each["name"]: each for each in pod["containers"][0]["env"]}
    assert environment["LEVEL"]["value"] == "1e3"
    assert environment["SHOP_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "shop", "key": "id-key"}


def test_exit_codes_say_whether_a_job_goes_on() -> None:
    job = documents(JOB)["Job"][0]["spec"]
    rules = job["podFailurePolicy"]["rules"]
    assert [(rule["action"], rule.get("onExitCodes", {}).get("values")) for rule in rules] == [
        ("Ignore", None), ("Ignore", [75]), ("FailJob", [2, 3, 5]),
    ]  # fmt: skip
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert job["backoffLimit"] == 20 * 4, "the pods of all ranks fail in each attempt"
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_ranks_meet_at_the_name_of_the_first_pod() -> None:
    made = documents(JOB)
    job, service = made["Job"][0], made["Service"][0]
    pod = job["spec"]["template"]
    name = service["metadata"]["name"]
    assert pod["spec"]["subdomain"] == name
    assert (
        f'--set=runtime.address="{name}-0.{name}:8786"' in pod["spec"]["containers"][0]["command"]
    )
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    assert len(f"{name}-3") <= 63


def test_names_are_new_and_fit() -> None:
    job = changed(PLAIN, output={"path": f"/data/{'9' * 200}"}, submit={"tasks": 10_000})
    names = {documents(job)["Job"][0]["metadata"]["name"] for _ in range(2)}
    assert len(names) == 2
    assert all(len(f"{name}-9999") <= 63 and name[0].isalpha() for name in names)


def test_jobs_of_an_array_are_jobs_of_one_submission() -> None:
    jobs = documents(JOB, "segment.n_clusters=4,8")["Job"]
    names = [each["metadata"]["name"] for each in jobs]
    labels = [each["metadata"]["labels"]["app.kubernetes.io/part-of"] for each in jobs]
    assert names == [f"{labels[0]}-0", f"{labels[0]}-1"]
    assert labels[0] == labels[1]


def test_manifest_has_no_secrets() -> None:
    job = changed(PLAIN, input=SECRET)
    text = KubernetesLauncher().render(submission(job))
    assert "kept to myself" not in text
    assert "ConfigMap" not in text
    pod = from_yaml(text)[0]["spec"]["template"]["spec"]
    assert pod["volumes"][0]["secret"]["items"] == [{"key": "job.toml", "path": "job.toml"}]


def test_yaml_of_texts_that_look_like_something_else() -> None:
    texts = ["no", "1e3", "0o17", "1_000", "12:30", "~", "", " a", "a: b", "é\u2028\x85\x7f",
             "a\nb\n", "a \nb", "-", "2026-01-01", "0x1F", "=", "<<", "*a", "!a"]  # fmt: skip
    assert from_yaml(to_yaml([{"texts": texts}])) == [{"texts": texts}]
    assert '"1e3"' in to_yaml([{"text": "1e3"}]), "newer versions of YAML read a number"


@pytest.mark.parametrize("path", ["/data/../out", "/database/out", "out"])
def test_paths_that_pods_do_not_have(path: str) -> None:
    with raises("submit.path_not_in_pods", ConfigError, parameter="output.path", value=path):
        KubernetesLauncher().render(submission(changed(JOB, output={"path": path})))


def test_no_kubectl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with raises("scheduler.no_command", ResourceError):
        KubernetesLauncher().check(submission(JOB))


def needs_kubectl(test: Callable[..., None]) -> Callable[..., None]:
    """Skip a test where there is no kubectl; its calls take a second."""
    skip = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
    marked: Callable[..., None] = pytest.mark.slow(skip(test))
    return marked


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """A server with the API of Kubernetes, to which kubectl is directed."""
    with kubernetes_api() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.write_config(tmp_path)))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        yield server


@needs_kubectl
def test_submit_and_cancel(api: KubernetesApi) -> None:
    launcher = KubernetesLauncher()
    record = submit_job(submission(JOB), launcher)
    assert record.job_id.startswith("shop.gpuseg-out-1-")
    (job,), (secret,) = api.of_kind("jobs"), api.of_kind("secrets")
    assert len(secret["stringData"]["token"]) == 64
    for kind in ("services", "configmaps", "secrets"):
        (owner,) = api.of_kind(kind)[0]["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["name"]) == (job["metadata"]["uid"], job["metadata"]["name"])
    assert secret["stringData"]["token"] not in (Path(record.folder) / "manifest.yaml").read_text()
    assert launcher.state(record.job_id).state == "queued"
    launcher.cancel(record.job_id)
    assert api.objects == {}
    assert launcher.state(record.job_id).state == "unknown"
    launcher.cancel(record.job_id)


@needs_kubectl
def test_namespace_is_the_one_of_the_user_if_none_is_given(api: KubernetesApi) -> None:
    job = changed(PLAIN, input=SECRET)
    record = submit_job(submission(job), KubernetesLauncher())
    assert record.job_id.startswith("shop.")
    (secret,) = api.of_kind("secrets")
    assert "kept to myself" in secret["stringData"]["job.toml"]


@needs_kubectl
def test_nothing_is_left_of_a_job_that_is_refused(api: KubernetesApi) -> None:
    api.refused_kind = "secrets"
    with raises("submit.kubectl_failed", ResourceError) as caught:
        submit_job(submission(JOB), KubernetesLauncher())
    assert "exceeded quota" in str(caught.value)
    assert api.objects == {}


STATES: dict[str, tuple[dict[str, Any], JobState]] = {
    "no status": ({}, JobState("queued", reason="0 pods are there, none is ready")),
    "pending": ({"active": 4}, JobState("queued", reason="4 pods are there, none is ready")),
    "running": ({"active": 4, "ready": 3}, JobState("running", reason="3 pods are ready")),
    "succeeded": (
        {"conditions": [{"type": "Complete", "status": "True", "reason": "SuccessPolicy"}]},
        JobState("succeeded", 0, "SuccessPolicy"),
    ),
    "failed": (
        {"conditions": [{"type": "Complete", "status": "False"},
                        {"type": "Failed", "status": "True", "reason": "PodFailurePolicy",
                         "message": "exit code 3"}]},
        JobState("failed", 3, "PodFailurePolicy: exit code 3"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_states(name: str) -> None:
    status, expected = STATES[name]
    pods = [ended_pod("job", rank, code) for rank, code in enumerate([3, 143])]
    job = {"metadata": {"name": "job", "namespace": "shop"}, "status": status}
    assert state_of(job, lambda *_: pods) == expected


def test_a_job_whose_pods_are_gone_has_failed() -> None:
    job = {"metadata": {"name": "job", "namespace": "shop"}, "status": STATES["failed"][0]}
    assert state_of(job, lambda *_: []).exit_code == 4


@needs_kubectl
def test_an_array_is_in_the_state_of_its_jobs(api: KubernetesApi) -> None:
    launcher = KubernetesLauncher()
    record = submit_job(submission(JOB, "segment.n_clusters=4,8"), launcher)
    first, second = api.of_kind("jobs")
    first["status"] = STATES["succeeded"][0]
    assert launcher.state(f"{record.job_id}_0").state == "succeeded"
    assert launcher.state(record.job_id).state == "queued"
    second["status"] = STATES["failed"][0]
    assert launcher.state(record.job_id).state == "failed"
    launcher.cancel(f"{record.job_id}_1")
    assert launcher.state(record.job_id).state == "succeeded"


@needs_kubectl
def test_commands(api: KubernetesApi, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.toml"
    file.write_text(toml_text(JOB))
    dry = call(capfd, "submit", file, "--to", "kubernetes", "--dry-run")
    assert from_yaml(dry.out)[-1]["kind"] == "Job"
    assert api.objects == {}
    job_id = call(capfd, "submit", file, "--to", "kubernetes").out.strip()
    assert "queued" in call(capfd, "status", job_id).out
    again = call(capfd, "submit", file, "--to", "kubernetes")
    assert (again.code, again.out) == (2, "")
    (job,) = api.of_kind("jobs")
    job["status"] = STATES["failed"][0]
    for attempt, rank, code in (1, 0, 4), (1, 1, 4), (2, 0, 3), (2, 1, 3):
        pod = ended_pod(job["metadata"]["name"], rank, code, attempt)
        api.objects["pods", "shop", pod["metadata"]["name"]] = pod
        api.logs[pod["metadata"]["name"]] = f"rank {rank}, attempt {attempt}\n"
    log = "rank 0, attempt 1\nrank 0, attempt 2\n"
    assert call(capfd, "logs", job_id) == (0, log, "")
    assert call(capfd, "logs", "-f", job_id) == (3, log, "")
    assert "exit code 3" in call(capfd, "status", job_id).out


@needs_kubectl
def test_cancel(api: KubernetesApi, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.toml"
    file.write_text(toml_text(JOB))
    job_id = call(capfd, "submit", file, "--to", "kubernetes").out.strip()
    assert call(capfd, "cancel", job_id).code == 0
    assert api.objects == {}
    assert call(capfd, "cancel", job_id).code == 3


def ended_pod(job: str, rank: int, exit_code: int, attempt: int = 1) -> dict[str, Any]:
    """Return a pod of a Job that has ended."""
    name = f"{job}-{rank}-{'zyx'[attempt]}"  # the controller draws the last part
    labels = {"app.kubernetes.io/instance": job, "app.kubernetes.io/part-of": job,
              "batch.kubernetes.io/job-completion-index": str(rank)}  # fmt: skip
    end = {"exitCode": exit_code, "finishedAt": f"2026-01-01T00:0{attempt}:0{rank}Z"}
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": labels, "uid": name,
                     "creationTimestamp": f"2026-01-01T00:0{attempt}:00Z"},
        "spec": {"containers": [{"name": "gpuseg"}]},
        "status": {"containerStatuses": [{"name": "gpuseg", "state": {"terminated": end}}],
                   "phase": "Failed"},
    }  # fmt: skip
