"""A fitted DBSCAN as a value: its core rows tell where a new customer belongs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load

from gpuseg.algorithms.dbscan.core_samples import CoreSamples
from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.backends import registry
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.models.core_sample_files import read_core_rows
from gpuseg.models.kmeans import FORMAT, as_files
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.runtime.executor import LocalExecutor


@dataclass(frozen=True)
class DBSCANModel:
    """Everything that scoring a new customer needs.

    Attributes
    ----------
    replay : FeaturePipeline
        From raw rows to those that are clustered.
    params : DBSCANParams
    core_files : tuple of str
        Where the core rows are, beside the model.
    n_clusters : int
    read : callable
        Returns what is in a file of the model.
    """

    replay: FeaturePipeline
    params: DBSCANParams
    core_files: tuple[str, ...]
    n_clusters: int
    read: Callable[[str], bytes]

    @property
    def features(self) -> tuple[str, ...]:
        """The features that are clustered by."""
        return self.replay.features

    @property
    def preparation(self) -> FeatureTransform:
        """From raw features to scaled ones."""
        return self.replay.feature_transform

    @cached_property
    def core_rows(self) -> CoreSamples:
        """The core rows, in scaled units; read when first asked for."""
        found = read_core_rows(self.read, self.core_files, self.preparation.n_columns)
        return CoreSamples(*found, self.params)

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the segment of the nearest core row within eps, or -1, int32 (n,).

        Parameters
        ----------
        X : array-like (n, d) or data frame
            In the units of the input. Columns of a data frame are taken by their names; those
            of an array must be in the order of `replay.columns`.

        Raises
        ------
        DataError
            As `Model.predict`; and where files of the model are missing or damaged.
        """
        backend = registry.choose_backend("auto").name
        x = self.replay.transform(X, backend)
        return self.core_rows.assign(x, backend, LocalExecutor().context)[0]

    def files(self) -> dict[str, bytes]:
        """Return the files of the saved model by name, but those of the core rows."""
        description = {
            "format": FORMAT,
            "algorithm": "dbscan",
            **self.replay.to_json(),
            **self.params.model_dump(),
            "n_clusters": self.n_clusters,
            "core_files": list(self.core_files),
            "labels": "that of the nearest core row within eps in scaled units, -1 without one",
        }
        return as_files(description, self.replay.tensors())

    @classmethod
    def from_files(
        cls, description: Mapping[str, Any], read: Callable[[str], bytes]
    ) -> "DBSCANModel":
        """Build the model from its description and a function that reads its files."""
        t = load(read("model.safetensors"))
        params = DBSCANParams(**{name: description[name] for name in DBSCANParams.model_fields})
        return cls(
            FeaturePipeline.from_json(description, t),
            params,
            tuple(description["core_files"]),
            description["n_clusters"],
            read,
        )
