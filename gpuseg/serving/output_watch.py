"""Load the model of an output, and see when a new output has been published there."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gpuseg.errors import DataError, GpusegError
from gpuseg.io.file_version import FileVersion
from gpuseg.io.output.base import MANIFEST, SUCCESS
from gpuseg.io.storage import Storage, store_errors
from gpuseg.models.folder import DESCRIPTION
from gpuseg.models.loading import MODEL, load_output
from gpuseg.models.registered_models import resolve_model
from gpuseg.serving.loaded_model import LoadedModel

_REPORT = "_report.html"

_MAX_REPORT_BYTES = 2**26


class OutputVersion(NamedTuple):
    """One state of what a server loads.

    Attributes
    ----------
    url : str
        Of the output; a reference to a registered model stands for another one once a version is
        promoted.
    manifest : FileVersion
        Of the manifest, or of model.json where there is no output around the model.
    """

    url: str
    manifest: FileVersion


class OutputWatch:
    """The path that a server loads its model from.

    Parameters
    ----------
    reference : str
        An output folder, its ``_model``, or a reference to a registered model.
    options : mapping, optional
        Of the file system of a URL.
    """

    def __init__(self, reference: str, options: Mapping[str, Any] | None = None) -> None:
        self._reference, self._options = reference, options or {}
        self._storages: dict[str, Storage] = {}

    def version(self) -> OutputVersion | None:
        """Return what changes when a new output is published; None if it cannot be read now.

        This is a look at one or two small files, or a request to a store for each.
        """
        try:
            url = resolve_model(self._reference, self._options)
            storage = self._storage(url)
        except _errors():
            return None
        output = storage.root.removesuffix(f"/{MODEL}")
        manifest = _version_of(storage, f"{output}/{MANIFEST}")
        manifest = manifest or _version_of(storage, f"{storage.root}/{DESCRIPTION}")
        return None if manifest is None else OutputVersion(url, manifest)

    def load(self) -> LoadedModel:
        """Return the model, warm, of an output that did not change meanwhile.

        Raises
        ------
        ConfigError, DataError, ResourceError
            As `load_output`, and for an output that is being replaced.
        """
        url = resolve_model(self._reference, self._options)
        storage = self._storage(url)
        before = _state(storage)
        saved = load_output(url, storage_options=self._options)
        model = LoadedModel(saved, _report(saved.storage))
        if _state(storage) != before:
            raise DataError(
                "output.being_replaced",
                f"{storage.shown_url}: the output was replaced while it was loaded",
                hint="load it again",
            )
        return model

    def _storage(self, url: str) -> Storage:
        if url not in self._storages:
            self._storages = {url: Storage.from_url(url, self._options, "path")}
        return self._storages[url]


def _state(storage: Storage) -> list[FileVersion | None]:
    """Return the versions of all files that tell one output from another."""
    output = storage.root.removesuffix(f"/{MODEL}")
    names = (MANIFEST, SUCCESS, f"{MODEL}/{DESCRIPTION}", DESCRIPTION)
    return [_version_of(storage, f"{output}/{name}") for name in names]


def _version_of(storage: Storage, path: str) -> FileVersion | None:
    try:
        storage.fs.invalidate_cache()
        return storage.version(path)
    except _errors():
        return None


def _report(storage: Storage) -> bytes | None:
    path = f"{storage.root}/{_REPORT}"
    try:
        info = storage.fs.info(path)
        if info["type"] != "file" or (info.get("size") or 0) > _MAX_REPORT_BYTES:
            return None
        return bytes(storage.fs.cat_file(path))
    except _errors():
        return None


def _errors() -> tuple[type[Exception], ...]:
    """Return what says that a file is not there, or that its store does not answer."""
    return (OSError, GpusegError, *store_errors())
