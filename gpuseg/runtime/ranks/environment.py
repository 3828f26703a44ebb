"""Which of N equal processes this one is, from the environment that its launcher has set."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from gpuseg.errors import ConfigError, set_key
from gpuseg.runtime.executor import available_cpus

_TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")
_MPI = "OMPI_COMM_WORLD_"

_LAUNCHERS: dict[str, tuple[str, str, str, str, str]] = {
    "gpuseg": (
        "GPUSEG_RANK", "GPUSEG_SIZE", "GPUSEG_LOCAL_RANK", "GPUSEG_LOCAL_SIZE", "GPUSEG_ATTEMPT",
    ),
    "torchrun": _TORCH,
    "openmpi": (
        f"{_MPI}RANK", f"{_MPI}SIZE", f"{_MPI}LOCAL_RANK", f"{_MPI}LOCAL_SIZE", "PMIX_NAMESPACE",
    ),
    "mvapich": (
        "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK",
        "MV2_COMM_WORLD_LOCAL_SIZE", "PMI_ID",
    ),
    "kubernetes": ("JOB_COMPLETION_INDEX", "GPUSEG_SIZE", "", "", "GPUSEG_ATTEMPT"),
    "pmi": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "PMI_JOBID"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "", ""),
}  # fmt: skip
"""Variables of rank, size, local rank, local size and attempt, by launcher, in the order in which
they are looked for. A launcher may run inside another one: `torchrun` in a task of Slurm, `mpirun`
in a job of Slurm."""

_RANK = ("GPUSEG_RANK", "JOB_COMPLETION_INDEX")
"""Variables of a rank whose size is `GPUSEG_SIZE`."""

_NODES_OF_A_COUNT = re.compile(r"(\d+)(?:\(x(\d+)\))?")


@dataclass(frozen=True)
class RankEnvironment:
    """A process among those of a run.

    Attributes
    ----------
    rank, size : int
    local_rank : int
        Rank among the processes of this machine.
    local_size : int
        Number of the processes of this machine; 1 if the launcher does not tell.
    attempt : str
        Names this start of the run, the same for all ranks; empty if the launcher does not tell.
    launcher : str
        Such as "slurm".
    """

    rank: int
    size: int
    local_rank: int = 0
    local_size: int = 1
    attempt: str = ""
    launcher: str = "gpuseg"

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which drives the run."""
        return self.rank == 0

    @property
    def is_on_one_machine(self) -> bool:
        """Whether all ranks are known to be on this machine."""
        return self.local_size == self.size

    def describe(self) -> str:
        """Return the name of this process in messages."""
        return f"rank {self.rank} of {self.size} on {socket.gethostname()}"

    def threads(self) -> int:
        """Return the number of threads for the work of this rank: its share of the processors."""
        cpus = available_cpus()
        if self.launcher == "slurm":
            task, node = (
                os.environ.get(f"SLURM_{name}", "") for name in ("CPUS_PER_TASK", "CPUS_ON_NODE")
            )
            if task.isdecimal():
                return max(1, min(int(task), cpus))
            if node.isdecimal():
                return max(1, min(int(node) // self.local_size, cpus))
        return cpus if _is_bound(cpus) else max(1, cpus // self.local_size)


def rank_environment(variables: Mapping[str, str] | None = None) -> RankEnvironment:
    """Return which process this is, from the variables of its environment.

    Raises
    ------
    ConfigError
        If no launcher, or one only in part, has set its variables.
    """
    given = os.environ if variables is None else variables
    for launcher, (rank, size, local_rank, local_size, attempt) in _LAUNCHERS.items():
        if given.get(rank) and given.get(size) and not _is_of_slurm(launcher, given):
            numbers = {name: _number(given, name) for name in (rank, size)}
            environment = RankEnvironment(
                numbers[rank],
                numbers[size],
                _number(given, local_rank) if given.get(local_rank) else 0,
                _local_size(given, local_size, launcher),
                _attempt(given, attempt, launcher),
                launcher,
            )
            _check(environment, rank, size, local_rank)
            return environment
    raise _incomplete(given)


def has_rank(variables: Mapping[str, str] | None = None) -> bool:
    """Whether a launcher has told this process its rank and the number of ranks."""
    given = os.environ if variables is None else variables
    return any(given.get(rank) and given.get(size) for rank, size, *_ in _LAUNCHERS.values())


def _is_of_slurm(launcher: str, given: Mapping[str, str]) -> bool:
    """Whether variables of PMI come from Slurm, which tells the local rank by its own variables."""
    pmi, slurm = ([given.get(name) for name in _LAUNCHERS[each][:2]] for each in ("pmi", "slurm"))
    return launcher == "pmi" and pmi == slurm


def _number(given: Mapping[str, str], name: str) -> int:
    text = given[name].strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise ConfigError(
            "ranks.not_a_number",
            f"the variable {name} of the environment is no number",
            value=given[name],
            hint="start the processes by a launcher, or set GPUSEG_RANK and GPUSEG_SIZE",
        )
    return int(text)


def _local_size(given: Mapping[str, str], name: str, launcher: str) -> int:
    if launcher == "slurm":
        counts = [
            int(count)
            for count, nodes in _NODES_OF_A_COUNT.findall(
                given.get("SLURM_STEP_TASKS_PER_NODE") or given.get("SLURM_TASKS_PER_NODE") or ""
            )
            for _ in range(int(nodes or 1))
        ]
        node = given.get("SLURM_NODEID", "0")
        number = int(node) if node.isdecimal() else 0
        return counts[number] if number < len(counts) else 1
    return max(1, _number(given, name)) if given.get(name) else 1


def _attempt(given: Mapping[str, str], name: str, launcher: str) -> str:
    if launcher == "slurm":
        names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")
        return ".".join(given.get(each, "0") for each in names)
    if launcher == "torchrun":
        return ".".join(given.get(each, "0") for each in (name, "TORCHELASTIC_RESTART_COUNT"))
    return given.get(name, "")


def _check(environment: RankEnvironment, rank: str, size: str, local_rank: str) -> None:
    if environment.rank >= environment.size:
        raise ConfigError(
            "ranks.rank_too_high",
            f"the variable {rank} of the environment is {environment.rank}, and {size} is "
            f"{environment.size}",
            rule="ranks are 0, 1, … up to the number of processes less one",
        )
    if environment.local_rank >= max(environment.local_size, 1) and environment.local_size > 1:
        raise ConfigError(
            "ranks.rank_too_high",
            f"the variable {local_rank} of the environment is {environment.local_rank}, with "
            f"{environment.local_size} processes on this machine",
            rule="ranks are 0, 1, … up to the number of processes less one",
        )


def _incomplete(given: Mapping[str, str]) -> ConfigError:
    half = [
        (given.get(rank) and rank, given.get(size) and size, size if given.get(rank) else rank)
        for rank, size, *_ in _LAUNCHERS.values()
        if given.get(rank) or given.get(size)
    ]
    if half:
        rank, size, missing = half[0]
        return ConfigError(
            "ranks.half_an_environment",
            f"the environment has the variable {rank or size}, but not {missing}",
            value="ranks",
            rule="each process must know its rank and the number of processes",
            hint=f"set {missing}"
            + (", the number of pods (spec.completions)" if rank == _RANK[1] else ""),
            parameter="cluster",
        )
    return ConfigError(
        "ranks.no_environment",
        "this process was not started as one of several",
        value="ranks",
        rule="a launcher must start the same command several times: srun, mpirun, torchrun, an "
        "Indexed Job of Kubernetes, or anything that sets GPUSEG_RANK and GPUSEG_SIZE",
        hint=f"start it so, or {set_key('cluster', 'dask')}",
        parameter="cluster",
    )


def _is_bound(cpus: int) -> bool:
    """Whether the launcher has given this process processors of its own.

    Then the process that has started it, or one before it, may use more of them.
    """
    import psutil

    if not hasattr(os, "sched_getaffinity"):
        return False
    try:
        parents = psutil.Process().parents()[:4]
        return any(len(os.sched_getaffinity(parent.pid)) > cpus for parent in parents)
    except (OSError, psutil.Error):
        return False
