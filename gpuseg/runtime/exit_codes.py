"""How a command ends that was told to by a signal.

SIGINT (Ctrl-C) gives a run up: nothing of it is left. SIGTERM and SIGUSR2, which schedulers send,
pause a run: the same command goes on from there.
"""

import signal
import sys
from collections.abc import Sequence

INTERRUPTED = 130
"""The exit code of a run that was given up."""

PAUSED = 75
"""The exit code of a run that the same command continues (EX_TEMPFAIL)."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""Those that end a command."""

_COMMANDS_THAT_PAUSE = ("run", "features", "score", "refresh")
_OPTIONS_WITHOUT_OUTPUT = ("--stdin", "--dry-run")

_WORDS = {
    INTERRUPTED: "interrupted\n",
    PAUSED: "paused; the same command goes on from here\n",
}


def code_of_signal(number: int, arguments: Sequence[str] | None = None) -> int:
    """Return the exit code of this command after a signal.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line; by default those of this process.
    """
    command = sys.argv[1:] if arguments is None else arguments
    pauses = bool(command) and command[0] in _COMMANDS_THAT_PAUSE
    if number == signal.SIGINT or not pauses or set(command) & set(_OPTIONS_WITHOUT_OUTPUT):
        return INTERRUPTED
    return PAUSED


def words_of_code(code: int) -> bytes:
    """Return the line that a command prints at the end."""
    return _WORDS[code].encode()
