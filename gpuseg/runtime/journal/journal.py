"""Journals: frames in the order of their numbers, on a file system or on an object store."""

import io
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from gpuseg.errors import ResourceError
from gpuseg.runtime.journal.frames import framed, frames_of, head_of

_SECONDS_BETWEEN_FLUSHES = 5.0

_MODE = 0o600


class Journal(Protocol):
    """Frames that are read once, from the first on, and then appended to."""

    n_frames: int
    """Frames that were read or appended."""

    def frames(self) -> Iterator[bytes]:
        """Yield the frames; those that are not taken before the first change are dropped."""
        ...

    def cut(self, n_frames: int) -> None:
        """Keep only the first frames."""
        ...

    def append(self, content: bytes) -> None:
        """Append a frame."""
        ...

    def flush(self) -> None:
        """Store what was appended, if it is not stored yet."""
        ...

    def close(self) -> None:
        """Flush, to the disk as well."""
        ...


class LocalJournal:
    """A file. What is appended outlives this process at once, and the machine after some seconds.

    Parameters
    ----------
    path : Path
        In a folder for this user alone.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._ends, self._flushed = path, [0], time.monotonic()
        self._handle: int | None = None
        self.n_frames = 0

    def frames(self) -> Iterator[bytes]:
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for content in frames_of(file):
                self._ends.append(file.tell())
                self.n_frames += 1
                yield content

    def cut(self, n_frames: int) -> None:
        self.n_frames = n_frames
        del self._ends[n_frames + 1 :]
        with _write_errors(self._path):
            os.ftruncate(self._opened(), self._ends[-1])

    def append(self, content: bytes) -> None:
        if self._handle is None:
            self.cut(self.n_frames)  # a torn frame may follow
        head = head_of(content)
        with _write_errors(self._path):
            handle = self._opened()
            for piece in (head, content):
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(handle, rest) :]
            if time.monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
                os.fsync(handle)
                self._flushed = time.monotonic()
        self._ends.append(self._ends[-1] + len(head) + len(content))
        self.n_frames += 1

    def flush(self) -> None:
        """Do nothing: the system has what was appended."""

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(OSError):
                os.fsync(handle)
            os.close(handle)

    def _opened(self) -> int:
        if self._handle is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._handle = os.open(self._path, flags, _MODE)
        return self._handle


class ObjectFolder(Protocol):
    """A folder of objects."""

    def names(self, folder: str) -> Sequence[str]:
        """Return the names in a folder, sorted."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return the content of an object."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write an object."""
        ...

    def remove(self, name: str) -> None:
        """Remove an object, if it exists."""
        ...


class ObjectJournal:
    """Numbered objects, each with the frames of some seconds.

    Parameters
    ----------
    store : ObjectFolder
    folder : str
        Where they are.
    """

    def __init__(self, store: ObjectFolder, folder: str) -> None:
        self._store, self._folder = store, folder
        self._firsts: list[int] = []
        self._waiting: list[bytes] = []
        self._flushed = time.monotonic()
        self._is_clean = False
        self.n_frames = 0

    def frames(self) -> Iterator[bytes]:
        for number, name in enumerate(self._store.names(self._folder)):
            content = self._store.read(f"{self._folder}/{name}")
            if name != self._name(number) or content is None:
                return
            self._firsts.append(self.n_frames)
            for frame in frames_of(io.BytesIO(content)):
                self.n_frames += 1
                yield frame

    def cut(self, n_frames: int) -> None:
        stored, is_whole = self.n_frames - len(self._waiting), self._is_clean
        self.n_frames, self._is_clean = n_frames, True
        if n_frames >= stored:
            del self._waiting[n_frames - stored :]
        else:
            self._waiting.clear()
        while self._firsts and self._firsts[-1] >= n_frames:
            self._firsts.pop()
        for name in list(self._store.names(self._folder))[len(self._firsts) :]:
            self._store.remove(f"{self._folder}/{name}")
        if self._firsts and (n_frames < stored or not is_whole):
            self._shorten(len(self._firsts) - 1, n_frames - self._firsts[-1])

    def append(self, content: bytes) -> None:
        if not self._is_clean:
            self.cut(self.n_frames)  # objects that were not read may follow
        self._waiting.append(framed(content))
        self.n_frames += 1
        if time.monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            content, number = b"".join(self._waiting), len(self._firsts)
            self._store.write(f"{self._folder}/{self._name(number)}", content)
            self._firsts.append(self.n_frames - len(self._waiting))
            self._waiting.clear()
        self._flushed = time.monotonic()

    def close(self) -> None:
        self.flush()

    def _shorten(self, number: int, n_frames: int) -> None:
        """Keep only the first frames of an object."""
        name = f"{self._folder}/{self._name(number)}"
        frames = list(frames_of(io.BytesIO(self._store.read(name) or b"")))
        self._store.write(name, b"".join(map(framed, frames[:n_frames])))

    def _name(self, number: int) -> str:
        return f"{number:08d}"


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system into `ResourceError`."""
    try:
        yield
    except OSError as error:
        raise ResourceError(
            "checkpoint.not_writable",
            f"{path} cannot be written ({error.strerror or error})",
            hint="a run keeps its progress beside its output: free some space there, and run again",
        ) from None
