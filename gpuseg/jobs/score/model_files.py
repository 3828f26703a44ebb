"""The files of a model that scores: one version of them, from the first row to the copy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpuseg.errors import DataError, ResourceError, parameter_names
from gpuseg.io.file_version import FileVersion
from gpuseg.io.storage import unreachable, wrap_store_errors
from gpuseg.models.folder import ModelFolder
from gpuseg.models.loading import SavedOutput, load_output

_ATTEMPTS = 5


@dataclass(frozen=True)
class ModelFiles:
    """A model, and the versions of its files.

    Attributes
    ----------
    saved : SavedOutput
    names : tuple of str
    versions : tuple of FileVersion
    """

    saved: SavedOutput
    names: tuple[str, ...]
    versions: tuple[FileVersion, ...]

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the content of each file, one at a time.

        Raises
        ------
        DataError
            If a file has changed since the model was loaded.
        ResourceError
            If a file cannot be read.
        """
        folder = self.saved.folder
        with wrap_store_errors("model_path", self.saved.url):
            for name, version in zip(self.names, self.versions, strict=True):
                self._refuse_change(folder, name, version)
                try:
                    content = folder.read(name)
                except OSError as error:
                    raise unreachable("model_path", self.saved.url, error) from None
                self._refuse_change(folder, name, version)
                yield name, content

    def key(self) -> str:
        """Return a hash of the files.

        Raises
        ------
        DataError, ResourceError
            See `contents`.
        """
        digest = hashlib.blake2b(digest_size=16)
        for name, content in self.contents():
            digest.update(f"{name} {len(content)}:".encode())
            digest.update(content)
        return digest.hexdigest()

    def _refuse_change(self, folder: ModelFolder, name: str, version: FileVersion) -> None:
        """Refuse a file of another version."""
        try:
            folder.storage.refuse_change(f"{folder.path}/{name}", version)
        except DataError:
            raise DataError(
                "model.changed", f"{name} has changed since the model was loaded",
                value=self.saved.url, parameter="model_path",
                hint="score again when no run publishes there; an older output is as it was",
            ) from None  # fmt: skip


def load_model_files(
    path: str, storage_options: Mapping[str, Any] | None, parameter: str = "model.path"
) -> ModelFiles:
    """Load the model of a path, and the versions of its files.

    The model is loaded a second time: a run may publish another one between the two steps.

    Parameters
    ----------
    path : str
    storage_options : mapping or None
    parameter : str
        What errors call the path.

    Raises
    ------
    ConfigError, DataError, ResourceError
        As `load_output`.
    """
    with parameter_names({"path": parameter}):
        first = load_output(path, storage_options=storage_options)
        for _ in range(_ATTEMPTS):
            names, folder = first.model.file_names(), first.folder
            versions = tuple(folder.storage.version(f"{folder.path}/{name}") for name in names)
            saved = load_output(path, storage_options=storage_options)
            if saved.url == first.url and saved.model.file_names() == names:
                return ModelFiles(saved, names, versions)
            first = saved
    raise ResourceError(
        "model.changes", "the model changes while it is loaded", value=path, parameter="model_path",
        hint="score again when no run publishes there",
    )  # fmt: skip
