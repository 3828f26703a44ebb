"""Copy an output to a version of a registry: its model, manifest and report, and no customers."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from gpuseg.errors import DataError
from gpuseg.io.regular_files import open_regular_file
from gpuseg.io.storage import Storage, unreachable, wrap_store_errors
from gpuseg.manifest import MANIFEST, read_manifest
from gpuseg.models.folder import DESCRIPTION
from gpuseg.models.loading import MODEL, SavedOutput

_REPORT = "_report.html"
_CHUNK_BYTES = 2**20


def copy_output(source: SavedOutput, target: Storage) -> None:
    """Copy the files of an output, or of the folder of a model; model.json comes last.

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
    for name, path in _files_of(storage).items():
        with _opened(storage, path) as file:
            _write(target, name, file)
    if source.manifest is not None and source.manifest != read_manifest(target):
        raise DataError(
            "output.changed",
            f"{storage.shown_url}: another run has replaced the output while it was copied",
            hint="run the command again",
        )


def _files_of(source: Storage) -> dict[str, str]:
    """Return the names of the files in the version, and their paths in the source, in order."""
    with _reading(source):
        source.fs.invalidate_cache()
        outer, model = source.root, f"{source.root}/{MODEL}"
        files = {}
        if source.fs.exists(f"{model}/{DESCRIPTION}"):
            sidecars = {name: f"{outer}/{name}" for name in (MANIFEST, _REPORT)}
            files = {name: path for name, path in sidecars.items() if source.fs.exists(path)}
        else:
            model = outer
        entries = source.fs.ls(model, detail=True)
    paths = sorted(entry["name"] for entry in entries if entry["type"] == "file")
    in_model = {f"{MODEL}/{path.rpartition('/')[2]}": path for path in paths}
    last = f"{MODEL}/{DESCRIPTION}"
    return {**in_model, **files, last: in_model.pop(last)}


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
