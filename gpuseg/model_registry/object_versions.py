"""A registered model on an object store: the record is replaced by one conditional PUT.

S3 compares the object with the one that was read (``If-Match``), or sees that there is none
(``If-None-Match``), and refuses the PUT otherwise. Other stores have no such PUT in fsspec. There
the record is read again before and after it is written; of two processes that write within the
same moment, one may still lose its change.

A version has its number from an object that only one process can create, its claim. Its files are
uploaded under that number. It is visible once it is in the record, and the claim is removed.
"""

import inspect
import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from gpuseg.errors import GpusegError, ResourceError
from gpuseg.io.output.base import cannot_write
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.model_registry.base import Change, next_number
from gpuseg.models.registered_models import ALIASES, RegisteredModel, read_record

_CLAIM = "_claim"

_ATTEMPTS = 100
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0
"""Seconds between attempts to replace the record."""

_REFUSED = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
"""Codes of S3 for an object that is not the one that was read, or is just being replaced."""

_UNSUPPORTED = {"NotImplemented", "501"}


class ObjectVersions:
    """See `VersionStore`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._fs = storage.fs
        self._record = f"{storage.root}/{ALIASES}"
        protocol = storage.fs.protocol
        self._is_conditional = "s3" in ((protocol,) if isinstance(protocol, str) else protocol)

    def read(self) -> RegisteredModel | None:
        content = read_record(self._storage)
        return None if content is None else self._parsed(content)

    def add(
        self,
        copy: Callable[[Storage], None],
        record: Callable[[RegisteredModel, int], RegisteredModel],
    ) -> int:
        with self._writing():
            number = self._claimed_number()
            folder = f"{self._storage.root}/{number}"
            try:
                copy(Storage(f"{self._storage.url}/{number}", self._fs, folder))
                self.update(lambda before: record(before, number))
            except BaseException:
                self._remove_invisible(number)
                raise
            with suppress(OSError):
                self._fs.rm(f"{folder}/{_CLAIM}")
        return number

    def update(self, change: Change) -> RegisteredModel:
        wait = _FIRST_WAIT
        for _ in range(_ATTEMPTS):
            with self._writing():
                tag = self._tag()  # first: what is read afterwards is not older
                content = read_record(self._storage)
                before = RegisteredModel() if content is None else self._parsed(content)
                after = change(before)
                if after == before or self._replaced(content, tag, after.to_bytes()):
                    return after
            time.sleep(random.uniform(0.5, 1.0) * wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        raise ResourceError(
            "registry.contended",
            f"{self._storage.shown_url}: other processes change the registry all the time",
            hint="try again",
        )

    def _parsed(self, content: bytes) -> RegisteredModel:
        return RegisteredModel.from_bytes(content, self._storage.shown_url)

    def _tag(self) -> str | None:
        """Return what tells the record apart from others; None if there is none."""
        if not self._is_conditional:
            return None
        self._fs.invalidate_cache()
        try:
            return str(self._fs.info(self._record)["ETag"])
        except FileNotFoundError:
            return None

    def _replaced(self, before: bytes | None, tag: str | None, after: bytes) -> bool:
        """Return whether the record was replaced; not if it is no longer what it was before."""
        if self._is_conditional:
            if (before is None) != (tag is None):
                return False
            condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
            done = self._put_if(self._record, after, condition)
            if done is not None:
                return done
        if read_record(self._storage) != before:
            return False
        self._fs.pipe_file(self._record, after)
        return read_record(self._storage) == after

    def _put_if(self, path: str, content: bytes, condition: dict[str, str]) -> bool | None:
        """Write an object on a condition; return whether it held, None if S3 cannot check it."""
        try:
            self._fs.pipe_file(path, content, **condition)
        except (FileExistsError, FileNotFoundError):
            return False
        except OSError as error:
            code = _s3_code(error)
            if code in _REFUSED:
                return False
            if code not in _UNSUPPORTED:
                raise
            warnings.warn(
                f"{self._storage.shown_url}: the object store has no conditional PUT; "
                "change the registry from one process at a time",
                stacklevel=2,
            )
            self._is_conditional = False
            return None
        return True

    def _claimed_number(self) -> int:
        """Return the number of a version that no other process has, or will have."""
        registered = self.read() or RegisteredModel()
        self._fs.invalidate_cache()
        try:
            paths = self._fs.ls(self._storage.root, detail=False)
        except FileNotFoundError:
            paths = []
        names = [path.rstrip("/").rpartition("/")[2] for path in paths]
        visible = {str(version.version) for version in registered.versions}
        for name in names:
            if name.isdecimal() and name not in visible:
                self._remove_abandoned(name)
        number = next_number(registered, names)
        while not self._claimed(number):
            number += 1
        return number

    def _claimed(self, number: int) -> bool:
        path, content = f"{self._storage.root}/{number}/{_CLAIM}", _now().isoformat().encode()
        if self._is_conditional:
            done = self._put_if(path, content, {"IfNoneMatch": "*"})
            if done is not None:
                return done
        if "mode" not in inspect.signature(self._fs.pipe_file).parameters:
            if self._fs.exists(path):
                return False
            self._fs.pipe_file(path, content)
            return True
        try:
            self._fs.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        return True

    def _remove_invisible(self, number: int) -> None:
        """Remove the files of a version, if the record does not have it.

        A store may have replaced the record although its answer got lost. If the record cannot be
        read, the files stay, and are removed a day later. The first error is the one to tell.
        """
        with suppress(OSError, GpusegError):
            registered = self.read() or RegisteredModel()
            if number not in [version.version for version in registered.versions]:
                self._fs.rm(f"{self._storage.root}/{number}", recursive=True)

    def _remove_abandoned(self, name: str) -> None:
        """Remove a version that was begun over a day ago and is not in the record."""
        folder = f"{self._storage.root}/{name}"
        with suppress(OSError, ValueError):
            begun = datetime.fromisoformat(self._fs.cat_file(f"{folder}/{_CLAIM}").decode())
            if begun < _now() - timedelta(days=1):
                self._fs.rm(folder, recursive=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with wrap_store_errors("path", self._storage.url):
            try:
                yield
            except OSError as error:
                raise cannot_write(self._storage.shown_url, error) from None


def _now() -> datetime:
    return datetime.now(UTC)


def _s3_code(error: OSError) -> str:
    """Return the code of S3's answer that an error of s3fs comes from; empty if it has none."""
    response: dict[str, Any] = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
