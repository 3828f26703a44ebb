"""The output: staged out of readers' sight, then published so that no reader sees a mixture.

A directory of a file system is written beside its target and takes the target's place in one
rename. An object store has no rename: parts bear the run's id in their names, are staged
under ``_staging/``, then copied into place, the manifest and ``_SUCCESS`` last, and only
then are the parts of the older output removed. The manifest names the parts that count.
"""

import errno
import fcntl
import json
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuseg.data.atomic import exchange
from gpuseg.data.storage import Storage, first_line, reaching
from gpuseg.errors import JobError, ResourceError

SUCCESS = "_SUCCESS"
MANIFEST = "_manifest.json"

_STAGING = "_staging"
_RUN_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")


@dataclass(frozen=True)
class Staging:
    """Where workers write parts.

    Attributes
    ----------
    storage : Storage
    folder : str
        Path within the storage's file system.
    run_id : str
        Stands in the names of the parts, where they must be unique to the run; else empty.
    """

    storage: Storage
    folder: str
    run_id: str

    def part_name(self, number: int) -> str:
        """Return the name of a part; names sort as the rows do."""
        return f"part-{number:05d}{self.run_id and '-'}{self.run_id}.parquet"

    def path(self, name: str) -> str:
        """Return the path of a file of the output."""
        return f"{self.folder}/{name}"

    def size(self, name: str) -> int | None:
        """Return the bytes of a staged file, None where there is none."""
        path = self.path(name)
        return int(self.storage.fs.size(path)) if self.storage.fs.exists(path) else None


class Output(ABC):
    """One run's output. Use as a context: what was not published is removed on leaving."""

    staging: Staging

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Stage a file that is not a part."""

    @abstractmethod
    def publish(self, parts: Sequence[str]) -> None:
        """Put all that was staged into place; the parts and `_SUCCESS` with the manifest last."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what is left of the staging folder."""

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *exception: object) -> None:
        self.discard()


def open_output(storage: Storage, overwrite: bool, run_id: str) -> Output:
    """Check that an output may be written at `storage`, and stage it.

    Raises
    ------
    JobError
        When something lies there, unless `overwrite` is set and it is an output of gpuseg.
    ResourceError
        When the place is not writable or cannot exchange directories.
    """
    output = LocalOutput if storage.is_local else ObjectOutput
    with reaching("output.path", storage.url):
        return output(storage, overwrite, run_id)


def check_free(storage: Storage, overwrite: bool) -> bool:
    """Return whether something may and must be replaced at `storage`; nothing is written.

    Raises
    ------
    JobError
        When a file lies there, or a folder that is not empty and not to be replaced.
    """
    fs, root = storage.fs, storage.root
    where = f"output.path = {storage.url!r}"
    if storage.is_local and os.path.lexists(root) and not Path(root).is_dir():
        raise JobError(f"{where}: is a file; name a folder")
    found = fs.ls(root, detail=False) if fs.exists(root) else []
    names = [path.rstrip("/").rsplit("/", 1)[1] for path in found]
    if not names:
        return storage.is_local and Path(root).is_dir()
    if not overwrite:
        raise JobError(
            f"{where}: exists already; name another folder, or replace it with --overwrite "
            "(output.overwrite = true)"
        )
    left_by_a_killed_run = not storage.is_local and names == [_STAGING] and _is_ours(storage)
    if not left_by_a_killed_run and not _has_manifest(storage):
        raise JobError(
            f"{where}: not empty and not an output of gpuseg (it has no {MANIFEST} of ours), so "
            "it is not overwritten; name another folder or empty this one"
        )
    return True


