"""Log a segmentation to a run of MLflow, and register it."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from gpuseg.mlflow.package import import_mlflow
from gpuseg.mlflow.signature import NumberType
from gpuseg.models.base import SegmentModel
from gpuseg.models.described_model import DescribedModel


def log_model(
    model: SegmentModel | DescribedModel | str | Path,
    name: str,
    *,
    registered_model_name: str | None = None,
    number_type: NumberType = "any",
    signature: Any = None,
    input_example: Any = None,
    pip_requirements: str | Sequence[str] | None = None,
    extra_pip_requirements: str | Sequence[str] | None = None,
    conda_env: str | Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Log a segmentation as a model of MLflow.

    Parameters
    ----------
    model : SegmentModel, str or Path
        See `save_model`.
    name : str
        Name of the model in MLflow.
    registered_model_name : str, optional
        Name in MLflow's registry under which the model becomes a new version.
    number_type : {"any", "double"}, default "any"
        See `save_model`.
    signature, input_example, pip_requirements, extra_pip_requirements : optional
        See `save_model`.
    conda_env, metadata : optional
        See `save_model`.
    storage_options : mapping, optional
        Options of the file system of `model`.
    **options
        Further arguments of `mlflow.models.Model.log`, such as ``tags`` and ``step``.

    Returns
    -------
    mlflow.models.model.ModelInfo
        Its `model_uri` is what `load_model` takes.

    Raises
    ------
    DataError
        When there is no model, or a damaged one.
    ResourceError
        When MLflow cannot be imported.
    mlflow.exceptions.MlflowException
        When the model cannot be logged.
    """
    mlflow = import_mlflow()
    flavor = import_module("gpuseg.mlflow")  # which imports this module
    return mlflow.models.Model.log(
        artifact_path=None,
        name=name,
        flavor=flavor,
        registered_model_name=registered_model_name,
        model=model,
        number_type=number_type,
        signature=signature,
        input_example=input_example,
        pip_requirements=pip_requirements,
        extra_pip_requirements=extra_pip_requirements,
        conda_env=conda_env,
        metadata=metadata,
        storage_options=storage_options,
        **options,
    )
