"""A fitted segmentation as a value: saved as JSON and safetensors, loaded, applied to new rows."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load, save

from gpuseg.backends import registry
from gpuseg.backends.base import TRANSFORMS, Centers, Preparation
from gpuseg.backends.scale import Scale
from gpuseg.errors import DataError

FORMAT = 1


@dataclass(frozen=True)
class Model:
    """Everything that scoring a new customer needs.

    Attributes
    ----------
    features : tuple of str
        In the order of the columns.
    preparation : Preparation
        From raw features to scaled ones.
    centers : Centers
        In scaled units.
    """

    features: tuple[str, ...]
    preparation: Preparation
    centers: Centers

    @property
    def n_clusters(self) -> int:
        """Number of centres, int."""
        return len(self.centers.values)

    @property
    def cluster_centers_(self) -> NDArray[np.float64]:
        """Centres in the units of the input, float64 (k, d)."""
        return Scale(self.preparation).to_input_units(self.centers.values)

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the segment of each row of raw features, int32 (n,).

        Parameters
        ----------
        X : array-like (n, d) or data frame
            In the units of the input. Columns of a data frame are taken by their names; those
            of an array must be in the order of `features`.

        Raises
        ------
        DataError
            For another number of columns, or values that are missing and were not at fit,
            infinite, or outside a transform's domain.
        """
        name = registry.choose("auto").name
        x, backend = prepared_rows(X, self.features, self.preparation, name), registry.get(name)
        labels: NDArray[np.int32] = backend.nearest(x, backend.pack(self.centers))[0]
        return labels

    def files(self) -> dict[str, bytes]:
        """Return the files of the saved model by name."""
        p, c = self.preparation, self.centers
        description = {
            "format": FORMAT,
            "algorithm": "kmeans",
            "features": list(self.features),
            "transform": transform_names(p),
            "n_clusters": len(c.values),
            "metric": "cosine" if p.unit else "euclidean",
            "labels": "nearest centre in scaled units, ties to the lowest index",
        }
        tensors = {
            "centers": c.values,
            "center_shift": c.shift,
            **preparation_tensors(p),
        }
        text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
        contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        return {"model.json": text.encode(), "model.safetensors": save(contiguous)}

    @classmethod
    def from_files(cls, description: Mapping[str, Any], read: Callable[[str], bytes]) -> "Model":
        """Build the model from its description and a function that reads its files."""
        t = load(read("model.safetensors"))
        unit = description.get("metric") == "cosine"
        preparation = read_preparation(t, description["transform"], unit)
        centers = Centers(t["centers"], t["center_shift"])
        return cls(tuple(description["features"]), preparation, centers)


def preparation_tensors(p: Preparation) -> dict[str, NDArray[Any]]:
    """Return what a model's file holds of its preparation, but the names of the transforms."""
    clip = {} if p.clip is None else {"clip": p.clip}
    return {"fill": p.fill, "shift": p.shift, "scale": p.scale, **clip}


def transform_names(p: Preparation) -> list[str]:
    """Return the name of each feature's transform."""
    return [TRANSFORMS[code] for code in p.transform.tolist()]


def read_preparation(
    t: Mapping[str, NDArray[Any]], transforms: Sequence[str], unit: bool = False
) -> Preparation:
    """Return the preparation that a model's file holds."""
    codes = np.array([TRANSFORMS.index(name) for name in transforms], np.int64)
    return Preparation(t["fill"], codes, t["shift"], t["scale"], unit, t.get("clip"))


def prepared_rows(
    X: ArrayLike, features: Sequence[str], preparation: Preparation, backend: str
) -> NDArray[np.float32]:
    """Return raw rows as they are clustered, float32 (n, d); see `Model.predict`."""
    if hasattr(X, "columns"):
        lacking = [name for name in features if name not in X.columns]
        if lacking:
            raise DataError(f"X has no column {lacking[0]!r}: must have {', '.join(features)}")
        frame: Any = X
        X = frame[list(features)]
    try:
        with np.errstate(over="ignore"):
            x = np.array(X, dtype=np.float32, order="C")
    except (ValueError, TypeError) as error:
        raise DataError(f"X must hold numbers: {error}") from None
    if x.ndim != 2:
        raise DataError(f"X has shape {x.shape}: must be rows of features, as in [[1.0, 2.0]]")
    if x.shape[1] != len(features):
        raise DataError(
            f"X has {x.shape[1]} columns: must have {len(features)}, in this order: "
            f"{', '.join(features)}"
        )
    infinite = np.isinf(x).any(axis=1)  # clipping would hide it
    with np.errstate(invalid="ignore", divide="ignore"):
        registry.get(backend).prepare(x, preparation)
    bad = np.flatnonzero(infinite | ~np.isfinite(x).all(axis=1))
    if bad.size:
        raise DataError(
            f"X has {bad.size} rows with missing, infinite or out-of-domain values, first row "
            f"{bad[0]}; mend them, or fit with prepare.missing = 'mean' or 'median'"
        )
    return x
