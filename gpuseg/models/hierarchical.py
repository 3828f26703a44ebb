"""A fitted hierarchy as a value: cut at any level without a look at the data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load

from gpuseg.algorithms.hierarchical.ward import Hierarchy
from gpuseg.backends.base import Centers
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.errors import DataError
from gpuseg.models.kmeans import FORMAT, KMeansModel, as_files
from gpuseg.preprocessing.pipeline import FeaturePipeline


@dataclass(frozen=True)
class HierarchicalModel:
    """Everything that scoring a new customer needs, at every level.

    Attributes
    ----------
    micro : KMeansModel
        Of the small segments that are merged.
    hierarchy : Hierarchy
        `hierarchy.merges` is a linkage matrix of them, as SciPy has it.
    levels : tuple of int
        Numbers of segments that were asked for, rising; the last is that of `predict`.
    """

    micro: KMeansModel
    hierarchy: Hierarchy
    levels: tuple[int, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The features that are clustered by."""
        return self.micro.features

    @property
    def preparation(self) -> FeatureTransform:
        """From raw features to scaled ones."""
        return self.micro.preparation

    @property
    def replay(self) -> FeaturePipeline:
        """From raw rows to those that are clustered."""
        return self.micro.replay

    @property
    def n_clusters(self) -> int:
        """Number of segments at the finest level that was asked for."""
        return self.levels[-1]

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """The segment of each small one, int32 (m,)."""
        return self.hierarchy.cut(self.n_clusters)

    def cut(self, n_clusters: int) -> "HierarchicalModel":
        """Return the model with another number of segments; nothing is fitted again.

        Raises
        ------
        DataError
            For fewer than one, or more than there are small segments.
        """
        if not 1 <= n_clusters <= self.hierarchy.n_points:
            raise DataError(
                f"n_clusters = {n_clusters}: must be from 1 to {self.hierarchy.n_points}, the "
                "number of small segments; fit with more micro_segments for more"
            )
        return replace(self, levels=(n_clusters,))

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the segment of each row of raw features, int32 (n,).

        It is that of the nearest small segment. X, and errors, as those of `KMeansModel.predict`.
        """
        found: NDArray[np.int32] = self.labels[self.micro.predict(X)]
        return found

    def files(self) -> dict[str, bytes]:
        """Return the files of the saved model by name."""
        centers = self.micro.centers
        description = {
            "format": FORMAT,
            "algorithm": "hierarchical",
            **self.replay.described(),
            "levels": list(self.levels),
            "labels": "that of the nearest small segment in scaled units, ties to the lowest index",
        }
        tensors = {
            "centers": centers.values,
            "center_shift": centers.shift,
            "merges": self.hierarchy.merges,
            **self.replay.tensors(),
        }
        return as_files(description, tensors)

    @classmethod
    def from_files(
        cls, description: Mapping[str, Any], read: Callable[[str], bytes]
    ) -> "HierarchicalModel":
        """Build the model from its description and a function that reads its files."""
        t = load(read("model.safetensors"))
        micro = KMeansModel(
            FeaturePipeline.read(description, t), Centers(t["centers"], t["center_shift"])
        )
        return cls(micro, Hierarchy(t["merges"]), tuple(description["levels"]))
