"""The resource tracker of `multiprocessing` is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import gc, os, signal, sys, time
from multiprocessing import get_context, resource_tracker
from gpuseg.runtime.resource_tracker import start_resource_tracker

start_resource_tracker()
context = get_context("spawn")
first, second = context.Lock(), context.Lock()
tracker = resource_tracker._resource_tracker
os.kill(tracker._pid, signal.SIGKILL)
os.waitpid(tracker._pid, 0)
del first  # removed after the loss
third = context.Lock()
print(second._semlock.name, third._semlock.name, flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["orderly", "killed"])
def test_a_killed_tracker_is_replaced_without_a_word(end: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, end], capture_output=True, text=True)
    assert done.stderr == ""
    files = [Path("/dev/shm") / f"sem.{name.lstrip('/')}" for name in done.stdout.split()]
    assert len(files) == 2
    deadline = time.monotonic() + 20
    while any(file.exists() for file in files):  # the new tracker removes them
        assert time.monotonic() < deadline
        time.sleep(0.05)
