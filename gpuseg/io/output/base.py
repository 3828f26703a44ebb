"""What the outputs on file systems and on object stores have in common."""

import errno
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.io.storage import Storage, first_line

SUCCESS = "_SUCCESS"
MANIFEST = "_manifest.json"
STAGING = "_staging"
RUN_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")


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

    def part_name(self, number: int, count: int) -> str:
        """Return the name of part `number` of `count`; names sort as the rows do."""
        digits = max(5, len(str(count - 1)))
        return f"part-{number:0{digits}d}{self.run_id and '-'}{self.run_id}.parquet"

    def path(self, name: str) -> str:
        """Return the path of a file of the output."""
        return f"{self.folder}/{name}"

    def make(self, folder: str) -> None:
        """Make a folder of the output, where file systems have folders."""
        self.storage.fs.makedirs(self.path(folder), exist_ok=True)

    def remove(self, folder: str) -> None:
        """Remove a folder that was staged and is not part of the output."""
        self.storage.fs.rm(self.path(folder), recursive=True)

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


def check_free(storage: Storage, overwrite: bool) -> bool:
    """Return whether something may and must be replaced at `storage`; nothing is written.

    Raises
    ------
    ConfigError
        When a file lies there, or a folder that is not empty and not to be replaced.
    """
    fs, root = storage.fs, storage.root
    where = f"output.path = {storage.url!r}"
    if storage.is_local and os.path.lexists(root) and not Path(root).is_dir():
        raise ConfigError(f"{where}: is a file; name a folder")
    found = fs.ls(root, detail=False) if fs.exists(root) else []
    names = [path.rstrip("/").rsplit("/", 1)[1] for path in found]
    if not names:
        return False
    if not overwrite:
        raise ConfigError(
            f"{where}: exists already; name another folder, or replace it with "
            "output.overwrite = true (--overwrite on the command line)"
        )
    left_by_a_killed_run = not storage.is_local and names == [STAGING] and _is_ours(storage)
    if not left_by_a_killed_run and not _has_manifest(storage):
        raise ConfigError(
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
    runs = storage.fs.ls(f"{storage.root}/{STAGING}", detail=False)
    return all(RUN_ID.fullmatch(path.rstrip("/").rsplit("/", 1)[1]) for path in runs)


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
    steps = {
        errno.ENOSPC: "make room there, and run again",
        errno.EDQUOT: "make room there, and run again",
        errno.ENOTEMPTY: "something was written there meanwhile; name another folder",
        errno.EIO: "the device has a fault; name a folder on another one",
    }
    step = steps.get(number or 0, "name a folder that you may write to")
    return ResourceError(f"{place}: cannot be written ({first_line(error)}); {step}")
