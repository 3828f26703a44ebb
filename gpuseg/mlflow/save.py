"""Save a segmentation as a model of MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpuseg import __version__
from gpuseg.manifest import MANIFEST, Manifest, dump
from gpuseg.mlflow.load import DATA, FLAVOR
from gpuseg.mlflow.package import import_mlflow
from gpuseg.mlflow.signature import NumberType, signature_of
from gpuseg.models.base import SegmentModel
from gpuseg.models.described_model import DescribedModel
from gpuseg.models.example_row import example_row
from gpuseg.models.loading import MODEL, load_output
from gpuseg.runtime.temporary_folder import temporary_folder


def save_model(
    model: SegmentModel | DescribedModel | str | Path,
    path: str | Path,
    *,
    number_type: NumberType = "any",
    signature: Any = None,
    input_example: Any = None,
    pip_requirements: str | Sequence[str] | None = None,
    extra_pip_requirements: str | Sequence[str] | None = None,
    conda_env: str | Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    mlflow_model: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Save a segmentation as a folder that `mlflow.pyfunc` loads; nothing in it is pickled.

    Parameters
    ----------
    model : SegmentModel, str or Path
        An output of a run, its ``_model``, or a version in a registry; or a model in memory. Only
        an output has the names of the segments and the id of the run.
    path : str or Path
        The new folder.
    number_type : {"any", "double"}, default "any"
        Type of columns of numbers in the signature. With "any" they may be integers, floats or
        decimals, and MLflow looks at each value by itself. With "double" MLflow checks a column in
        one step, and refuses 64-bit integers: cast these columns.
    signature : mlflow.models.ModelSignature, optional
        By default it is made from the model.
    input_example : optional
        By default one row in the middle of the data of the fit, which is no customer's.
    pip_requirements, extra_pip_requirements, conda_env, metadata, mlflow_model : optional
        As for `mlflow.pyfunc.save_model`. The requirements are by default this version of
        ``gpuseg[mlflow]`` and that of ``mlflow-skinny``.
    storage_options : mapping, optional
        Options of the file system of `model`.

    Raises
    ------
    ConfigError
        For an unknown `number_type`.
    DataError
        When there is no model, or a damaged one.
    ResourceError
        When MLflow cannot be imported.
    mlflow.exceptions.MlflowException
        When `path` exists, and for arguments that MLflow refuses.
    """
    mlflow = import_mlflow()
    loaded, manifest = _loaded(model, storage_options)
    target = mlflow.models.Model() if mlflow_model is None else mlflow_model
    target.add_flavor(FLAVOR, gpuseg_version=__version__, algorithm=loaded.name, data=DATA)
    if conda_env is None and pip_requirements is None:
        pip_requirements = _requirements(mlflow.__version__, extra_pip_requirements)
        extra_pip_requirements = None  # MLflow takes one of the two
    with temporary_folder() as folder:
        data = Path(folder) / Path(DATA).name
        _write(loaded, manifest, data)
        mlflow.pyfunc.save_model(
            path=str(path),
            loader_module="gpuseg.mlflow",
            data_path=str(data),
            mlflow_model=target,
            signature=signature_of(loaded, number_type) if signature is None else signature,
            input_example=_example(loaded) if input_example is None else input_example,
            pip_requirements=pip_requirements,
            extra_pip_requirements=extra_pip_requirements,
            conda_env=conda_env,
            metadata={**_facts(loaded, manifest), **(metadata or {})},
        )


def _loaded(
    model: SegmentModel | DescribedModel | str | Path, storage_options: Mapping[str, Any] | None
) -> tuple[SegmentModel, Manifest | None]:
    """Return the model, and the manifest of its run if that is known."""
    if isinstance(model, SegmentModel):
        return model, None
    output = model
    if not isinstance(output, DescribedModel):
        output = load_output(output, storage_options=storage_options)
    return output.model, output.manifest


def _requirements(mlflow_version: str, extra: str | Sequence[str] | None) -> list[str]:
    """Return what a model needs, and further requirements or the file that has them.

    Without this list, MLflow adds itself with all that training needs.
    """
    needed = [f"gpuseg[mlflow]=={__version__}", f"mlflow-skinny=={mlflow_version}"]
    if isinstance(extra, str):
        return [*needed, f"-r {Path(extra).absolute()}"]
    return [*needed, *(extra or ())]


def _write(model: SegmentModel, manifest: Manifest | None, folder: Path) -> None:
    """Write the files of an output that a model is loaded from."""
    (folder / MODEL).mkdir(parents=True)
    for name, content in model.complete_files().items():
        (folder / MODEL / name).write_bytes(content)
    if manifest is not None:
        (folder / MANIFEST).write_bytes(dump(manifest))


def _facts(model: SegmentModel, manifest: Manifest | None) -> dict[str, Any]:
    """Return what MLflow shows of the model."""
    facts = {
        "gpuseg_version": __version__,
        "algorithm": model.name,
        "n_clusters": model.n_clusters,
    }
    if manifest is None:
        return facts
    names = {str(s.segment): s.name for s in manifest.segments if s.name}
    return {**facts, "gpuseg_run_id": manifest.run_id, "segment_names": names}


def _example(model: SegmentModel) -> Any:
    from pandas import DataFrame

    return DataFrame([example_row(model.pipeline)])
