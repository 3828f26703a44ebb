"""A fitted k-means as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gpuseg.algorithms.kmeans.nearest_center import NearestCenter
from gpuseg.backends import registry
from gpuseg.backends.types import Centers
from gpuseg.model_selection.confidence import RunnerUp
from gpuseg.models.base import SegmentModel, model_files, register_model
from gpuseg.models.drift_file import read_drift_file
from gpuseg.models.folder import ModelFolder
from gpuseg.models.identity import FROM_ZERO, SegmentIdentity
from gpuseg.models.saved_model import SavedModel
from gpuseg.models.segment_points import SegmentPoints
from gpuseg.monitoring.reference import DriftReference
from gpuseg.output_columns import SEGMENT
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.preprocessing.saved_pipeline import saved_array, validated_values
from gpuseg.runtime.executor import TaskContext


class SavedKMeans(SavedModel):
    """What model.json of k-means holds."""

    n_clusters: Annotated[int, Field(ge=1)]
    metric: Literal["euclidean", "cosine"]

    @model_validator(mode="after")
    def _metric_suits_rows(self) -> "SavedKMeans":
        if (self.metric == "cosine") != self.unit_length:
            raise ValueError("metric and unit_length contradict each other")
        return self


@register_model
@dataclass(frozen=True, repr=False)
class KMeansModel(SegmentModel):
    """Everything that scoring a new customer needs; see `SegmentModel`.

    Attributes
    ----------
    pipeline : FeaturePipeline
        From raw rows to the rows that are clustered.
    centers : Centers
        In scaled units.
    identity : SegmentIdentity
        The numbers of the segments.
    reference : DriftReference or None
        What drift is measured against.

    Examples
    --------
    >>> import gpuseg
    >>> model = gpuseg.load_model("out/segments")  # doctest: +SKIP
    >>> model.predict([[12.0, 3, 89.90]], return_distance=True)  # doctest: +SKIP
    (array([2], dtype=int32), array([0.71], dtype=float32))
    """

    name: ClassVar[str] = "kmeans"

    pipeline: FeaturePipeline
    centers: Centers
    identity: SegmentIdentity = FROM_ZERO
    reference: DriftReference | None = None

    @property
    def n_clusters(self) -> int:
        """Number of centers, int."""
        return len(self.centers.values)

    @property
    def cluster_centers_(self) -> NDArray[np.float64]:
        """Centers in the units of the input, float64 (k, d)."""
        return self.feature_transform.inverse(self.centers.values)

    def _assign(
        self, z: NDArray[np.float32], backend: str, context: TaskContext, with_distance: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float64] | None]:
        nearest, to_host = self._nearest.of(backend), registry.get(backend).to_host
        labels, squares = nearest.labels_and_squares(z, context)
        return to_host(labels), np.sqrt(to_host(squares)) if with_distance else None

    @cached_property
    def _nearest(self) -> "_NearestByBackend":
        return _NearestByBackend(self.centers)

    def with_identity(self, identity: SegmentIdentity) -> Self:
        """Return the same model with other numbers of its segments; centers rise by number."""
        order = np.argsort(identity.of(SEGMENT, self.n_clusters))
        if SEGMENT not in identity.ids or np.array_equal(order, np.arange(len(order))):
            return super().with_identity(identity)
        ids = {**identity.ids, SEGMENT: identity.ids[SEGMENT][order]}
        centers = Centers(self.centers.values[order], self.centers.shift)
        changed = self._numbered(identity, order) | {"identity": replace(identity, ids=ids)}
        return replace(self, centers=centers, **changed)

    def runner_up(self) -> RunnerUp:
        """Return the centers."""
        return RunnerUp(self.centers.values, self.identity.ids.get(SEGMENT))

    def segment_points(self) -> SegmentPoints:
        """Return the centers."""
        return SegmentPoints(self.centers, {SEGMENT: self.segment_ids})

    def to_files(self) -> dict[str, bytes]:
        """Return the files of the saved model by name."""
        facts = {
            "n_clusters": self.n_clusters,
            "metric": "cosine" if self.feature_transform.unit else "euclidean",
            "labels": "nearest center in scaled units, ties to the lowest index",
        }
        return model_files(self, facts, center_tensors(self.centers))

    @classmethod
    def from_files(cls, folder: ModelFolder) -> "KMeansModel":
        """Build the model from its files; see `SegmentModel.from_files`."""
        saved, tensors = validated_values(SavedKMeans, folder.description()), folder.tensors()
        pipeline = FeaturePipeline.from_saved(saved, tensors)
        width, n_clusters = pipeline.feature_transform.n_columns, saved.n_clusters
        identity = SegmentIdentity.from_saved(
            saved.segment_ids, saved.lineage, {SEGMENT: n_clusters}
        )
        ids = identity.of(SEGMENT, n_clusters)
        if (np.diff(ids) < 0).any():
            raise ValueError("segment_ids.segment must rise, as centers are in the same order")
        return cls(
            pipeline,
            saved_centers(tensors, n_clusters, width),
            identity,
            read_drift_file(folder, pipeline.features, ids) if saved.drift else None,
        )


class _NearestByBackend:
    """The packed centers of a model, which are packed once in a process for each backend."""

    def __init__(self, centers: Centers) -> None:
        self._centers = centers
        for array in (centers.values, centers.shift):
            array.flags.writeable = False  # a change would be ignored
        self._packed: dict[str, NearestCenter] = {}

    def __reduce__(self) -> tuple[type["_NearestByBackend"], tuple[Centers]]:
        return type(self), (self._centers,)  # centers on a GPU stay in their process

    def of(self, backend: str) -> NearestCenter:
        """Return the centers, packed for a backend."""
        packed = self._packed.get(backend)
        if packed is None:
            packed = self._packed[backend] = NearestCenter(self._centers, backend)
        return packed


def center_tensors(centers: Centers) -> dict[str, NDArray[Any]]:
    """Return the arrays that save centers."""
    return {"centers": centers.values, "center_shift": centers.shift}


def saved_centers(
    tensors: Mapping[str, NDArray[Any]], n_centers: int | None, n_columns: int
) -> Centers:
    """Return the centers that `center_tensors` saved; None is any number of them.

    Raises
    ------
    DataError
    """
    return Centers(
        saved_array(tensors, "centers", np.float64, (n_centers, n_columns)),
        saved_array(tensors, "center_shift", np.float32, (n_columns,)),
    )
