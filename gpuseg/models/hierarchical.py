"""A fitted hierarchy as a value: it can be cut at any level without the data."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gpuseg.algorithms.hierarchical.ward import Hierarchy
from gpuseg.errors import ConfigError, DataError
from gpuseg.merge_tree import is_tree
from gpuseg.model_selection.confidence import RunnerUp
from gpuseg.models.base import SegmentModel, model_files, register_model
from gpuseg.models.drift_file import read_drift_file
from gpuseg.models.folder import ModelFolder
from gpuseg.models.identity import FROM_ZERO, SegmentIdentity
from gpuseg.models.kmeans import KMeansModel, center_tensors, saved_centers
from gpuseg.models.saved_model import SavedModel
from gpuseg.models.segment_points import SegmentPoints
from gpuseg.monitoring.reference import DriftReference
from gpuseg.output_columns import SEGMENT
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.preprocessing.saved_pipeline import damaged_array, saved_array, validated_values
from gpuseg.runtime.executor import TaskContext


def level_column(n_clusters: int) -> str:
    """Return the name of the output column with the segments of a level."""
    return f"segment_{n_clusters}"


class SavedHierarchy(SavedModel):
    """What model.json of a hierarchy holds."""

    levels: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _levels_increase(self) -> "SavedHierarchy":
        if self.levels != sorted(set(self.levels)):
            raise ValueError("levels must increase")
        return self


@register_model
@dataclass(frozen=True, repr=False)
class HierarchicalModel(SegmentModel):
    """Everything that scoring a new customer needs, at every level; see `SegmentModel`.

    A new row belongs to the segment of its nearest small segment.

    Attributes
    ----------
    micro : KMeansModel
        The model of the small segments that are merged.
    hierarchy : Hierarchy
        `hierarchy.merges` is their linkage matrix, in SciPy's format.
    levels : tuple of int
        Numbers of segments, increasing; `predict` uses the last one.
    identity : SegmentIdentity
        The numbers of the segments of each level.
    reference : DriftReference or None
        What drift is measured against.
    """

    name: ClassVar[str] = "hierarchical"

    micro: KMeansModel
    hierarchy: Hierarchy
    levels: tuple[int, ...]
    identity: SegmentIdentity = FROM_ZERO
    reference: DriftReference | None = None

    @property
    def pipeline(self) -> FeaturePipeline:
        """From raw rows to the rows that are clustered."""
        return self.micro.pipeline

    @property
    def n_clusters(self) -> int:
        """Number of segments at the finest level."""
        return self.levels[-1]

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """The segment of each small segment, int32 (m,)."""
        return self.identity.numbered(SEGMENT, self.hierarchy.cut(self.n_clusters))

    def cut(self, n_clusters: int) -> "HierarchicalModel":
        """Return the model with another number of segments; nothing is fitted again.

        Raises
        ------
        ConfigError
            For what is not a whole number.
        DataError
            For less than one segment, or more than there are small segments.
        """
        if isinstance(n_clusters, bool) or not isinstance(n_clusters, int | np.integer):
            raise ConfigError(
                "n_clusters.not_whole", value=n_clusters, rule="must be a whole number",
                parameter="n_clusters",
            )  # fmt: skip
        if not 1 <= n_clusters <= self.hierarchy.n_points:
            more = n_clusters > self.hierarchy.n_points
            raise DataError(
                "n_clusters.out_of_range",
                value=n_clusters,
                rule=f"must be from 1 to {self.hierarchy.n_points}, the number of small segments",
                hint="fit with a larger `micro_segments`" if more else "",
                parameter="n_clusters",
            )
        level = int(n_clusters)
        identity = self.identity.of_level(
            SEGMENT if level == self.n_clusters else level_column(level)
        )
        return replace(self, levels=(level,), identity=identity, reference=None)

    def _assign(
        self, z: NDArray[np.float32], backend: str, context: TaskContext, with_distance: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float64] | None]:
        return self.micro._assign(z, backend, context, with_distance)

    def _segments(self, nearest: NDArray[np.int32]) -> NDArray[np.int32]:
        return self.labels[nearest]

    def _levels(self, nearest: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        return {name: cut[nearest] for name, cut in self._cuts.items()}

    def level_columns(self) -> tuple[str, ...]:
        """Return the names of the columns of the levels; none if there is one level."""
        return tuple(map(level_column, self.levels)) if len(self.levels) > 1 else ()

    def n_clusters_by_column(self) -> dict[str, int]:
        """Return the number of segments by column of the output; `segment` comes first."""
        levels = zip(self.level_columns(), self.levels, strict=False)
        return {**super().n_clusters_by_column(), **dict(levels)}

    @cached_property
    def _cuts(self) -> dict[str, NDArray[np.int32]]:
        """The segment of each small segment at each level, by the name of its column."""
        return {
            name: self.identity.numbered(name, self.hierarchy.cut(k))
            for name, k in zip(self.level_columns(), self.levels, strict=False)
        }

    def runner_up(self) -> RunnerUp:
        """Return the centers of the small segments."""
        return RunnerUp(self.micro.centers.values, self.labels)

    def segment_points(self) -> SegmentPoints:
        """Return the centers of the small segments."""
        return SegmentPoints(self.micro.centers, {SEGMENT: self.labels, **self._cuts})

    def to_files(self) -> dict[str, bytes]:
        """Return the files of the saved model by name."""
        facts = {
            "levels": list(self.levels),
            "labels": "that of the nearest small segment in scaled units, ties to the lowest index",
        }
        tensors = {**center_tensors(self.micro.centers), "merges": self.hierarchy.merges}
        return model_files(self, facts, tensors)

    @classmethod
    def from_files(cls, folder: ModelFolder) -> "HierarchicalModel":
        """Build the model from its files; see `SegmentModel.from_files`."""
        saved, tensors = validated_values(SavedHierarchy, folder.description()), folder.tensors()
        pipeline = FeaturePipeline.from_saved(saved, tensors)
        centers = saved_centers(tensors, None, pipeline.feature_transform.n_columns)
        if saved.levels[-1] > centers.k:
            raise damaged_array("centers", f"must be at least {saved.levels[-1]}, as in levels")
        merges = saved_array(tensors, "merges", np.float64, (centers.k - 1, 4))
        _check_merges(merges, centers.k)
        n_clusters = {level_column(k): k for k in saved.levels} | {SEGMENT: saved.levels[-1]}
        finest, ids = level_column(saved.levels[-1]), saved.segment_ids
        if len(saved.levels) > 1 and ids.get(finest) != ids.get(SEGMENT):
            raise ValueError(f"segment_ids.{finest} must be segment_ids.{SEGMENT}")
        identity = SegmentIdentity.from_saved(saved.segment_ids, saved.lineage, n_clusters)
        reference = None
        if saved.drift:
            numbers = identity.of(SEGMENT, saved.levels[-1])
            reference = read_drift_file(folder, pipeline.features, numbers)
        return cls(
            KMeansModel(pipeline, centers),
            Hierarchy(merges),
            tuple(saved.levels),
            identity,
            reference,
        )


def _check_merges(merges: NDArray[np.float64], n_points: int) -> None:
    """Check that merges are one tree of the points: every cluster is merged once, after it is made.

    Raises
    ------
    DataError
    """
    pairs = merges[:, :2]
    if not is_tree(pairs.tolist()) or not (pairs[:, 0] < pairs[:, 1]).all():
        raise damaged_array("merges", "must merge points and earlier clusters, each once, in order")
    children = pairs.astype(np.int64)
    sizes = np.append(np.ones(n_points), merges[:, 3])
    if not (sizes[children].sum(axis=1) == merges[:, 3]).all():
        raise damaged_array("merges", "must count the points of each cluster")
    heights = np.append(0.0, merges[:, 2])
    if not (np.diff(heights) >= 0).all():
        raise damaged_array("merges", "must have heights that never fall")
