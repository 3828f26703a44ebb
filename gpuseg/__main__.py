"""The start of the command: a signal ends it without a traceback from its first moment."""

import os
import signal
from contextlib import suppress

from gpuseg.runtime.exit_codes import SIGNALS, code_of_signal, words_of_code


def main() -> None:
    """Run the command line, and end the process."""
    # The imports take most of the start; nothing is there yet that would need cleanup.
    for number in SIGNALS:
        signal.signal(number, _end)
    from gpuseg.cli.app import command

    command()


def _end(number: int, frame: object) -> None:
    code = code_of_signal(number)
    with suppress(OSError):
        os.write(2, words_of_code(code))
    os._exit(code)


if __name__ == "__main__":
    main()
