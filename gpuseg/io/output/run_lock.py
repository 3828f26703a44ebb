"""One run at a time for each output: a lock in the folder of the run.

The system frees the lock of a process that ends, in whichever way. Locks may not reach other
machines, and object stores and some file systems have none. There, a run is alive whose process is
there, or, on another machine, whose status still changes.
"""

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from gpuseg.errors import ResourceError
from gpuseg.io.output.run_folder import LOCK, STATUS, RunFolder
from gpuseg.runtime.machine_start import machine_start
from gpuseg.runtime.owned_folder import LOCKS_UNAVAILABLE

HEARTBEAT_SECONDS = 15.0
"""How long a status must not change until its run counts as ended."""

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    host: str
    start: str
    pid: int
    created: float

    @classmethod
    def this(cls) -> "Holder":
        """Return this process."""
        pid = os.getpid()
        return cls(socket.gethostname(), machine_start(), pid, psutil.Process(pid).create_time())

    @property
    def is_here(self) -> bool:
        """Whether it was a process of this machine, or of this container."""
        return (self.host, self.start) == (socket.gethostname(), machine_start())

    def is_alive(self) -> bool:
        """Whether the process of this machine has not ended."""
        try:
            return bool(psutil.Process(self.pid).create_time() == self.created)
        except psutil.Error:
            return False


class RunLock:
    """The lock of a run; it is held until it is released.

    Parameters
    ----------
    folder : RunFolder

    Raises
    ------
    ResourceError
        If another run holds it.
    OSError
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._handle, self._is_exclusive = folder, -1, False
        if folder.is_local:
            folder.make()
            self._lock_file()
        try:
            self._refuse_live_run()
        except BaseException:
            self._close()
            raise
        try:
            folder.write_in_place(LOCK, json.dumps(asdict(Holder.this())).encode())
        except BaseException:  # such as a full disk
            self.release()
            raise

    def release(self) -> None:
        """Free the lock."""
        self._folder.remove(LOCK)
        self._close()

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _lock_file(self) -> None:
        path = Path(self._folder.file(LOCK))
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(path, flags, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._is_exclusive = True
            except BlockingIOError:
                os.close(handle)
                raise self._active() from None
            except OSError as error:
                if error.errno not in LOCKS_UNAVAILABLE:
                    os.close(handle)
                    raise
            if _is_same(handle, path):
                self._handle = handle
                return
            os.close(handle)  # its run has just ended, and removed it

    def _refuse_live_run(self) -> None:
        """Refuse to go on if another run is alive that the lock does not tell.

        Raises
        ------
        ResourceError
        """
        holder = self._holder()
        if holder is None:
            return
        if holder.is_here:
            is_alive = not self._is_exclusive and holder.is_alive()
        else:
            is_alive = self._changes()
        if is_alive:
            raise self._active()

    def _changes(self) -> bool:
        """Whether the status of a run changes within some seconds."""
        before = self._folder.read(STATUS)
        if before is None or not _is_running(before):
            return False
        deadline = time.monotonic() + HEARTBEAT_SECONDS
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            now = self._folder.read(STATUS)
            if now != before:
                return now is not None and _is_running(now)
        return False

    def _holder(self) -> Holder | None:
        try:
            return Holder(**json.loads(self._folder.read(LOCK) or b""))
        except (TypeError, ValueError):  # it was just created, or is damaged
            return None

    def _active(self) -> ResourceError:
        holder = self._holder()
        where = "" if holder is None else f" (process {holder.pid} on {holder.host})"
        return ResourceError(
            "run.active",
            f"another run writes this output{where}",
            value=self._folder.target,
            hint="wait until it has ended, or end it",
            parameter="output_path",
        )


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _is_running(status: bytes) -> bool:
    try:
        content: Any = json.loads(status)
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("state") == "running"
