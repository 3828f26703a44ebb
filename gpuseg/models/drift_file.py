"""The file of a model with what drift is measured against."""

from dataclasses import fields

import numpy as np
from safetensors.numpy import save

from gpuseg.models.folder import ModelFolder
from gpuseg.monitoring.reference import DriftReference

DRIFT_FILE = "drift.safetensors"


def drift_file(reference: DriftReference) -> bytes:
    """Return the content of the file."""
    arrays = {each.name: getattr(reference, each.name) for each in fields(reference)}
    del arrays["features"]
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def read_drift_file(folder: ModelFolder, features: tuple[str, ...]) -> DriftReference:
    """Return what the file holds; the features are those of the model.

    Raises
    ------
    OSError, DataError
        For a file that is missing or damaged.
    """
    return DriftReference(features=features, **folder.tensors(DRIFT_FILE))
