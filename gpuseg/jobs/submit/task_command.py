"""The shell commands that a script runs: the job in one task, and what precedes it."""

import shlex
import sys
from collections.abc import Mapping, Sequence

from gpuseg.jobs.schema import SubmitSpec

UNSEEN = 4
"""Exit code of a task that does not see its job file."""

_TASK = (
    'if [ ! -r "$1" ]; then echo "error: $(hostname) does not see $1: the folder of output.path '
    f'must be on a file system that all nodes share" >&2; exit {UNSEEN}; fi; '
)
"""Said by each task for itself: only on its machine is it known."""


def task_command(submit: SubmitSpec, job_file: str) -> str:
    """Return the command of a task; the process becomes Python, so that it gets the signals.

    Parameters
    ----------
    submit : SubmitSpec
    job_file : str
        In the notation of the shell, such as ``"$job_folder"/job.toml``.
    """
    code = f'{_TASK}exec {python_of(submit)} -m gpuseg run "$1"'
    return f"sh -c {shlex.quote(code)} gpuseg {job_file}"


def python_of(submit: SubmitSpec) -> str:
    """Return the interpreter of the tasks, for a script."""
    return shlex.quote(submit.python or sys.executable)


def preparation(environment: Mapping[str, str], setup: Sequence[str]) -> list[str]:
    """Return the lines that set variables, and the user's lines before the job."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    return [*exports, *setup]
