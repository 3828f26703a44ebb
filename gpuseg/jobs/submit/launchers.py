"""The schedulers that jobs are submitted to, by their names."""

from gpuseg.errors import ConfigError
from gpuseg.jobs.submit.base import JobLauncher
from gpuseg.jobs.submit.kubernetes import KubernetesLauncher
from gpuseg.jobs.submit.local import LocalLauncher
from gpuseg.jobs.submit.slurm import SlurmLauncher
from gpuseg.validation import nearest_known

_LAUNCHERS: dict[str, type[JobLauncher]] = {
    "slurm": SlurmLauncher,
    "kubernetes": KubernetesLauncher,
    "local": LocalLauncher,
}


def launcher_of(name: str, parameter: str = "--to") -> JobLauncher:
    """Return the scheduler of a name; `parameter` is what has the name, for messages.

    Raises
    ------
    ConfigError
    """
    if name not in _LAUNCHERS:
        raise ConfigError(
            "submit.unknown_kind", "jobs cannot be submitted to it", value=name,
            parameter=parameter, hint=nearest_known(name, _LAUNCHERS),
        )  # fmt: skip
    return _LAUNCHERS[name]()
