"""A signal ends the process even where the main thread never sees it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SCRIPT = """
import subprocess, sys, time
from pathlib import Path
from gpuseg.runtime import forced_end
from gpuseg.runtime.forced_end import force_end_after_signals, remove_if_forced
from gpuseg.runtime.interrupts import Signals

forced_end._GRACE_SECONDS = 1.0
Signals()
force_end_after_signals()
folder = Path(sys.argv[1])
(folder / "stays").touch()
(folder / "goes").touch()
remove_if_forced((folder / "stays").unlink)()
remove_if_forced((folder / "goes").unlink)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
"""

SWALLOWED = """
print(child.pid, flush=True)
while True:
    try:
        time.sleep(100)
    except BaseException:
        pass
"""

IN_C = """
import hashlib
print(child.pid, flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


@pytest.mark.slow
def test_the_process_ends_and_leaves_nothing(tmp_path: Path) -> None:
    """Processes of both kinds wait for their end at the same time."""
    started = []
    for number, work in enumerate((SWALLOWED, IN_C)):
        folder = tmp_path / str(number)
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT + work, str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append((process, folder))
    children = []
    for process, _ in started:
        assert process.stdout is not None
        children.append(psutil.Process(int(process.stdout.readline())))
    time.sleep(0.2)
    for process, _ in started:
        process.send_signal(signal.SIGTERM)
    for process, folder in started:
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (130, "interrupted\n")
        assert [path.name for path in folder.iterdir()] == ["stays"]
    deadline = time.monotonic() + 20
    for child in children:
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
