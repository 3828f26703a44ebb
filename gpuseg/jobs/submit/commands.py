"""Run the commands of schedulers."""

import shutil
import subprocess
from collections.abc import Sequence

from gpuseg.errors import ResourceError

_SECONDS = 60
"""How long a command of a scheduler may take."""


def run_command(
    arguments: Sequence[str], text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of a scheduler with a text as its input; it may fail.

    Raises
    ------
    ResourceError
        If the command is not installed, or takes too long.
    """
    name = arguments[0]
    try:
        return subprocess.run(
            arguments, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False,
            errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise ResourceError(
            "scheduler.no_command", f"there is no {name} here",
            hint="ask on a machine that has the commands of the scheduler",
        ) from None  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ResourceError(
            "scheduler.no_answer", f"{name} has not answered within {_SECONDS} s",
            hint="check that the scheduler runs",
        ) from None  # fmt: skip


def require_commands(names: Sequence[str], hint: str) -> None:
    """Refuse to go on if commands of a scheduler are not installed.

    Raises
    ------
    ResourceError
    """
    for name in names:
        if shutil.which(name) is None:
            raise ResourceError("scheduler.no_command", f"there is no {name} here", hint=hint)
