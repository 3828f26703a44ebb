"""The base of outputs on file systems and on object stores."""

import errno
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.io.library_errors import first_line
from gpuseg.io.output.run_folder import CHECKPOINT, RUN_PREFIX
from gpuseg.io.storage import Storage
from gpuseg.output_kind import MAX_MANIFEST_BYTES, OutputKind, output_kind
from gpuseg.runtime.forced_end import remove_if_forced
from gpuseg.runtime.varies_by_run import WritesFiles

SUCCESS = "_SUCCESS"
MANIFEST = "_manifest.json"
STAGING = "_staging"
PUBLISHING = f"{RUN_PREFIX}/{CHECKPOINT}/publishing"
"""An object that exists while a run copies its files into place."""

OUTPUT_PATH = "output_path"
"""The parameter that names the output, in messages."""

PART_SUFFIX = ".parquet"

SIDECAR_SUFFIX = ".sidecar"
"""Suffix of Parquet files that are not parts: many readers take each ``*.parquet`` in any folder of
an output, also in ``_model``, for rows of it."""

_STAGED_SUFFIX = ".staged"

RUN_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")


@dataclass(frozen=True)
class Staging(WritesFiles):
    """The folder in which workers write parts.

    Attributes
    ----------
    storage : Storage
    folder : str
        Path within the storage's file system.
    run_id : str
        A part of the names of parts if these must be unique to the run; otherwise empty.
    """

    storage: Storage
    folder: str
    run_id: str

    def part_name(self, number: int, count: int, suffix: str = PART_SUFFIX) -> str:
        """Return the name of part `number` of `count`; names sort in the order of the rows."""
        digits = max(5, len(str(count - 1)))
        return f"part-{number:0{digits}d}{self.run_id and '-'}{self.run_id}{suffix}"

    def path(self, name: str) -> str:
        """Return the path of a file of the output while it is staged.

        On an object store, readers see staged files: parts have another suffix there.
        """
        is_visible_part = self.run_id and name.endswith(PART_SUFFIX)
        return f"{self.folder}/{name}{_STAGED_SUFFIX if is_visible_part else ''}"

    def make(self, folder: str) -> None:
        """Create a folder of the output, if the file system has folders."""
        self.storage.fs.makedirs(self.path(folder), exist_ok=True)

    def remove(self, folder: str) -> None:
        """Remove a staged folder that is not part of the output."""
        with suppress(FileNotFoundError):  # an interrupted attempt of the run may have removed it
            self.storage.fs.rm(self.path(folder), recursive=True)

    def size(self, name: str) -> int | None:
        """Return the bytes of a staged file, or None if it does not exist."""
        path = self.path(name)
        return int(self.storage.fs.size(path)) if self.storage.fs.exists(path) else None


