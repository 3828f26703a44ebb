"""Jobs that cannot be submitted: what [submit] and --array say, and the code of each error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from gpuseg.jobs.submit.launchers import launcher_of
from gpuseg.jobs.submit.prepare import prepare
from support.helpers import customers, job, write_files


class RefusedSubmission(NamedTuple):
    """A job with these sections, submitted to a scheduler."""

    code: str
    parameter: str | None
    sections: dict[str, dict[str, Any]]
    to: str = "slurm"
    array: tuple[str, ...] = ()


_ARRAY = ("segment.n_clusters=2,3",)

REFUSED_SUBMISSIONS: dict[str, RefusedSubmission] = {
    "memory below the forecast": RefusedSubmission(
        "submit.memory_too_low", "submit.memory", {"submit": {"memory": "100MiB"}}
    ),
    "memory below the rows": RefusedSubmission(
        "submit.memory_too_low", "submit.memory",
        {"submit": {"memory": "400MiB"}, "segment": {"algorithm": "dbscan", "eps": 1.0}},
    ),
    "key of Slurm": RefusedSubmission(
        "submit.key_of_other_kind", "submit.partition", {"submit": {"partition": "low"}}, "local"
    ),
    "secret in the script": RefusedSubmission(
        "submit.secret_in_environment", "submit.environment",
        {"submit": {"environment": {"MY_TOKEN": "abc"}}},
    ),
    "fewer tasks than nodes": RefusedSubmission(
        "submit.fewer_tasks_than_nodes", "submit.tasks", {"submit": {"nodes": 3, "tasks": 2}}
    ),
    "cluster of several tasks": RefusedSubmission(
        "submit.cluster_of_several_tasks", "runtime.cluster",
        {"submit": {"tasks": 2}, "runtime": {"cluster": "dask"}},
    ),
    "workers of several tasks": RefusedSubmission(
        "submit.n_workers_of_several_tasks", "runtime.n_workers",
        {"submit": {"tasks": 2}, "runtime": {"n_workers": 2}},
    ),
    "GPUs of several tasks": RefusedSubmission(
        "submit.several_gpus_per_task", "submit.gpus", {"submit": {"tasks": 2, "gpus": 4}}
    ),
    "many tasks here": RefusedSubmission(
        "submit.too_many_tasks_here", "submit.tasks", {"submit": {"tasks": 5000}}, "local"
    ),
    "no image": RefusedSubmission("submit.no_image", "submit.image", {}, "kubernetes"),
    "path that pods do not have": RefusedSubmission(
        "submit.path_not_in_pods", "output.path",
        {
            "input": {"path": "/data/in"},
            "submit": {"image": "gpuseg:1", "memory": "4GiB", "claims": {"shop": "/data"}},
        },
        "kubernetes",
    ),
    "URL of a file that pods do not have": RefusedSubmission(
        "submit.path_not_in_pods", "input.path",
        {"input": {"path": "file:///in"}, "submit": {"image": "gpuseg:1", "memory": "4GiB"}},
        "kubernetes",
    ),
    "key of ids that pods do not have": RefusedSubmission(
        "submit.key_not_in_secrets", "submit.secrets",
        {
            "input": {"path": "/data/in", "id": "customer", "id_hash_key_env": "SHOP_KEY"},
            "submit": {"image": "gpuseg:1", "memory": "4GiB", "claims": {"shop": "/data"}},
        },
        "kubernetes",
    ),
    "no such scheduler": RefusedSubmission("submit.unknown_kind", "--to", {}, "slrum"),
    "array without values": RefusedSubmission("array.malformed", None, {}, array=("segment.k",)),
    "array over outputs": RefusedSubmission("array.key", None, {}, array=("output.path=a,b",)),
    "array with a value twice": RefusedSubmission(
        "array.same_output", None, {}, array=("segment.n_clusters=2,2",)
    ),
    "array with a key twice": RefusedSubmission(
        "array.key_twice", None, {}, array=_ARRAY + _ARRAY
    ),
    "array with a path as a value": RefusedSubmission(
        "array.value", None, {}, array=("segment.init=a/b,c",)
    ),
    "array of too many jobs": RefusedSubmission(
        "array.too_many", None, {}, array=(f"segment.random_state={list(range(1001))}",)
    ),
    "placeholder of no key": RefusedSubmission(
        "array.placeholder", "output.path", {"output": {"path": "out/{eps}"}}, array=_ARRAY
    ),
    "value of an array breaks a rule": RefusedSubmission(
        "job.invalid_value", "segment.n_clusters", {}, array=("segment.n_clusters=2,0",)
    ),
}  # fmt: skip


def submit_refused(folder: Path, case: RefusedSubmission) -> None:
    """Prepare and check the submission of a case; `folder` has rows in `in`."""
    values = job(folder / "in", folder / "out")
    for section, keys in case.sections.items():
        values[section] = keys
    if "output" in case.sections:
        values["output"] = {"path": f"{folder}/{case.sections['output']['path']}"}
    launcher = launcher_of(case.to)
    launcher.check(prepare(values, launcher, array=case.array))


def write_rows(folder: Path) -> None:
    """Write the rows that the jobs name."""
    write_files(folder / "in", [customers(60)])
