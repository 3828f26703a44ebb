"""Another user of the machine tries to reach a run that goes on: its ports, sockets and files."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.csv
import pytest
from support.helpers import THOROUGH, customers, job, toml
from support.launched_ranks import srun
from support.stranger import Targets, reached_by_stranger

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start the process of another user"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

SECONDS = 60.0
"""Longest wait for something that takes some seconds."""

SECRET = "a secret of more than sixteen characters"

CLUSTERS = {
    "local": {},
    "dask": {"n_workers": 2, "threads_per_worker": 1},
    "ranks": {"threads_per_worker": 1},
}


OF_RUN = {
    "local": [],
    "dask": ["here/.out._run/checkpoint/**/in.csv", "tmp/gpuseg-*/dask-scratch-space/worker-*"],
    "ranks": ["here/.out._run/ranks/*.json", "here/.out.staging-*/_converted/input/in.csv"],
}
"""Files of a run, beside those that each has: rows that were converted, and the key of ranks."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others may enter; that of pytest is for this user alone."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class HeldRun:
    """The processes of a run that waits just before it publishes its output."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], place: Path) -> None:
        self.started, self._place = processes, place
        ours = [psutil.Process(process.pid) for process in processes]
        self.processes = [each for one in ours for each in (one, *one.children(recursive=True))]

    def ports(self) -> list[tuple[str, int]]:
        """Return where the processes listen, for each address of this machine."""
        listening = set()
        for connection in self._connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                ip = connection.laddr.ip
                hosts = machine_addresses() if ip in ("0.0.0.0", "::") else [ip]
                listening |= {(host, connection.laddr.port) for host in hosts}
        return sorted(listening)

    def sockets(self) -> list[str]:
        """Return the paths of their Unix sockets."""
        return sorted({str(each.laddr) for each in self._connections("unix") if each.laddr})

    def paths(self) -> list[str]:
        """Return all files and folders of the place, and those that the processes have open."""
        below = list(self._place.rglob("*"))
        opened = [Path(each.path) for each in self._each(psutil.Process.open_files)]
        return sorted({str(path) for path in (*below, *opened)})

    def words(self) -> list[str]:
        """Return the words of their command lines, which all users see."""
        return self._each(psutil.Process.cmdline)

    def finish(self) -> None:
        """Let the run go on to its end."""
        (self._place / "held" / "go").touch()
        for process in self.started:
            assert process.wait(SECONDS) == 0

    def _connections(self, kind: str) -> list[Any]:
        return self._each(lambda process: process.net_connections(kind))

    def _each(self, look: Callable[[psutil.Process], list[Any]]) -> list[Any]:
        """Return what all processes have; some of Dask's live for a moment only."""
        results = []
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                results += look(process)
        return results


def machine_addresses() -> list[str]:
    """Return the addresses of IPv4 of this machine."""
    return [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    ]


@contextmanager
def held(cluster: str, place: Path) -> Iterator[HeldRun]:
    """Start a run, by two ranks or one process, and wait until it is about to publish."""
    for name, mode in {"tmp": 0o1777, "held": 0o700, "here": 0o755}.items():
        (place / name).mkdir()
        (place / name).chmod(mode)
    pa.csv.write_csv(customers(600), place / "in.csv")
    sections = job(
        place / "in.csv", place / "here" / "out",
        input={"id_hash_key_env": "HASH_KEY"}, runtime={"cluster": cluster, **CLUSTERS[cluster]},
    )  # fmt: skip
    (place / "job.toml").write_text(toml(sections))
    run = ["run", str(place / "job.toml")]
    held_run = ["support.held_run", "publish", str(place / "held")]
    environment = {**os.environ, "TMPDIR": str(place / "tmp"), "HASH_KEY": SECRET}
    errors = place / "held" / "errors.txt"
    with ExitStack() as stack:

        def start(module: list[str], **variables: str) -> subprocess.Popen[bytes]:
            with errors.open("ab") as stream:
                process = subprocess.Popen(
                    [sys.executable, "-m", *module, *run], cwd=Path(__file__).parents[1],
                    env={**environment, **variables}, umask=0,
                    stdout=subprocess.DEVNULL, stderr=stream,
                )  # fmt: skip
            stack.callback(end, process)
            return process

        if cluster == "ranks":  # as on two machines, where they listen on all interfaces
            processes = [start(held_run, **srun(0, 2)), start(["gpuseg"], **srun(1, 2))]
        else:
            processes = [start(held_run)]
        deadline = time.monotonic() + SECONDS
        while not (place / "held" / "held").exists():
            assert time.monotonic() < deadline
            assert processes[0].poll() is None, errors.read_text()
            time.sleep(0.05)
        yield HeldRun(processes, place)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that a failed test has left."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)


@pytest.mark.parametrize("cluster", list(CLUSTERS) if THOROUGH else ["dask", "ranks"])
def test_another_user_reaches_nothing_of_a_run(place: Path, cluster: str) -> None:
    with held(cluster, place) as run:
        ports, paths = run.ports(), run.paths()
        targets = Targets(ports, run.sockets(), paths, [each.pid for each in run.processes])
        reached = reached_by_stranger(targets)
        open_to_all = {str(place / name) for name in ("in.csv", "job.toml", "tmp", "here")}
        assert reached == {
            f"path {path}" for path in paths if path in open_to_all or is_installed(path)
        }
        words = " ".join(run.words())
        assert SECRET not in words and "PRIVATE KEY" not in words
        # What must be closed was there.
        assert bool(ports) == (cluster != "local")
        assert bool(targets.sockets) == (cluster == "dask")
        for pattern in (
            "here/.out.staging-*/part-*.parquet", "here/.out._run/status.json", *OF_RUN[cluster]
        ):  # fmt: skip
            assert list(place.glob(pattern)), (pattern, paths)
        run.finish()
    # The mask of the process decides who reads the output.
    out = place / "here" / "out"
    assert stat.S_IMODE(out.stat().st_mode) == 0o777
    written = [str(path) for path in (out, *out.rglob("*"))]
    assert reached_by_stranger(Targets(paths=written)) == {f"path {path}" for path in written}


def is_installed(path: str) -> bool:
    """Whether a file is of this machine, and not of the run."""
    return path.startswith(("/usr/", "/etc/", "/lib", "/dev/"))


def test_the_stranger_finds_open_doors(place: Path, two_workers: dict[str, Any]) -> None:
    host, port = two_workers["cluster"].removeprefix("tcp://").split(":")
    (place / "open").write_text("x")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "socket"))
        (place / "socket").chmod(0o777)
        server.listen()
        targets = Targets(
            [(host, int(port))], [str(place / "socket")], [str(place), str(place / "open")]
        )
        assert reached_by_stranger(targets) == {
            f"port {host}:{port} as HTTP", f"port {host}:{port} as Dask, plain",
            f"socket {place}/socket", f"path {place}", f"path {place}/open",
        }  # fmt: skip
