"""A fitted DBSCAN as a value: its core rows decide the segment of a new customer."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gpuseg.algorithms.dbscan.core_samples import NOISE, CoreSamples
from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.models.base import SegmentModel, model_files, register_model
from gpuseg.models.core_sample_files import count_core_rows, read_core_rows
from gpuseg.models.drift_file import read_drift_file
from gpuseg.models.folder import FILE_NAME, ModelFolder
from gpuseg.models.identity import FROM_ZERO, SegmentIdentity
from gpuseg.models.saved_model import SavedModel
from gpuseg.models.segment_points import SegmentPoints
from gpuseg.monitoring.reference import DriftReference
from gpuseg.output_columns import SEGMENT
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.preprocessing.saved_pipeline import validated_values
from gpuseg.runtime.executor import TaskContext

_BYTES_PER_CORE_ROW = 64
"""Labels, positions and bounds of a core row in its index."""


class SavedDBSCAN(SavedModel, DBSCANParams):
    """What model.json of DBSCAN holds."""

    n_clusters: Annotated[int, Field(ge=0, lt=2**31)]
    core_files: Annotated[list[Annotated[str, Field(pattern=FILE_NAME)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _files_differ(self) -> "SavedDBSCAN":
        if len(set(self.core_files)) < len(self.core_files):
            raise ValueError("core_files must name each file once")
        return self


@register_model
@dataclass(frozen=True, repr=False)
class DBSCANModel(SegmentModel):
    """Everything that scoring a new customer needs; see `SegmentModel`.

    A new row belongs to the segment of its nearest core row within eps; else it is noise, -1. A
    pickled model has the core rows if it has predicted before; else it reads them from its folder.

    Attributes
    ----------
    pipeline : FeaturePipeline
        From raw rows to the rows that are clustered.
    params : DBSCANParams
    core_files : tuple of str
        Names of the files with the core rows.
    n_clusters : int
    folder : ModelFolder
        The folder of these files.
    identity : SegmentIdentity
        The numbers of the segments.
    reference : DriftReference or None
        What drift is measured against.
    """

    name: ClassVar[str] = "dbscan"

    pipeline: FeaturePipeline
    params: DBSCANParams
    core_files: tuple[str, ...]
    n_clusters: int
    folder: ModelFolder
    identity: SegmentIdentity = FROM_ZERO
    reference: DriftReference | None = None

    @cached_property
    def core_rows(self) -> CoreSamples:
        """The core rows, in scaled units; read from the folder at the first use.

        Raises
        ------
        DataError
            For missing and damaged files.
        """
        width = self.feature_transform.n_columns
        x, label = read_core_rows(self.folder, self.core_files, width, self.n_clusters)
        return CoreSamples(x, label, self.params)

    @property
    def keeps_rows(self) -> bool:
        """The nearest core row of a core row is that row."""
        return True

    def rows_per_call(self) -> int:
        """Return how many rows a call should have: it touches every core row once."""
        return max(len(self.core_rows.x) // 2, 1)

    def memory_bytes(self) -> int:
        """Return the memory of the core rows: as they are, and in the order of their index."""
        n_rows = count_core_rows(self.folder, self.core_files)
        return n_rows * (2 * 4 * self.feature_transform.n_columns + _BYTES_PER_CORE_ROW)

    def file_names(self) -> tuple[str, ...]:
        """Return the names of the files of the saved model, with those of the core rows."""
        return (*super().file_names(), *self.core_files)

    def _assign(
        self, z: NDArray[np.float32], backend: str, context: TaskContext, with_distance: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float64] | None]:
        labels, distance = self.core_rows.assign(z, backend, context)
        if not with_distance:
            return labels, None
        noise = np.flatnonzero(labels == NOISE)
        distance[noise] = self.core_rows.nearest_distance(z[noise], backend, context)
        return labels, distance

    def segment_points(self) -> SegmentPoints:
        """Return the core rows."""
        return SegmentPoints(self.core_rows, {SEGMENT: self._segments(self.core_rows.label)})

    def to_files(self) -> dict[str, bytes]:
        """Return the files of the saved model by name, without those of the core rows."""
        facts = {
            **self.params.model_dump(),
            "n_clusters": self.n_clusters,
            "core_files": list(self.core_files),
            "labels": "that of the nearest core row within eps in scaled units, -1 without one",
        }
        return model_files(self, facts, {})

    def complete_files(self) -> dict[str, bytes]:
        """Return all files of the saved model by name; see `SegmentModel.complete_files`."""
        return {**self.to_files(), **{name: self.folder.read(name) for name in self.core_files}}

    @classmethod
    def from_files(cls, folder: ModelFolder) -> "DBSCANModel":
        """Build the model from its files; see `SegmentModel.from_files`."""
        saved = validated_values(SavedDBSCAN, folder.description())
        pipeline, n_clusters = FeaturePipeline.from_saved(saved, folder.tensors()), saved.n_clusters
        identity = SegmentIdentity.from_saved(
            saved.segment_ids, saved.lineage, {SEGMENT: n_clusters}
        )
        ids = identity.of(SEGMENT, n_clusters)
        return cls(
            replace(pipeline, metric=saved.metric),
            DBSCANParams(**{name: getattr(saved, name) for name in DBSCANParams.model_fields}),
            tuple(saved.core_files),
            n_clusters,
            folder,
            identity,
            read_drift_file(folder, pipeline.features, ids) if saved.drift else None,
        )
