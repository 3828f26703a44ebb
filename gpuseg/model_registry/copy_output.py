"""Copy an output to a version of a registry: its model, manifest and report, and no customers."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from gpuseg.errors import DataError
from gpuseg.io.output.base import SUCCESS
from gpuseg.io.regular_files import open_regular_file
from gpuseg.io.storage import Storage, unreachable, wrap_store_errors
from gpuseg.manifest import FIT_MANIFEST, MANIFEST, read_fit_manifest
from gpuseg.models.folder import DESCRIPTION
from gpuseg.models.loading import MODEL, SavedOutput

_REPORT = "_report.html"
_CHUNK_BYTES = 2**20


def copy_output(source: SavedOutput, target: Storage) -> None:
    """Copy the files of an output, or of the folder of a model; `_SUCCESS` comes last.

    Raises
    ------
    OSError
        If the target cannot be written.
    DataError
        If the output was replaced by another one since it was loaded.
    ResourceError
        If the source cannot be read.
    """
    storage = source.storage
    for name, path in _files_of(source).items():
        with _opened(storage, path) as file:
            _write(target, name, file)
    if source.manifest is not None and source.manifest != read_fit_manifest(target):
        raise DataError(
            "output.changed",
            f"{storage.shown_url}: another run has replaced the output while it was copied",
            hint="run the command again",
        )
    _write(target, SUCCESS, BytesIO())


def _files_of(source: SavedOutput) -> dict[str, str]:
    """Return the names of the files in the version, and their paths in the source, in order.

    An output of `gpuseg score` has the manifest of the fit under another name, and a report that is
    not of the fit.
    """
    storage = source.storage
    with _reading(storage):
        storage.fs.invalidate_cache()
        outer, model = storage.root, f"{storage.root}/{MODEL}"
        sidecars = {}
        if not storage.fs.exists(f"{model}/{DESCRIPTION}"):
            model = outer
        elif storage.fs.exists(f"{outer}/{FIT_MANIFEST}"):
            sidecars = {MANIFEST: FIT_MANIFEST}
        elif source.manifest is not None:
            sidecars = {MANIFEST: MANIFEST, _REPORT: _REPORT}
        files = {name: f"{outer}/{path}" for name, path in sidecars.items()}
        files = {name: path for name, path in files.items() if storage.fs.exists(path)}
        entries = storage.fs.ls(model, detail=True)
    paths = sorted(entry["name"] for entry in entries if entry["type"] == "file")
    in_model = {f"{MODEL}/{path.rpartition('/')[2]}": path for path in paths}
    return {**in_model, **files}


@contextmanager
def _opened(storage: Storage, path: str) -> Iterator[BinaryIO]:
    """Open a file for reading; errors of writing elsewhere pass."""
    is_local = storage.is_local
    with ExitStack() as stack:
        with _reading(storage):
            opened = open_regular_file(path, storage.root) if is_local else storage.fs.open(path)
            file = stack.enter_context(opened)
        yield file


@contextmanager
def _reading(storage: Storage) -> Iterator[None]:
    with wrap_store_errors("path", storage.url):
        try:
            yield
        except OSError as error:
            raise unreachable("path", storage.url, error) from None


def _write(target: Storage, name: str, content: BinaryIO) -> None:
    path = f"{target.root}/{name}"
    if target.is_local:
        Path(path).parent.mkdir(exist_ok=True)
    with target.fs.open(path, "wb") as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)
        if target.is_local:
            file.flush()
            os.fsync(file.fileno())
