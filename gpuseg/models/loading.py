"""Load a saved model of any algorithm, from a path or a URL."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpuseg.errors import DataError, GpusegError, literal
from gpuseg.io.library_errors import first_line
from gpuseg.io.output.base import SUCCESS
from gpuseg.io.storage import Storage, unreachable, wrap_store_errors
from gpuseg.manifest import MANIFEST, read_fit_manifest
from gpuseg.models import dbscan, hierarchical, kmeans
from gpuseg.models.base import SegmentModel, model_class
from gpuseg.models.described_model import DescribedModel
from gpuseg.models.folder import TENSORS, ModelFolder
from gpuseg.models.registered_models import ALIASES, resolve_model
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


@dataclass(frozen=True, kw_only=True)
class SavedOutput(DescribedModel):
    """The model of an output, and what the manifest of the output says of it.

    Attributes
    ----------
    url : str
        The path or URL that it was loaded from; of a registered model the folder of the version.
    storage : Storage
        The output folder; the folder of the model where there is no output around it.
    """

    url: str
    storage: Storage

    @property
    def folder(self) -> ModelFolder:
        """The folder of the model's files."""
        return _described_folder(self.storage)[0]


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
            model = _load_model(url, storage)
            return SavedOutput(model, read_fit_manifest(storage), url=url, storage=storage)
    given = Storage.from_url(url, storage_options or {}, "path")
    return SavedOutput(_load_model(url, given), url=url, storage=given)


def _load_model(url: str, storage: Storage) -> SegmentModel:
    with wrap_store_errors("path", url):
        try:
            folder, description = _described_folder(storage)
        except (FileNotFoundError, NotADirectoryError) as error:
            is_registered = storage.fs.exists(f"{storage.root}/{ALIASES}")
            raise _no_model(url, error, is_registered) from None
        except OSError as error:
            raise unreachable("path", url, error) from None
        except GpusegError as error:
            raise _naming(error, url) from None
        try:
            return model_class(_algorithm(description)).from_files(folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _incomplete(url, error) from None
        except OSError as error:
            raise unreachable("path", url, error) from None
        except GpusegError as error:
            raise _naming(error, url) from None
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            # Of a plug-in that does not check what it reads.
            raise DataError(
                "model.damaged",
                f"{url}: model.json or model.safetensors is damaged ({first_line(error)})",
                hint="run the job again",
            ) from error


def _naming(error: GpusegError, url: str) -> GpusegError:
    """Return an error that names the path, too."""
    if error.value != url:
        error.problem = f"{url}: {error.problem}"
    return error


def _described_folder(storage: Storage) -> tuple[ModelFolder, dict[str, Any]]:
    """Return the folder of the model, and what its model.json holds.

    Raises
    ------
    OSError, DataError
    """
    inner = ModelFolder(storage, f"{storage.root}/{MODEL}")
    try:
        description = inner.description()
    except (FileNotFoundError, NotADirectoryError) as error:
        return _described_root(storage, inner, error)
    _refuse_unpublished(storage)
    return inner, description


def _described_root(
    storage: Storage, inner: ModelFolder, error: OSError
) -> tuple[ModelFolder, dict[str, Any]]:
    """Return the same of the path itself, which is no output with a model.

    Raises
    ------
    OSError, DataError
    """
    folder, fs = ModelFolder(storage, storage.root), storage.fs
    try:
        return folder, folder.description()
    except (FileNotFoundError, NotADirectoryError):
        if any(fs.exists(f"{one.path}/{TENSORS}") for one in (inner, folder)):
            raise _incomplete(storage.url, error) from None
        raise


def _refuse_unpublished(storage: Storage) -> None:
    """Refuse an output of an object store whose files are being replaced: it may have two models.

    Raises
    ------
    DataError
    """
    root, fs = storage.root, storage.fs
    if storage.is_local or not fs.exists(f"{root}/{MANIFEST}") or fs.exists(f"{root}/{SUCCESS}"):
        return
    raise DataError(
        "output.not_complete",
        f"{storage.url}: the output has no {SUCCESS}",
        rule="it is being published, or its run was killed while it published",
        hint="load it again in a minute; if nothing runs, run the job again",
        parameter="path",
    )


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


def _incomplete(url: str, error: OSError) -> DataError:
    return DataError(
        "model.incomplete",
        f"{url}: a file of the model is missing ({first_line(error)})",
        rule="a model has model.json, model.safetensors and the files that model.json names",
        hint="copy the whole _model folder, or run the job again",
        parameter="path",
    )


def _no_model(url: str, error: OSError, is_registered: bool) -> DataError:
    return DataError(
        "model.not_found",
        f"{url}: no model ({first_line(error)})",
        hint=f"name a version, such as {literal(url.rstrip('/'))}@latest"
        if is_registered
        else "give the output folder of a run",
        parameter="path",
    )
