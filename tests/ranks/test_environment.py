"""Each launcher tells a process its rank in its own way."""

from __future__ import annotations

import pytest

from gpuseg.errors import ConfigError
from gpuseg.runtime.ranks.environment import RankEnvironment, has_rank, rank_environment

KNOWN = {
    "given": (
        {"GPUSEG_RANK": "1", "GPUSEG_SIZE": "3", "GPUSEG_ATTEMPT": "b"},
        RankEnvironment(1, 3, 0, 1, "b", "gpuseg"),
    ),
    "torchrun in a task of Slurm": (
        {
            "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
            "TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_RESTART_COUNT": "2", "SLURM_PROCID": "1",
            "SLURM_NTASKS": "2",
        },
        RankEnvironment(5, 8, 1, 4, "x.2", "torchrun"),
    ),
    "mpirun in a job of Slurm": (
        {
            "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4",
            "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
            "PMIX_NAMESPACE": "n1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4",
        },
        RankEnvironment(3, 4, 1, 2, "n1", "openmpi"),
    ),
    "MPICH": (
        {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"},
        RankEnvironment(1, 2, 1, 2, "", "pmi"),
    ),
    "srun": (
        {
            "SLURM_PROCID": "4", "SLURM_NTASKS": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "2",
            "SLURM_STEP_TASKS_PER_NODE": "1(x2),3", "SLURM_JOB_ID": "7",
            "SLURM_RESTART_COUNT": "1", "SLURM_STEP_ID": "0",
        },
        RankEnvironment(4, 5, 1, 3, "7.1.0", "slurm"),
    ),
    "srun with its own PMI": (
        {
            "PMI_RANK": "1", "PMI_SIZE": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "2",
            "SLURM_LOCALID": "1", "SLURM_TASKS_PER_NODE": "2", "SLURM_JOB_ID": "7",
        },
        RankEnvironment(1, 2, 1, 2, "7.0.0", "slurm"),
    ),
    "Indexed Job": (
        {"JOB_COMPLETION_INDEX": "2", "GPUSEG_SIZE": "4"},
        RankEnvironment(2, 4, 0, 1, "", "kubernetes"),
    ),
}  # fmt: skip

WRONG = {
    "nothing": ({}, "ranks.no_environment"),
    "no size": ({"RANK": "0"}, "ranks.half_an_environment"),
    "pods without their number": ({"JOB_COMPLETION_INDEX": "0"}, "ranks.half_an_environment"),
    "text": ({"RANK": "zero", "WORLD_SIZE": "2"}, "ranks.not_a_number"),
    "rank beyond the size": ({"RANK": "2", "WORLD_SIZE": "2"}, "ranks.rank_too_high"),
    "local rank beyond the local size": (
        {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "2"},
        "ranks.rank_too_high",
    ),
}


@pytest.mark.parametrize("case", KNOWN)
def test_rank_is_that_of_the_launcher(case: str) -> None:
    variables, expected = KNOWN[case]
    assert rank_environment(variables) == expected
    assert has_rank(variables)


@pytest.mark.parametrize("case", WRONG)
def test_incomplete_environments_are_refused(case: str) -> None:
    variables, code = WRONG[case]
    with pytest.raises(ConfigError) as raised:
        rank_environment(variables)
    assert raised.value.code == code


def test_threads_are_those_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = RankEnvironment(0, 2, 0, 2, "", "slurm")
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    assert environment.threads() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert environment.threads() == 1
