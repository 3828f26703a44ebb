"""From a job file to a submission: everything that is wrong with it is said before it is queued."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.io.output.run_folder import RunFolder
from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.job_file import load_job
from gpuseg.jobs.job_values import read_job
from gpuseg.jobs.run_sections import output_storage
from gpuseg.jobs.schema import LOCAL_CLUSTERS, RANKS, SubmitSpec
from gpuseg.jobs.submit.arrays import Variant, read_axis, variants
from gpuseg.jobs.submit.base import JobLauncher, Member, Resources, Submission
from gpuseg.jobs.submit.forecast import Forecast, forecast_job
from gpuseg.jobs.submit.registry import state_folder
from gpuseg.redaction import is_secret_name

_CPUS = 4
"""CPUs of a task, where neither [submit] nor [runtime] says how many."""

_NAME_CHARACTERS = re.compile(r"[^A-Za-z0-9]+")


def prepare(
    job: str | Path | Mapping[str, Any],
    launcher: JobLauncher,
    overrides: Sequence[str] = (),
    array: Sequence[str] = (),
) -> Submission:
    """Check a job, or an array of them, and return what is to be queued; nothing is written.

    Parameters
    ----------
    job : path of a TOML file, or a mapping of the same shape
    launcher : JobLauncher
    overrides : of the form ``section.key=value``
    array : of the form ``section.key=value,value``

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    axes = [read_axis(text) for text in array]
    values = read_job(job, overrides)
    made = variants(values, axes)
    specs = [load_job(variant.values) for variant in made]
    submit = specs[0].submit
    _check_keys(submit, launcher)
    resources = _resources(specs, launcher)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
    members = tuple(
        _member(variant, spec, resources, launcher, stamp, number)
        for number, (variant, spec) in enumerate(zip(made, specs, strict=True))
    )
    folder = _array_folder(members, stamp) if axes else members[0].folder
    output = _absolute(str(values["output"]["path"]))
    return Submission(_name_of(output), output, members, submit, resources, folder, Path.cwd())


def _check_keys(submit: SubmitSpec, launcher: JobLauncher) -> None:
    """Refuse keys of other schedulers, and secrets, which would be in the script."""
    if others := sorted(submit.model_fields_set - launcher.keys - {"kind"}):
        raise ConfigError(
            "submit.key_of_other_kind", f"{launcher.name} has no {others[0]}",
            parameter=f"submit.{others[0]}", hint="leave it out",
        )  # fmt: skip
    for name in submit.environment:
        if is_secret_name(name):
            raise ConfigError(
                "submit.secret_in_environment", f"{name} looks like a secret",
                parameter="submit.environment",
                rule="what is here is written into the script",
                hint=(
                    'name its place: secrets = { NAME = "SECRET/KEY" }'
                    if launcher.runs_elsewhere
                    else "export it in the shell that submits: the tasks have its environment"
                ),
            )  # fmt: skip


def _resources(specs: Sequence[JobSpec], launcher: JobLauncher) -> Resources:
    spec = specs[0]
    submit, runtime = spec.submit, spec.runtime
    nodes = submit.nodes or 1
    tasks = submit.tasks or nodes
    _check_tasks(spec, nodes, tasks)
    per_task = (runtime.n_workers or 1) * runtime.threads_per_worker if (
        runtime.threads_per_worker) else None  # fmt: skip
    cpus = submit.cpus or per_task or _CPUS
    forecasts = [_forecast(each, launcher, tasks, cpus) for each in specs]
    known = [each for each in forecasts if each is not None]
    memory = None if submit.memory is None else int(submit.memory)
    if memory is None and known:
        memory = max(each.proposed_memory for each in known)
    if memory is None:
        raise ConfigError(
            "submit.no_forecast", "the input is not on this machine, so that nothing says how "
            "much memory the job needs", parameter="submit.memory", hint='write memory = "8GiB"',
        )  # fmt: skip
    seconds = submit.time
    if seconds is None:
        seconds = max((each.proposed_seconds for each in known), default=0) or 3600
    return Resources(nodes, tasks, cpus, memory, seconds, submit.gpus)


