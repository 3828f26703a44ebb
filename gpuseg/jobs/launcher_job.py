"""Which job of a scheduler this process runs in, and how many processes the run has."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from gpuseg.runtime.ranks.environment import rank_environment


@dataclass(frozen=True)
class LauncherJob:
    """The job that has started a run.

    Attributes
    ----------
    launcher : str or None
        None for a run that was started by hand.
    job_id : str or None
        None where the launcher does not tell it.
    size : int
        Number of processes of the run.
    """

    launcher: str | None = None
    job_id: str | None = None
    size: int = 1


def launcher_job(cluster: str, variables: Mapping[str, str] | None = None) -> LauncherJob:
    """Return the job of this process, from the variables of its environment.

    Parameters
    ----------
    cluster : str
        `runtime.cluster` of the job.

    Raises
    ------
    ConfigError
        If the run has several ranks, and no launcher has set the variables of a rank.
    """
    given = os.environ if variables is None else variables
    launcher, size = None, 1
    if cluster == "ranks":
        environment = rank_environment(given)
        launcher, size = environment.launcher, environment.size
    if number := given.get("SLURM_JOB_ID"):
        array, task = given.get("SLURM_ARRAY_JOB_ID"), given.get("SLURM_ARRAY_TASK_ID")
        return LauncherJob("slurm", f"{array}_{task}" if array and task else number, size)
    return LauncherJob(launcher, None, size)