def _has_manifest(storage: Storage) -> bool:
    try:
        manifest = json.loads(storage.fs.cat_file(f"{storage.root}/{MANIFEST}"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.keys() >= {"gpuseg", "run_id", "parts"}


def _is_ours(storage: Storage) -> bool:
    """Whether everything under the staging prefix bears a run's id."""
    runs = storage.fs.ls(f"{storage.root}/{_STAGING}", detail=False)
    return all(_RUN_ID.fullmatch(path.rstrip("/").rsplit("/", 1)[1]) for path in runs)


class LocalOutput(Output):
    """A directory of a file system, published by one rename.

    The staging folder is locked while the run lives. A folder that a killed run has left is
    not locked, and the next run for the same target removes it.
    """

    def __init__(self, storage: Storage, overwrite: bool, run_id: str) -> None:
        self._target = Path(os.path.realpath(storage.root))
        self._storage = Storage(storage.url, storage.fs, str(self._target))
        self._replaces = check_free(self._storage, overwrite)
        self._prefix = f".{self._target.name}.staging-"
        self._folder = self._target.parent / f"{self._prefix}{run_id}"
        self._lock = -1
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            self._folder.mkdir()
            self._lock = os.open(self._folder, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if self._replaces:
                self._try_exchange()
        except OSError as error:
            self.discard()
            raise cannot_write(f"output.path = {storage.url!r}", error) from None
        self.staging = Staging(self._storage, str(self._folder), "")

    def write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def publish(self, parts: Sequence[str]) -> None:
        self.write(SUCCESS, b"")
        os.fsync(self._lock)
        if self._replaces:
            exchange(str(self._folder), str(self._target))
        else:
            self._folder.rename(self._target)
        parent = os.open(self._target.parent, os.O_RDONLY)
        os.fsync(parent)
        os.close(parent)

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _remove_abandoned(self) -> None:
        for folder in self._target.parent.iterdir():
            if not folder.name.startswith(self._prefix):
                continue
            handle = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            except BlockingIOError:
                pass  # the run it belongs to is alive
            finally:
                os.close(handle)

    def _try_exchange(self) -> None:
        """Find out before the work whether the file system can exchange directories."""
        probes = [self._folder / name for name in ("probe-a", "probe-b")]
        for probe in probes:
            probe.mkdir()
        exchange(str(probes[0]), str(probes[1]))
        for probe in probes:
            probe.rmdir()


class ObjectOutput(Output):
    """A prefix of an object store."""

    def __init__(self, storage: Storage, overwrite: bool, run_id: str) -> None:
        check_free(storage, overwrite)
        self._storage = storage
        folder = f"{storage.root}/{_STAGING}/{run_id}"
        self.staging = Staging(storage, folder, run_id)
        self._written: list[str] = []
        try:
            self.write("_writable", b"")
            storage.fs.rm(self.staging.path("_writable"))
        except OSError as error:
            raise cannot_write(f"output.path = {storage.url!r}", error) from None
        self._written.clear()

    def write(self, name: str, content: bytes) -> None:
        self._storage.fs.pipe_file(self.staging.path(name), content)
        self._written.append(name)

    def publish(self, parts: Sequence[str]) -> None:
        fs, root = self._storage.fs, self._storage.root
        older = [path for path in fs.ls(root, detail=False) if "/part-" in path[len(root) :]]
        sidecars = [name for name in self._written if name != MANIFEST]
        for name in [*parts, *sidecars, MANIFEST]:
            fs.copy(self.staging.path(name), f"{root}/{name}")
        fs.pipe_file(f"{root}/{SUCCESS}", b"")
        if older:
            fs.rm(older)
        self._remove(f"{root}/{_STAGING}")  # with what killed runs have left

    def discard(self) -> None:
        self._remove(self.staging.folder)

    def _remove(self, folder: str) -> None:
        if self._storage.fs.exists(folder):
            self._storage.fs.rm(folder, recursive=True)


def as_json(content: Any) -> bytes:
    """Return JSON as it is stored beside the parts, with sorted keys left as they are."""
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def cannot_write(place: str, error: BaseException) -> ResourceError:
    """Say why the output, or a file of it, cannot be written."""
    number = getattr(error, "errno", None)
    if number == errno.ENOTSUP:
        return ResourceError(
            f"{place}: the file system cannot exchange two folders in one step, so the older "
            "output cannot be replaced safely; remove it, or name another path"
        )
    full = number in (errno.ENOSPC, errno.EDQUOT)
    step = "make room there, and run again" if full else "name a folder that you may write to"
    return ResourceError(f"{place}: cannot be written ({first_line(error)}); {step}")