def _check_tasks(spec: JobSpec, nodes: int, tasks: int) -> None:
    submit, cluster = spec.submit, spec.runtime.cluster
    if tasks < nodes:
        raise ConfigError(
            "submit.fewer_tasks_than_nodes", value=tasks, parameter="submit.tasks",
            rule=f"must be at least submit.nodes = {nodes}",
        )  # fmt: skip
    if tasks > 1 and cluster != RANKS and "cluster" in spec.runtime.model_fields_set:
        raise ConfigError(
            "submit.cluster_of_several_tasks", value=cluster, parameter="runtime.cluster",
            rule=f"must be '{RANKS}' for {tasks} tasks, which are its workers",
            hint="leave it out, or submit one task",
        )  # fmt: skip
    if tasks > 1 and spec.runtime.n_workers is not None:
        raise ConfigError(
            "submit.n_workers_of_several_tasks", value=spec.runtime.n_workers,
            parameter="runtime.n_workers", rule="each of several tasks is one worker",
            hint=f"leave it out: submit.tasks = {tasks} says how many there are",
        )  # fmt: skip
    if tasks > 1 and submit.gpus > 1:
        raise ConfigError(
            "submit.several_gpus_per_task", value=submit.gpus, parameter="submit.gpus",
            rule="each of several tasks uses one GPU",
            hint=f"write gpus = 1 and tasks = {tasks * submit.gpus}",
        )  # fmt: skip


def _forecast(spec: JobSpec, launcher: JobLauncher, tasks: int, cpus: int) -> Forecast | None:
    """Return what a job needs; None if its input is elsewhere, where tasks may have it."""
    if not launcher.runs_elsewhere:
        return forecast_job(spec, tasks, cpus)
    try:
        return forecast_job(_without_key_of_ids(spec), tasks, cpus)
    except (DataError, ResourceError):
        if Path(_first_path(spec)).exists():
            raise
        return None


def _without_key_of_ids(spec: JobSpec) -> JobSpec:
    """Return a job that needs no key here: only its tasks have it."""
    section = "input" if spec.transactions is None else "transactions"
    source = spec.source.model_copy(update={"id_hash_key_env": None})
    return spec.model_copy(update={section: source})


def _first_path(spec: JobSpec) -> str:
    path = spec.source.path
    return path if isinstance(path, str) else path[0]


def _member(
    variant: Variant,
    spec: JobSpec,
    resources: Resources,
    launcher: JobLauncher,
    stamp: str,
    number: int,
) -> Member:
    values = {key: value for key, value in variant.values.items() if key != "submit"}
    runtime = {**values.get("runtime", {})}
    if resources.tasks > 1:
        runtime["cluster"] = RANKS
        runtime.setdefault("threads_per_worker", resources.cpus_per_task)
    elif runtime.get("cluster", "local") == "local" and spec.runtime.n_workers is None:
        runtime.setdefault("threads_per_worker", resources.cpus_per_task)
    if runtime.get("cluster", "local") in (*LOCAL_CLUSTERS, RANKS):  # others have limits already
        workers = 1 if resources.tasks > 1 else spec.runtime.n_workers or 1
        runtime.setdefault("memory_limit", resources.memory // workers)
    values["runtime"] = runtime
    target = output_storage(spec)
    beside = RunFolder(target)
    is_here = beside.is_local and not launcher.runs_elsewhere
    folder = Path(beside.path) if is_here else _kept_here(stamp) / str(number)
    output = target.root if target.is_local else spec.output.path
    return Member(values, load_job(values), variant.label, output, folder)


def _array_folder(members: Sequence[Member], stamp: str) -> Path:
    """Return the folder of the script of an array: beside its outputs, where nodes see it too."""
    first = members[0].folder
    if first.is_relative_to(state_folder()):
        return first.parent
    return first.parent / f"._array-{stamp}"


def _kept_here(stamp: str) -> Path:
    """Return a folder for jobs whose output is on no file system of this machine."""
    return state_folder() / "runs" / stamp


def _absolute(output: str) -> str:
    """Return an output as it is from every folder."""
    return output if "://" in output else str(Path(output).absolute())


def _name_of(output: str) -> str:
    """Return a name for lists of jobs, from that of the output."""
    last = output.rstrip("/").rpartition("/")[2]
    return "-".join(["gpuseg", *_NAME_CHARACTERS.sub(" ", last).lower()[:40].split()])
