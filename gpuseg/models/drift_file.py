"""The file of a model with what drift is measured against."""

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from gpuseg.errors import DataError
from gpuseg.models.folder import ModelFolder
from gpuseg.monitoring.reference import N_BINS, DriftReference
from gpuseg.record import NOISE

DRIFT_FILE = "drift.safetensors"


def drift_file(reference: DriftReference) -> bytes:
    """Return the content of the file."""
    arrays = {each.name: getattr(reference, each.name) for each in fields(reference)}
    del arrays["features"]
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def read_drift_file(
    folder: ModelFolder, features: tuple[str, ...], segment_ids: NDArray[np.int32]
) -> DriftReference:
    """Return what the file holds; features and numbers of segments are those of the model.

    Raises
    ------
    OSError, DataError
        For a file that is missing or damaged.
    """
    tensors, d, k = folder.tensors(DRIFT_FILE), len(features), len(segment_ids)
    g = len(tensors["groups"]) if "groups" in tensors else 0
    layout: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "edges": (np.float32, (d, N_BINS - 1)),
        "positions": (np.float64, (d, N_BINS)),
        "std": (np.float64, (d,)),
        "counts": (np.int64, (d, N_BINS + 1)),
        "segments": (np.int32, (k + 1,)),
        "sizes": (np.int64, (k + 1,)),
        "mean_distance": (np.float64, (k + 1,)),
        "mean_square": (np.float64, (k + 1,)),
        "far_distance": (np.float32, (k + 1,)),
        "far": (np.int64, (k + 1,)),
        "groups": (np.int32, (g,)),
        "group_counts": (np.int64, (g, d, N_BINS + 1)),
        "dropped": (np.int64, (1,)),
    }
    for name, (dtype, shape) in layout.items():
        array = tensors.get(name)
        if array is None or array.dtype != dtype or array.shape != shape:
            raise _damaged(name, f"must be {np.dtype(dtype)} of the shape {shape}")
    reference = DriftReference(features, **{name: tensors[name] for name in layout})
    if not (reference.edges[:, 1:] >= reference.edges[:, :-1]).all():
        raise _damaged("edges", "must not fall, and have no NaN")
    if not np.array_equal(reference.segments, [NOISE, *segment_ids.tolist()]):
        raise _damaged("segments", "must be noise and then the segments of the model")
    if g != len(set(reference.groups.tolist()).intersection(segment_ids.tolist())):
        raise _damaged("groups", "must be segments of the model, each once")
    for name in ("counts", "sizes", "far", "group_counts", "dropped"):
        if (tensors[name] < 0).any():
            raise _damaged(name, "must not be negative")
    return reference


def _damaged(name: str, rule: str) -> DataError:
    return DataError(
        "model.damaged",
        f"{DRIFT_FILE} does not suit model.json at {name!r}",
        rule=rule,
        hint="run the job again",
    )
