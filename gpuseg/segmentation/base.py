"""The interface between a job and its algorithm: parameters, checks, memory, fit, result.

A new algorithm is a subclass of `SegmentSpec` with its parameters, a subclass of
`SegmentationAlgorithm`, a model (`models.base`), and a call of `segmentation.registry.register`.
Every job imports the modules of all algorithms to read its parameters. So they import the algorithm
itself, and its model, in `fit`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from gpuseg.algorithms.data_statistics import DataStatistics
    from gpuseg.io.output.base import Staging
    from gpuseg.io.storage import Storage
    from gpuseg.model_selection.confidence import RunnerUp
    from gpuseg.models.base import SegmentModel
    from gpuseg.preprocessing.params import PreprocessingParams
    from gpuseg.preprocessing.pipeline import FeaturePipeline
    from gpuseg.progress import Stage
    from gpuseg.runtime.executor import Executor


class SegmentSpec(BaseModel):
    """Parameters of an algorithm: the `[segment]` section of a job.

    A subclass sets ``algorithm: Literal["name"] = "name"``, and adds its parameters.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    algorithm: str


S = TypeVar("S", bound=SegmentSpec)


@dataclass(frozen=True)
class ColumnPlan:
    """Columns of a job, as far as they are known before the data is read.

    Attributes
    ----------
    features : tuple of str
        Columns of the input that features are made of; of a vector its elements.
    weight : str or None
        Column of the rows' weights.
    prepare : PreprocessingParams
    n_columns : int or None
        Columns of a preprocessed row; None if they depend on the data.
    n_rows : int or None
        Rows of the input, of which some may be dropped; None if any number of them will do, as
        they update older segments.
    """

    features: tuple[str, ...]
    weight: str | None
    prepare: PreprocessingParams
    n_columns: int | None
    n_rows: int | None


@dataclass(frozen=True)
class MemoryNeeds:
    """Memory of an algorithm, in addition to the rows and their results.

    Attributes
    ----------
    bytes_per_row : int
    can_stream : bool
        Whether rows may be on disk: the algorithm reads them in passes, block by block.
    on_device : bool
        Whether rows may be in the memory of a GPU only.
    """

    bytes_per_row: int = 0
    can_stream: bool = True
    on_device: bool = True


@dataclass(frozen=True)
class ProgressUnit:
    """What the progress of a fit counts, and how many there are; None if that is not known."""

    unit: str = "passes"
    total: int | None = None


@dataclass(frozen=True)
class OlderSegments:
    """The segments that a fit starts from.

    Attributes
    ----------
    model : SegmentModel
    may_seed : bool
        Whether a fit that does not start from them is tried, too, and taken if it is better.
    min_improvement : float
        By how much lower, relatively, the inertia of such a fit must be.
    weight : float64 (k,) or None
        If set, the rows are a batch that updates the segments once: the weight of the rows that
        each segment already has, in the order of the model's `segment_ids`.
    """

    model: SegmentModel
    may_seed: bool = False
    min_improvement: float = 0.0
    weight: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class FitContext:
    """Preprocessed rows, and everything else that a fit may use.

    Attributes
    ----------
    executor : Executor
        Holds the shards.
    backend : str
    pipeline : FeaturePipeline
        From raw rows to the rows of the shards; a part of each model.
    statistics : DataStatistics
        Of the rows of the shards.
    bounds_bytes : int
        Memory that each shard may take for bounds that save distances.
    staging : Staging
        Takes files of the model that workers write, in its folder ``_model``.
    published : Storage
        Where the staged files are after the run.
    stage : Stage
        The progress display of the fit.
    log, warn : callable
        Take a line of text; warnings are also in the manifest.
    older : OlderSegments or None
        The segments that the fit starts from, if it starts from some.
    """

    executor: Executor
    backend: str
    pipeline: FeaturePipeline
    statistics: DataStatistics
    bounds_bytes: int
    staging: Staging
    published: Storage
    stage: Stage
    log: Callable[[str], None]
    warn: Callable[[str], None]
    older: OlderSegments | None = None


