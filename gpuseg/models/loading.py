"""Load a saved model of any algorithm, from a path or a URL."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpuseg.errors import DataError, GpusegError
from gpuseg.io.library_errors import first_line
from gpuseg.io.storage import Storage, unreachable, wrap_store_errors
from gpuseg.manifest import MANIFEST, Manifest, read_manifest
from gpuseg.models import dbscan, hierarchical, kmeans
from gpuseg.models.base import SegmentModel, model_class
from gpuseg.models.folder import ModelFolder
from gpuseg.models.registered_models import resolve_model
from gpuseg.models.saved_model import FORMAT

MODEL = "_model"
"""The folder of the model in an output."""

__all__ = [
    "dbscan",
    "hierarchical",
    "kmeans",
    "load_model",
    "load_output",
]  # imported to register their classes


def load_model(
    path: str | Path, *, storage_options: Mapping[str, Any] | None = None
) -> SegmentModel:
    """Load the model of an output folder, or of its ``_model`` folder.

    Parameters
    ----------
    path : str or Path
        A local path, or any fsspec URL, such as ``s3://bucket/segments``; or a version in a
        registry of models, as in ``registry/shop@champion`` or ``registry/shop:3``.
    storage_options : mapping, optional
        Options of the URL's file system, such as credentials.

    Returns
    -------
    KMeansModel, DBSCANModel or HierarchicalModel

    Raises
    ------
    ConfigError
        For a URL of an unknown file system.
    DataError
        When there is no model at `path`, or none that this version reads.
    ResourceError
        When the file system cannot be reached, a file may not be read, or the package of the
        model's algorithm cannot be loaded.

    Examples
    --------
    >>> import gpuseg
    >>> model = gpuseg.load_model("out/segments")  # doctest: +SKIP
    >>> model = gpuseg.load_model("s3://bucket/segments")  # doctest: +SKIP
    """
    url = resolve_model(str(path), storage_options)
    return _load_model(url, Storage.from_url(url, storage_options or {}, "path"))


@dataclass(frozen=True)
class SavedOutput:
    """The model of an output, and what the manifest of the output says of it.

    Attributes
    ----------
    url : str
        The path or URL that it was loaded from; of a registered model the folder of the version.
    storage : Storage
        The output folder; the folder of the model where there is no output around it.
    model : SegmentModel
    manifest : Manifest or None
        None where there is a model without the output of its run.
    """

    url: str
    storage: Storage
    model: SegmentModel
    manifest: Manifest | None

    @property
    def folder(self) -> ModelFolder:
        """The folder of the model's files."""
        return _described_folder(self.storage)[0]

    @property
    def run_id(self) -> str | None:
        """The run that the model was made in, if that is known."""
        return None if self.manifest is None else self.manifest.run_id

    @property
    def segment_names(self) -> dict[int, str]:
        """The names of the segments that have one."""
        segments = self.manifest.segments if self.manifest else ()
        return {segment.segment: segment.name for segment in segments if segment.name}


def load_output(
    path: str | Path, *, storage_options: Mapping[str, Any] | None = None
) -> SavedOutput:
    """Load the model of an output folder, or of its ``_model`` folder, with the manifest.

    Parameters
    ----------
    path, storage_options : see `load_model`

    Raises
    ------
    ConfigError, DataError, ResourceError
        As `load_model`, and for a manifest that cannot be understood.
    """
    url = resolve_model(str(path), storage_options)
    storage = Storage.from_url(url, storage_options or {}, "path")
    if storage.root.rstrip("/").endswith(f"/{MODEL}"):
        outer = storage.root.rstrip("/").removesuffix(f"/{MODEL}")
        storage = replace(storage, root=outer)
    with wrap_store_errors("path", url):
        try:
            has_manifest = storage.fs.exists(f"{storage.root}/{MANIFEST}")
        except OSError as error:
            raise unreachable("path", url, error) from None
        if has_manifest:
            return SavedOutput(url, storage, _load_model(url, storage), read_manifest(storage))
    given = Storage.from_url(url, storage_options or {}, "path")
    return SavedOutput(url, given, _load_model(url, given), None)


def _load_model(url: str, storage: Storage) -> SegmentModel:
    with wrap_store_errors("path", url):
        try:
            folder, description = _described_folder(storage)
            return model_class(_algorithm(description)).from_files(folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _no_model(url, error) from None
        except OSError as error:
            raise unreachable("path", url, error) from None
        except GpusegError as error:
            if error.value != url:
                error.problem = f"{url}: {error.problem}"
            raise
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            # Of a plug-in that does not check what it reads.
            raise DataError(
                "model.damaged",
                f"{url}: model.json or model.safetensors is damaged ({first_line(error)})",
                hint="run the job again",
            ) from error


def _described_folder(storage: Storage) -> tuple[ModelFolder, dict[str, Any]]:
    """Return the folder of the model, and what its model.json holds."""
    inner = ModelFolder(storage, f"{storage.root}/{MODEL}")
    try:
        return inner, inner.description()
    except (FileNotFoundError, NotADirectoryError):
        folder = ModelFolder(storage, storage.root)
        return folder, folder.description()


def _algorithm(description: Mapping[str, Any]) -> str:
    """Return the name of the algorithm, if this version reads the files.

    Raises
    ------
    DataError
    """
    version, algorithm = description.get("format"), description.get("algorithm")
    if type(version) is not int or version != FORMAT:
        raise DataError(
            "model.wrong_format",
            f"model.json: format {version!r}",
            rule=f"this version of gpuseg reads format {FORMAT}",
            hint="use the version that wrote it",
        )
    if not isinstance(algorithm, str):
        raise DataError(
            "model.damaged",
            f"model.json: algorithm {algorithm!r}",
            rule="must be a name",
            hint="run the job again",
        )
    return algorithm


def _no_model(url: str, error: OSError) -> DataError:
    return DataError(
        "model.not_found",
        f"{url}: no model ({first_line(error)})",
        hint="give the output folder of a run",
        parameter="path",
    )
