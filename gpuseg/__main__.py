"""The start of the command: Ctrl-C and SIGTERM end it without a traceback from its first moment."""

import os
import signal
from contextlib import suppress

_INTERRUPTED = 130


def main() -> None:
    """Run the command line, and end the process."""
    # The imports take most of the start; nothing is there yet that would need cleanup.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    from gpuseg.cli.app import command

    command()


def _end(number: int, frame: object) -> None:
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