@dataclass(frozen=True)
class SegmentationResult:
    """A segmentation of the rows; shards have the labels and distances.

    Attributes
    ----------
    segments : sequence of int
        -1 is noise, and the last one if there is any.
    sizes : int64 (n,)
    centers : float64 (n, d)
        In scaled units; NaN for a segment without rows.
    model : SegmentModel
        The model of the segments that are written.
    facts : mapping
        What the manifest says of the algorithm's run: values of JSON or NumPy. `algorithm` and
        `n_clusters` are required; NaN and infinity become null.
    alternatives : mapping of int to SegmentModel
        Models by number of segments, `model` among them; empty if there is only one.
    sweep : sequence of mappings
        A line of the manifest for each alternative.
    selected_n_clusters : bool
        Whether the algorithm selected the number of segments itself.
    runner_up : RunnerUp or None
        None if the algorithm has no confidence.
    files : sequence of str
        Files of the model that workers have written.
    start : str
        Why the fit started from older segments, or did not; empty where there were none.
    is_warm : bool
        Whether it started from them.
    """

    segments: Sequence[int]
    sizes: NDArray[np.int64]
    centers: NDArray[np.float64]
    model: SegmentModel
    facts: Mapping[str, Any]
    alternatives: Mapping[int, SegmentModel] = field(default_factory=dict)
    sweep: Sequence[Mapping[str, Any]] = ()
    selected_n_clusters: bool = False
    runner_up: RunnerUp | None = None
    files: Sequence[str] = ()
    start: str = ""
    is_warm: bool = False

    def with_model(self, model: SegmentModel) -> SegmentationResult:
        """Return the result with another form of its model, among `alternatives` as well."""
        before = self.model
        alternatives = {
            k: model if other is before else other for k, other in self.alternatives.items()
        }
        return replace(self, model=model, alternatives=alternatives)


class SegmentationAlgorithm(ABC, Generic[S]):
    """An algorithm of a job.

    Attributes
    ----------
    name : str
        The value of `algorithm` in `[segment]`, in the manifest, and in the saved model.
    title : str
        Its name in texts.
    spec : type of SegmentSpec
        Its parameters.
    has_confidence : bool
        Whether its results have a `runner_up`; a job with `output.confidence` needs it.
    fit_modules : tuple of str
        Modules that `fit` imports; a job imports them while it waits for its rows.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    spec: type[S]
    has_confidence: ClassVar[bool] = False
    fit_modules: ClassVar[tuple[str, ...]] = ()

    def check(self, spec: S, columns: ColumnPlan) -> None:
        """Refuse parameters that do not suit the columns; no data is read.

        Raises
        ------
        ConfigError
        """

    def extra_columns(self, spec: S) -> list[str]:
        """Return the names of output columns that are written from `Shard.labels_by_model`."""
        return []

    def personal_kinds(self, spec: S) -> Sequence[str]:
        """Return the kinds of personal data that may be features (see `io.privacy.pii`)."""
        return ()

    def why_other_segments(self, spec: S, model: SegmentModel) -> str:
        """Return why a model does not have the segments that a job asks for; empty if it has."""
        return ""

    def why_not_warm(self, spec: S, model: SegmentModel) -> str:
        """Return why a fit cannot start from the segments of a model; empty if it can."""
        return f"{self.title} has no centers to start from"

    def unit_rows(self, spec: S) -> bool:
        """Return whether preprocessing scales each row to length one."""
        return False

    def is_translation_invariant(self, spec: S) -> bool:
        """Return whether all rows may be moved by the same vector without another result."""
        return False

    def memory(self, spec: S, n_values: int, n_workers: int) -> MemoryNeeds:
        """Return the memory of a fit to rows of `n_values` float32 values, weights included."""
        return MemoryNeeds()

    def progress(self, spec: S, n_rows: int) -> ProgressUnit:
        """Return what the fit reports to `FitContext.stage`."""
        return ProgressUnit()

    def load_kernels(self, spec: S, backend: str) -> None:
        """Load the kernels of a fit in this process; a job does so while it waits for its rows."""

    @abstractmethod
    def fit(self, spec: S, context: FitContext) -> SegmentationResult:
        """Segment the rows of all shards; each shard then has `labels` and `distance`.

        Raises
        ------
        DataError, ResourceError
        """
