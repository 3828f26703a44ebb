"""A fitted segmentation as a value: saved as JSON and safetensors, loaded, applied to new rows."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load, save

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.types import Centers
from gpuseg.preprocessing.pipeline import FeaturePipeline

FORMAT = 2


@dataclass(frozen=True)
class KMeansModel:
    """Everything that scoring a new customer needs.

    Attributes
    ----------
    replay : FeaturePipeline
        From raw rows to those that are clustered.
    centers : Centers
        In scaled units.
    """

    replay: FeaturePipeline
    centers: Centers

    @property
    def features(self) -> tuple[str, ...]:
        """The features that are clustered by."""
        return self.replay.features

    @property
    def preparation(self) -> FeatureTransform:
        """From raw features to scaled ones."""
        return self.replay.feature_transform

    @property
    def n_clusters(self) -> int:
        """Number of centres, int."""
        return len(self.centers.values)

    @property
    def cluster_centers_(self) -> NDArray[np.float64]:
        """Centres in the units of the input, float64 (k, d)."""
        return self.preparation.inverse(self.centers.values)

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the segment of each row of raw features, int32 (n,).

        Parameters
        ----------
        X : array-like (n, d) or data frame
            In the units of the input. Columns of a data frame are taken by their names; those
            of an array must be in the order of `replay.columns`.

        Raises
        ------
        DataError
            For another number of columns, one of another type, or values that are missing and
            are not filled, infinite, or outside a transform's domain.
        """
        name = registry.choose_backend("auto").name
        x, backend = self.replay.transform(X, name), registry.get(name)
        labels: NDArray[np.int32] = backend.nearest(x, backend.pack(self.centers))[0]
        return labels

    def files(self) -> dict[str, bytes]:
        """Return the files of the saved model by name."""
        c = self.centers
        description = {
            "format": FORMAT,
            "algorithm": "kmeans",
            **self.replay.to_json(),
            "n_clusters": len(c.values),
            "metric": "cosine" if self.preparation.unit else "euclidean",
            "labels": "nearest centre in scaled units, ties to the lowest index",
        }
        tensors = {
            "centers": c.values,
            "center_shift": c.shift,
            **self.replay.tensors(),
        }
        return as_files(description, tensors)

    @classmethod
    def from_files(
        cls, description: Mapping[str, Any], read: Callable[[str], bytes]
    ) -> "KMeansModel":
        """Build the model from its description and a function that reads its files."""
        t = load(read("model.safetensors"))
        return cls(
            FeaturePipeline.from_json(description, t), Centers(t["centers"], t["center_shift"])
        )


def as_files(description: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of a saved model: what JSON holds of it, and its arrays."""
    text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    return {"model.json": text.encode(), "model.safetensors": save(contiguous)}
