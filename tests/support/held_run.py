"""A command line whose run stops in a stage until it may go on, for tests that watch it.

``python -m support.held_run STAGE FOLDER ARGUMENTS`` makes the file `held` in the folder, and waits
for the file `go`. The run writes its status many times a second.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gpuseg import progress
from gpuseg.cli.app import command
from gpuseg.jobs import status_writer

SECONDS = 60.0
"""How long a test waits for something that takes a second or two."""


class Holding(progress.Progress):
    """Shows what the run says, but no stage, and waits in a stage."""

    def __init__(self, stage: str, folder: Path) -> None:
        super().__init__()
        self._stage, self._folder = stage, folder

    def log(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def stage(
        self, name: str, total: int | None = None, unit: str = "rows"
    ) -> Iterator[progress.Stage]:
        with super().stage(name, total, unit) as stage:
            if name == self._stage:
                (self._folder / "held").touch()
                wait_for((self._folder / "go").exists)
            yield stage


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    last = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < last
        time.sleep(0.02)


def start_held(stage: str, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start such a command, and wait until its run is in the named stage."""
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "support.held_run", stage, folder, *arguments],
        cwd=tests, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: (folder / "held").exists() or process.poll() is not None)
    return process


def holding_python(stage: str, folder: Path) -> Path:
    """Return a program for `submit.python`, whose runs wait in a stage."""
    path = folder / "python"
    path.write_text(
        f"#!/bin/sh\nshift 2\nexport PYTHONPATH={Path(__file__).parents[1]}\n"
        f'exec {shlex.join([sys.executable, "-m", "support.held_run", stage, str(folder)])} "$@"\n'
    )
    path.chmod(0o700)
    return path


if __name__ == "__main__":
    shown = Holding(sys.argv[1], Path(sys.argv[2]))
    progress.for_standard_error = lambda: shown
    status_writer._SECONDS = 0.05
    sys.argv[1:] = sys.argv[3:]
    command()
