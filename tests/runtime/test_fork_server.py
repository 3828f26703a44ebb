"""Workers that gpuseg starts are forked from a process that has imported what they need."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="workers are not forked on this system"),
]

WORKERS = """
import json, os, sys
from multiprocessing import forkserver, resource_tracker
from threadpoolctl import threadpool_info
from gpuseg.jobs.workers import WORKER_MODULES
from gpuseg.runtime.cluster import ClusterSpec, open_executor

def process_of(shard, context):
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "command_of_parent": open(f"/proc/{os.getppid()}/cmdline").read(),
        "missing": [m for m in WORKER_MODULES if m not in sys.modules],
        "blocks_sigint": bool(int(status["SigBlk"], 16) & 2),
        "blas_threads": [pool["num_threads"] for pool in threadpool_info()],
        "variable": os.environ.get("GPUSEG_TEST_VARIABLE"),
        "secret": os.environ["KEY"],
    }

def load(plan, context):
    return plan

def workers():
    spec = ClusterSpec("dask", N_WORKERS, 1, None, "KEY")
    with open_executor(spec, lambda rows: None, lambda text: None, WORKER_MODULES) as executor:
        executor.load(load, [0, 1])
        return executor.map(process_of)

if __name__ == "__main__":
"""

TWICE = """
    first = workers()
    os.environ["GPUSEG_TEST_VARIABLE"] = "set after the start of the server"
    second = workers()
    others = [forkserver._forkserver._forkserver_pid, resource_tracker._resource_tracker._pid]
    knows = [b"SECRET" in open(f"/proc/{pid}/environ", "rb").read() for pid in others]
    print(json.dumps([os.getpid(), first, second, knows]))
"""

ONCE = """
    print(json.dumps([os.getpid(), workers()]))
"""


def output_of(folder: Path, script: str, **environment: str) -> str:
    """Run a script in a new process, in a folder of its own; return what it prints."""
    file = folder / "script.py"
    file.write_text(script)
    (folder / "work").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, file],
        cwd=folder / "work",
        # The path of a socket has a limit.
        env={**os.environ, "TMPDIR": "/tmp", "KEY": "SECRET", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_workers_are_forked_from_a_process_with_their_modules(tmp_path: Path) -> None:
    """And only they get the secret."""
    script = WORKERS.replace("N_WORKERS", "2") + TWICE
    main, first, second, others_know = json.loads(output_of(tmp_path, script))
    workers: list[dict[str, Any]] = first + second
    assert len({worker["pid"] for worker in workers}) == 4
    (server,) = {worker["parent"] for worker in workers}
    assert server != main
    assert all("forkserver" in worker["command_of_parent"] for worker in workers)
    assert all(worker["missing"] == [] for worker in workers)
    assert all(worker["blocks_sigint"] for worker in workers)
    assert all(set(worker["blas_threads"]) <= {1} for worker in workers)
    assert [worker["variable"] is None for worker in workers] == [True, True, False, False]
    assert {worker["secret"] for worker in workers} == {"SECRET"}
    assert others_know == [False, False]


SERVER_OF_THE_PROGRAM = """
    from multiprocessing import get_context
    process = get_context("forkserver").Process(target=print)
    process.start()
    process.join()
"""


@pytest.mark.parametrize("reason", ["no socket", "a server of the program"])
def test_workers_are_spawned_where_they_cannot_be_forked(tmp_path: Path, reason: str) -> None:
    script = WORKERS.replace("N_WORKERS", "1")
    if reason == "no socket":
        long = tmp_path / ("long" * 40)
        long.mkdir()
        text = output_of(tmp_path, script + ONCE, TMPDIR=str(long))
    else:
        text = output_of(tmp_path, script + SERVER_OF_THE_PROGRAM + ONCE)
    pid, workers = json.loads(text.strip())
    assert {worker["parent"] for worker in workers} == {pid}
    assert all(worker["blocks_sigint"] for worker in workers)


FORK = """
from multiprocessing import get_context
from gpuseg.runtime.fork_server import start_fork_server

def work():
    import colorsys
    print(colorsys.rgb_to_hsv(0, 0, 0))

if __name__ == "__main__":
    start_fork_server(["gpuseg", "colorsys"])
    process = get_context("forkserver").Process(target=work)
    process.start()
    process.join()
"""


def test_files_of_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "work" / "gpuseg").mkdir(parents=True)
    for name in ("colorsys.py", "gpuseg/__init__.py"):
        (tmp_path / "work" / name).write_text("print('imported by mistake')")
    assert output_of(tmp_path, FORK) == "(0.0, 0.0, 0)\n"
