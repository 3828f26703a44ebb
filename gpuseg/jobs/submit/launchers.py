"""The schedulers that jobs are submitted to, by their names."""

from gpuseg.jobs.submit.base import JobLauncher

LAUNCHERS = ("slurm", "kubernetes", "local")
"""Names of the schedulers; those of `submit.kind`."""


def launcher_of(name: str) -> JobLauncher:
    """Return the scheduler of a name of `LAUNCHERS`."""
    raise NotImplementedError(name)
