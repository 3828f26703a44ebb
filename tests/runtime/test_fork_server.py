"""Workers that gpuseg starts are forked from a process that has imported what they need."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gpuseg.jobs.context import WORKER_MODULES
from gpuseg.runtime.cluster import ClusterSpec, open_executor, prepare_workers
from gpuseg.runtime.executor import TaskContext
from gpuseg.runtime.fork_server import CAN_FORK

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="workers are not forked on this system")


class Process(NamedTuple):
    """A worker's process."""

    pid: int
    parent: int
    modules: frozenset[str]
    environment: dict[str, str]


def process_of(shard: Any, context: TaskContext) -> Process:
    return Process(os.getpid(), os.getppid(), frozenset(sys.modules), dict(os.environ))


def load(plan: int, context: TaskContext) -> int:
    return plan


def workers() -> list[Process]:
    """Start two workers; return their processes."""
    spec = ClusterSpec("dask", 2, 1, None)
    prepare_workers(spec, WORKER_MODULES)
    with open_executor(spec, lambda rows: None, lambda text: None) as executor:
        executor.load(load, [0, 1])
        return executor.map(process_of)


def test_workers_are_forked_from_a_process_with_their_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = workers()
    monkeypatch.setenv("GPUSEG_TEST_VARIABLE", "set after the start of the server")
    second = workers()
    processes = first + second
    assert len({process.pid for process in processes}) == 4
    (server,) = {process.parent for process in processes}
    assert server != os.getpid()
    assert all(process.modules.issuperset(WORKER_MODULES) for process in processes)
    assert all("GPUSEG_TEST_VARIABLE" in process.environment for process in second)
    assert not any("GPUSEG_TEST_VARIABLE" in process.environment for process in first)


SCRIPT = """
from multiprocessing import get_context
from gpuseg.runtime.fork_server import start_fork_server

def work():
    import colorsys
    print(colorsys.rgb_to_hsv(0, 0, 0))

if __name__ == "__main__":
    start_fork_server(["colorsys"])
    process = get_context("forkserver").Process(target=work)
    process.start()
    process.join()
"""


def test_files_of_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "colorsys.py").write_text("print('imported by mistake')")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path / "work", capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("(0.0, 0.0, 0)\n", "")
