"""Temporary folders of large files: removed at the end, or by the next job after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import in_turn

from gpuseg.runtime.owned_folder import FOLDER_PREFIX, remove_abandoned
from gpuseg.runtime.temporary_folder import temporary_folder

HOLD = """
import signal
import time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of a shell ignores interrupts
{}
print(flush=True)
time.sleep(60)
"""
HOLDERS = {
    "lines": "from gpuseg.runtime.temporary_folder import temporary_folder\n"
    "held = temporary_folder()\nheld.__enter__()",
    "table": "from gpuseg.io.table_formats.snapshot import Scratch\nheld = Scratch()",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("holder", "sent"), in_turn(HOLDERS, [signal.SIGKILL, signal.SIGINT], step=2)
)
def test_a_folder_goes_with_its_process_or_with_the_next_one(
    tmp_path: Path, holder: str, sent: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(HOLDERS[holder])],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    remove_abandoned(tmp_path, FOLDER_PREFIX)
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(sent)
    process.communicate()
    if sent == signal.SIGKILL:
        remove_abandoned(tmp_path, FOLDER_PREFIX)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_removed_after_an_error() -> None:
    with pytest.raises(KeyError), temporary_folder() as path:
        (Path(path) / "file").touch()
        raise KeyError
    assert not Path(path).exists()