class Output(ABC):
    """The output of one run. As a context manager, it removes unpublished files on exit."""

    staging: Staging
    _is_kept = False

    @property
    def staging_name(self) -> str:
        """The name of the staging folder, by which the next attempt of the run adopts it."""
        return self.staging.folder.rsplit("/", 1)[1]

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Stage a file that is not a part."""

    @abstractmethod
    def publish(self, parts: Sequence[str]) -> None:
        """Move all staged files into place; `_SUCCESS` and the manifest come last."""

    @abstractmethod
    def discard(self) -> None:
        """Remove the staging folder, if it still exists."""

    @abstractmethod
    def release(self) -> None:
        """Leave the staging folder to another process."""

    def keep(self) -> None:
        """Keep the staging folder on exit, for the next attempt of the run."""
        self._is_kept = True

    def __enter__(self) -> "Output":
        self._stop_watching = remove_if_forced(self.discard, unless_paused=True)
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            if self._is_kept:
                self.release()
            else:
                self.discard()
        finally:
            self._stop_watching()


def check_free(
    storage: Storage,
    overwrite: bool,
    kind: OutputKind = OutputKind.SEGMENTS,
    replaces: Collection[OutputKind] = (),
) -> bool:
    """Return whether an existing output must be replaced; nothing is written.

    `kind` is that of the output to write. One of another kind is replaced only if it is among
    `replaces`.

    Raises
    ------
    ConfigError
        If `storage` is a file, or a folder that is not empty and may not be replaced.
    """
    fs, root = storage.fs, storage.root
    if storage.is_local and os.path.lexists(root) and not Path(root).is_dir():
        raise ConfigError(
            "output.is_file", "is a file", value=storage.url, hint="name a folder",
            parameter=OUTPUT_PATH,
        )  # fmt: skip
    paths = fs.ls(root, detail=False) if fs.exists(root) else []
    names = [path.rstrip("/").rsplit("/", 1)[1] for path in paths]
    if not storage.is_local and fs.exists(f"{root}/{PUBLISHING}"):
        return True  # a run that was killed has copied some of its files
    is_left_by_a_killed_run = set(names) <= {STAGING, RUN_PREFIX} and _is_ours(storage)
    if not names or (is_left_by_a_killed_run and not storage.is_local):
        return False
    manifest = manifest_of(storage)
    if (existing := output_kind(manifest)) not in (None, kind, *replaces):
        raise ConfigError(
            "output.other_kind",
            f"has {existing}, which would be replaced by {kind}",
            value=storage.url,
            rule="an output is replaced only by one of its kind",
            hint="name another `output_path`, or remove the folder if you no longer need it",
            parameter=OUTPUT_PATH,
        )
    if not overwrite:
        raise ConfigError(
            "output.exists",
            "exists already",
            value=storage.url,
            hint="name another folder, or replace it with `overwrite` = true (--overwrite on the "
            "command line)",
            parameter=OUTPUT_PATH,
        )
    if not manifest:
        raise ConfigError(
            "output.not_gpuseg",
            f"is not empty and not an output of gpuseg (no {MANIFEST} of gpuseg), so it is not "
            "overwritten",
            value=storage.url,
            hint="name another folder, or empty this one",
            parameter=OUTPUT_PATH,
        )
    return True


def manifest_of(storage: Storage) -> dict[str, Any]:
    """Return the manifest of an output of gpuseg, unchecked; empty if there is none."""
    path = f"{storage.root}/{MANIFEST}"
    try:
        info = storage.fs.info(path)
        # Reading a FIFO or a device may have no end.
        if info["type"] != "file" or (info.get("size") or 0) > MAX_MANIFEST_BYTES:
            return {}
        manifest = json.loads(storage.fs.cat_file(path))
    except (OSError, ValueError, RecursionError):
        return {}
    is_ours = isinstance(manifest, dict) and manifest.keys() >= {"gpuseg", "run_id", "parts"}
    return manifest if is_ours else {}


def _is_ours(storage: Storage) -> bool:
    """Return whether all names under the staging prefix are ids of runs."""
    staging = f"{storage.root}/{STAGING}"
    runs = storage.fs.ls(staging, detail=False) if storage.fs.exists(staging) else []
    return all(RUN_ID.fullmatch(path.rstrip("/").rsplit("/", 1)[1]) for path in runs)


def as_json(content: Any) -> bytes:
    """Encode JSON as it is stored in the output; keys keep their order."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode(errors="backslashreplace")  # as `manifest.dump` does


def cannot_write(path: str, error: BaseException) -> ResourceError:
    """Return the error for an output, or a file of it, that cannot be written."""
    number = getattr(error, "errno", None)
    if number == errno.ENOTSUP:
        return ResourceError(
            "output.no_exchange",
            f"{path}: the file system cannot exchange two folders in one step, so the older output "
            "cannot be replaced safely",
            hint="remove it, or name another path",
        )
    hints = {
        errno.ENOSPC: "free some space there, and run again",
        errno.EDQUOT: "free some space there, and run again",
        errno.ENOTEMPTY: "another process wrote to it; name another folder",
        errno.EIO: "the device has a fault; name a folder on another device",
    }
    return ResourceError(
        "output.not_writable",
        f"{path} cannot be written ({first_line(error)})",
        hint=hints.get(number or 0, "name a folder that you may write to"),
    )
