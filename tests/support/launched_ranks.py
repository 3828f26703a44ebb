"""Start the same command N times, as launchers of several kinds do, and collect how it ended."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

SECONDS = 120
"""Longest wait for a run that takes some seconds."""

_NOT_OURS = re.compile("GPUSEG_|SLURM_|OMPI_|PMI|JOB_COMPLETION|RANK|WORLD_SIZE|LOCAL_|MASTER_")


class Ended(NamedTuple):
    """How a rank ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def torchrun(rank: int, size: int) -> dict[str, str]:
    """Return the environment of a rank, all ranks on one machine."""
    return {
        "RANK": f"{rank}", "WORLD_SIZE": f"{size}", "LOCAL_RANK": f"{rank}",
        "LOCAL_WORLD_SIZE": f"{size}", "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_RESTART_COUNT": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
    }  # fmt: skip


def mpirun(rank: int, size: int) -> dict[str, str]:
    """Return the environment of a rank of Open MPI."""
    names = {"RANK": rank, "SIZE": size, "LOCAL_RANK": rank, "LOCAL_SIZE": size}
    return {f"OMPI_COMM_WORLD_{name}": str(value) for name, value in names.items()}


def srun(rank: int, size: int) -> dict[str, str]:
    """Return the environment of a rank of Slurm: each on a node of its own."""
    return {
        "SLURM_PROCID": f"{rank}", "SLURM_NTASKS": f"{size}", "SLURM_LOCALID": "0",
        "SLURM_NODEID": f"{rank}", "SLURM_STEP_TASKS_PER_NODE": f"1(x{size})",
        "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_CPUS_ON_NODE": "1",
    }  # fmt: skip


Launcher = Callable[[int, int], dict[str, str]]


class Ranks:
    """The processes of a run that was started several times.

    Parameters
    ----------
    folder : Path
        For their outputs; they run there.
    command : list of str
    size : int
    launcher : Launcher
    absent : tuple of int
        Ranks that are not started.
    wrappers : dict, optional
        By rank: the start of a command that takes that of the rank as further arguments.
    """

    def __init__(
        self,
        folder: Path,
        command: list[str],
        size: int,
        launcher: Launcher,
        absent: tuple[int, ...] = (),
        wrappers: dict[int, list[str]] | None = None,
    ) -> None:
        given = {name: value for name, value in os.environ.items() if not _NOT_OURS.match(name)}
        self.folder, self.processes = folder, dict[int, psutil.Popen]()
        for rank in set(range(size)) - set(absent):
            with self._file(rank, "out").open("wb") as out, self._file(rank, "err").open("wb") as e:
                self.processes[rank] = psutil.Popen(
                    [*(wrappers or {}).get(rank, []), sys.executable, "-m", "gpuseg", *command],
                    cwd=folder, stdout=out, stderr=e, env={**given, **launcher(rank, size)},
                )  # fmt: skip

    def wait(self, seconds: float = SECONDS) -> dict[int, Ended]:
        """Wait for all processes that have not been killed; return how each ended."""
        deadline = time.monotonic() + seconds
        for process in self.processes.values():
            process.wait(max(1, deadline - time.monotonic()))
        return {
            rank: Ended(process.returncode, self.text(rank, "out"), self.text(rank, "err"))
            for rank, process in self.processes.items()
        }

    def await_text(self, rank: int, text: str) -> None:
        """Wait until a rank has written a text to its standard error."""
        deadline = time.monotonic() + SECONDS
        while text not in self.text(rank, "err"):
            assert time.monotonic() < deadline, self.text(rank, "err")
            assert self.processes[rank].poll() is None, self.text(rank, "err")
            time.sleep(0.02)

    def text(self, rank: int, stream: str) -> str:
        """Return what a rank has written."""
        return self._file(rank, stream).read_text()

    def _file(self, rank: int, stream: str) -> Path:
        return self.folder / f"rank-{rank}.{stream}"


@contextmanager
def launched(
    folder: Path,
    command: list[str],
    size: int,
    launcher: Launcher,
    absent: tuple[int, ...] = (),
    wrappers: dict[int, list[str]] | None = None,
) -> Iterator[Ranks]:
    """Start a command several times; at the end no process of them may be left."""
    folder.mkdir(exist_ok=True)
    ranks = Ranks(folder, command, size, launcher, absent, wrappers)
    try:
        yield ranks
        children = [p for p in psutil.process_iter() if _is_of(p, ranks.folder)]
        assert not [p for p in children if p.status() != psutil.STATUS_ZOMBIE]
    finally:
        for process in ranks.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()


def _is_of(process: psutil.Process, folder: Path) -> bool:
    """Whether a process runs in a folder."""
    try:
        return Path(process.cwd()) == folder
    except (psutil.Error, OSError):
        return False
