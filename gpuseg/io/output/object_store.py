"""The output on an object store: copied into place, with the manifest and `_SUCCESS` last."""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from gpuseg.io.output.base import (
    MANIFEST,
    PUBLISHING,
    RUN_ID,
    STAGING,
    SUCCESS,
    Output,
    Staging,
    cannot_write,
    check_free,
)  # fmt: skip
from gpuseg.io.storage import Storage
from gpuseg.output_kind import OutputKind
from gpuseg.runtime.interrupts import ignore_later_interrupts

_REPLACED = re.compile(
    r"/(part-[^/]*|segment-[^/]*\.csv|_model/core-[^/]*|_models/.*|_features/.*"
    r"|_changes/.*|_plots/.*|_model/drift\.safetensors|_(fit_manifest|examples)\.json)$"
)
"""Files of an older run that this run does not overwrite under the same name."""


class ObjectOutput(Output):
    """A prefix of an object store."""

    def __init__(
        self,
        storage: Storage,
        overwrite: bool,
        run_id: str,
        kind: OutputKind,
        replaces: Collection[OutputKind],
        adopted: str | None = None,
    ) -> None:
        check_free(storage, overwrite, kind, replaces)
        self._storage = storage
        folder = f"{storage.root}/{STAGING}/{adopted or run_id}"
        self.staging = Staging(storage, folder, run_id)
        self._written: list[str] = []
        try:
            self.write("_writable", b"")
            storage.fs.rm(self.staging.path("_writable"))
        except OSError as error:
            raise cannot_write(storage.url, error) from None
        self._written.clear()

    def write(self, name: str, content: bytes) -> None:
        self._storage.fs.pipe_file(self.staging.path(name), content)
        self._written.append(name)

    def publish(self, parts: Sequence[str]) -> None:
        fs, root = self._storage.fs, self._storage.root
        fs.pipe_file(f"{root}/{PUBLISHING}", b"")
        older = [path for path in fs.find(root) if _REPLACED.match(path[len(root) :])]
        sidecars = [name for name in self._written if name != MANIFEST]
        if fs.exists(f"{root}/{SUCCESS}"):
            fs.rm(f"{root}/{SUCCESS}")
        for name in [*parts, *sidecars, MANIFEST]:
            fs.copy(self.staging.path(name), f"{root}/{name}")
        fs.pipe_file(f"{root}/{SUCCESS}", b"")
        present = {f"{root}/{name}" for name in [*parts, *sidecars]}
        if stale := [path for path in older if path not in present]:
            fs.rm(stale)
        fs.rm(f"{root}/{PUBLISHING}")
        ignore_later_interrupts()
        self._remove_abandoned()

    def release(self) -> None:
        """Do nothing: no process holds it."""

    def discard(self) -> None:
        self._remove(self.staging.folder)

    def _remove_abandoned(self) -> None:
        """Remove the staging of runs that started over a day ago; younger ones may be alive."""
        day_ago = f"{datetime.now(UTC) - timedelta(days=1):%Y%m%dT%H%M%S}"
        staging = f"{self._storage.root}/{STAGING}"
        runs = (
            self._storage.fs.ls(staging, detail=False) if self._storage.fs.exists(staging) else []
        )
        for folder in runs:
            name = folder.rstrip("/").rsplit("/", 1)[1]
            if RUN_ID.fullmatch(name) and name < day_ago:
                self._remove(folder)

    def _remove(self, folder: str) -> None:
        if self._storage.fs.exists(folder):
            self._storage.fs.rm(folder, recursive=True)
