"""Load models of MLflow that `gpuseg.mlflow.save_model` has saved."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError, DataError
from gpuseg.mlflow.package import import_mlflow
from gpuseg.mlflow.signature import CONFIDENCE_PARAM, NEXT_PARAM
from gpuseg.models.base import SegmentModel
from gpuseg.models.loading import SavedOutput, load_output

FLAVOR = "gpuseg"

DATA = "data/segments"
"""The folder of the saved model in the folder of MLflow's model."""


def load_model(model_uri: str, dst_path: str | None = None) -> SegmentModel:
    """Load the model of an MLflow model.

    Parameters
    ----------
    model_uri : str
        As for `mlflow.pyfunc.load_model`, such as ``models:/segments@champion`` or a path.
    dst_path : str, optional
        Where MLflow downloads the model to; by default a temporary folder.

    Returns
    -------
    KMeansModel, DBSCANModel or HierarchicalModel

    Raises
    ------
    DataError
        For a model of another flavor, and for a damaged one.
    ResourceError
        When MLflow cannot be imported.
    mlflow.exceptions.MlflowException
        When MLflow does not find the model.
    """
    import_mlflow()
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    folder = Path(download_artifacts(artifact_uri=model_uri, dst_path=dst_path))
    flavors = Model.load(str(folder)).flavors
    if FLAVOR not in flavors:
        raise DataError(
            "mlflow.other_flavor",
            f"the model has the flavors {', '.join(flavors)}",
            value=model_uri,
            rule=f"must have the flavor {FLAVOR}",
            hint="load it with the flavor that saved it",
            parameter="model_uri",
        )
    return load_output(folder / DATA).model


def load_pyfunc(path: str) -> "PyfuncModel":
    """Load the saved model in a folder, for `mlflow.pyfunc`.

    Raises
    ------
    DataError
        For a damaged model.
    ResourceError
        For a version of MLflow that mixes up rows.
    """
    import_mlflow()
    return PyfuncModel(load_output(path))


class PyfuncModel:
    """A model with the interface that `mlflow.pyfunc` calls.

    Parameters
    ----------
    output : SavedOutput
    """

    def __init__(self, output: SavedOutput) -> None:
        self.output = output

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Return the segments of customers.

        Parameters
        ----------
        model_input : pandas.DataFrame
            The columns of the signature, in any order. None may be absent: a misspelt name would
            otherwise be a column of gaps.
        params : mapping, optional
            ``next`` adds the column next_segment, ``confidence`` the column confidence.

        Returns
        -------
        pandas.DataFrame
            The columns segment and distance, and one for each level of a hierarchy with several
            levels; the index is that of the input.

        Raises
        ------
        ConfigError
            For other parameters, and for those that the algorithm does not have.
        DataError
            For a missing column, and rows that the model cannot score.
        """
        wanted = self._wanted(params or {})
        scores = self.output.model.score(model_input, with_next=bool(wanted))
        shown = replace(
            scores,
            next_segment=scores.next_segment if NEXT_PARAM in wanted else None,
            confidence=scores.confidence if CONFIDENCE_PARAM in wanted else None,
        )
        return shown.as_frame(model_input)

    def _wanted(self, params: Mapping[str, Any]) -> set[str]:
        """Return the parameters that are set.

        Raises
        ------
        ConfigError
        """
        has_next = self.output.model.runner_up() is not None
        known = (NEXT_PARAM, CONFIDENCE_PARAM) if has_next else ()
        for name, value in params.items():
            if name not in known or not isinstance(value, bool):
                raise ConfigError(
                    "mlflow.unknown_param",
                    value=f"{name}={value!r}",
                    rule=f"must be one of {', '.join(known)}, true or false"
                    if known
                    else f"{self.output.model.name} has none",
                    hint="leave it out",
                    parameter="params",
                )
        return {name for name, value in params.items() if value}
