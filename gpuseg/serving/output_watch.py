"""Load the model of an output, and see when a new output has been published there."""

from collections.abc import Mapping
from typing import Any

from gpuseg.errors import DataError, GpusegError
from gpuseg.io.file_version import FileVersion
from gpuseg.io.output.base import MANIFEST, STAGING, SUCCESS
from gpuseg.io.storage import Storage, store_errors
from gpuseg.models.folder import DESCRIPTION
from gpuseg.models.loading import MODEL, load_output
from gpuseg.serving.loaded_model import LoadedModel

_REPORT = "_report.html"

_MAX_REPORT_BYTES = 2**26


class OutputWatch:
    """The path that a server loads its model from.

    Parameters
    ----------
    url : str
        An output folder or its ``_model``.

    Raises
    ------
    ConfigError
        For a URL of an unknown file system.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self._options = options or {}
        self._storage = Storage.from_url(url, self._options, "path")
        root = self._storage.root
        output = root.removesuffix(f"/{MODEL}")
        self._manifest = f"{output}/{MANIFEST}"
        self._others = [f"{output}/{SUCCESS}", f"{output}/{MODEL}/{DESCRIPTION}"]
        self._bare_model = f"{root}/{DESCRIPTION}"
        self._staging = f"{output}/{STAGING}"

    def version(self) -> FileVersion | None:
        """Return what changes when a new output is published; None if it cannot be read now.

        This is a single look at a file, or one request to a store.
        """
        version = self._version_of(self._manifest)
        return self._version_of(self._bare_model) if version is None else version

    def load(self) -> LoadedModel:
        """Return the model, warm, of an output that did not change meanwhile.

        Raises
        ------
        ConfigError, DataError, ResourceError
            As `load_output`, and for an output that is being written.
        """
        before = self._state()
        if not self._storage.is_local and before[1] is None and self._is_staged():
            raise self._being_written()
        saved = load_output(self.url, storage_options=self._options)
        model = LoadedModel(saved, self._report(saved.storage))
        if self._state() != before:
            raise self._being_written()
        return model

    def _being_written(self) -> DataError:
        return DataError(
            "output.being_written",
            f"{self._storage.shown_url}: the output is being replaced",
            hint="wait until it is whole",
        )

    def _state(self) -> list[FileVersion | None]:
        """Return the versions of all files that tell one output from another."""
        return [self.version(), *map(self._version_of, self._others)]

    def _version_of(self, path: str) -> FileVersion | None:
        try:
            self._storage.fs.invalidate_cache()
            return self._storage.version(path)
        except _errors():
            return None

    def _is_staged(self) -> bool:
        try:
            return bool(self._storage.fs.exists(self._staging))
        except _errors():
            return True

    def _report(self, storage: Storage) -> bytes | None:
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
