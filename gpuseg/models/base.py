"""The interface of saved models, their files, and the registry of model classes."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import save

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.errors import ConfigError, DataError
from gpuseg.model_selection.confidence import RunnerUp, next_segments
from gpuseg.models.drift_file import DRIFT_FILE, drift_file
from gpuseg.models.folder import DESCRIPTION, TENSORS, ModelFolder
from gpuseg.models.identity import FROM_ZERO, SegmentIdentity
from gpuseg.models.plugins import load_plugins, same_class
from gpuseg.models.saved_model import FORMAT
from gpuseg.models.scores import Scores, concatenated
from gpuseg.models.segment_points import SegmentPoints
from gpuseg.monitoring.reference import DriftReference
from gpuseg.output_columns import SEGMENT
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.runtime.executor import BLOCK_ROWS, LocalExecutor, TaskContext
from gpuseg.validation import check_n_threads

M = TypeVar("M", bound="type[SegmentModel]")

_MAX_INDENTED = 1000
"""Columns up to which model.json has lines."""

_MODEL_CLASSES: dict[str, "type[SegmentModel]"] = {}


class SegmentModel(ABC):
    """A fitted segmentation: it assigns new rows to segments, and is saved as files.

    A subclass is a frozen dataclass, with ``repr=False``. It has `name`, `pipeline`, `n_clusters`,
    `_assign`, `to_files` and `from_files`, and registers itself by `register_model`. With a field
    `identity` its segments keep their numbers in a refresh, with `reference` it knows the drift.

    Attributes
    ----------
    name : str
        The algorithm, as `segment.algorithm` of a job has it.
    pipeline : FeaturePipeline
        From raw rows to the rows that are clustered.
    n_clusters : int
        Number of segments, without noise.
    """

    name: ClassVar[str]

    if TYPE_CHECKING:  # subclasses have a field or a property of each

        @property
        def pipeline(self) -> FeaturePipeline: ...

        @property
        def n_clusters(self) -> int: ...

    def __repr__(self) -> str:
        sizes = f"n_clusters={self.n_clusters}, n_features={len(self.features)}"
        return f"{type(self).__name__}({sizes})"

    @property
    def identity(self) -> SegmentIdentity:
        """The numbers of the segments, and their lineage; by default the numbers from 0 on."""
        return FROM_ZERO

    @property
    def reference(self) -> DriftReference | None:
        """What drift is measured against; None for models that have nothing of the kind."""
        return None

    @property
    def keeps_rows(self) -> bool:
        """Whether distances are to rows of the fit, whose distance to themselves is 0."""
        return False

    @property
    def keeps_identity(self) -> bool:
        """Whether the class of the model has a field `identity`."""
        return self._has_field("identity")

    @property
    def keeps_reference(self) -> bool:
        """Whether the class of the model has a field `reference`."""
        return self._has_field("reference")

    def _has_field(self, name: str) -> bool:
        return any(field.name == name for field in fields(self))  # type: ignore[arg-type]

    @property
    def segment_ids(self) -> NDArray[np.int32]:
        """The number of each segment, in the order in which the algorithm counts them, (k,)."""
        return self.identity.of(SEGMENT, self.n_clusters)

    def with_identity(self, identity: SegmentIdentity) -> Self:
        """Return the same model with other numbers of its segments.

        Raises
        ------
        TypeError
            If the class of the model has no field `identity`.
        """
        return replace(self, **self._numbered(identity))  # type: ignore[type-var]

    def _numbered(
        self, identity: SegmentIdentity, order: NDArray[np.int64] | None = None
    ) -> dict[str, Any]:
        """Return the fields of the model that have other values with an identity.

        Parameters
        ----------
        order : int64 (k,), optional
            The positions of the segments in their new order; by default it stays.
        """
        if self.reference is None:
            return {"identity": identity}
        ids = identity.of(SEGMENT, self.n_clusters)
        return {"identity": identity, "reference": self.reference.renumbered(ids, order)}

    def with_reference(self, reference: DriftReference) -> Self:
        """Return the same model with what drift is measured against.

        Raises
        ------
        TypeError
            If the class of the model has no field `reference`.
        """
        return replace(self, reference=reference)  # type: ignore[type-var]

    @property
    def features(self) -> tuple[str, ...]:
        """The features that are clustered."""
        return self.pipeline.features

    @property
    def feature_transform(self) -> FeatureTransform:
        """From raw features to scaled ones."""
        return self.pipeline.feature_transform

    @overload
    def predict(
        self,
        X: ArrayLike,
        *,
        return_distance: Literal[False] = False,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> NDArray[np.int32]: ...

    @overload
    def predict(
        self,
        X: ArrayLike,
        *,
        return_distance: Literal[True],
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...

    def predict(
        self,
        X: ArrayLike,
        *,
        return_distance: bool = False,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> NDArray[np.int32] | tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the segment of each row, as a job would write it.

        Rows are scored in blocks: besides X and the result, a call needs memory for about one
        block per thread.

        Parameters
        ----------
        X : array-like (n, d), data frame or Arrow table
            Raw rows, in the units of the job's input. Columns of a frame are found by name; those
            of an array must be in the order of `pipeline.columns`.
        return_distance : bool, default False
            Whether to return the distances, too.
        backend : {"auto", "numpy", "numba", "cuda"}, default "auto"
            The result has the same bits with every backend.
        n_threads : int or None, default None
            None uses every processor this process may use.

        Returns
        -------
        segments : int32 (n,)
            -1 is noise (DBSCAN).
        distances : float32 (n,), with `return_distance`
            The distance that a job writes: in scaled units, to the center (k-means), to the center
            of the small segment (hierarchical), or to the nearest core row (DBSCAN).

        Raises
        ------
        ConfigError
            For a wrong `backend` or `n_threads`.
        DataError
            For a missing column, a column of another type than at the fit, and values that are
            missing and not filled, infinite, or outside a transform's domain.
        ResourceError
            For a backend that cannot run here.

        Warns
        -----
        UserWarning
            For categories that were not in the data of the fit.
        """
        scores = self._score(X, backend, n_threads, return_distance, False)
        return (scores.segment, scores.distance) if return_distance else scores.segment

    def score(
        self,
        X: ArrayLike,
        *,
        with_next: bool = True,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> Scores:
        """Return the segment of each row, its distance, the next segment and the confidence.

        Parameters
        ----------
        X, backend, n_threads : see `predict`
        with_next : bool, default True
            Whether to find the next segment and the confidence; this takes a distance in float64
            to each center.

        Raises
        ------
        ConfigError, DataError, ResourceError
            As `predict`.

        Warns
        -----
        UserWarning
            For categories that were not in the data of the fit.
        """
        return self._score(X, backend, n_threads, True, with_next)

    def predict_frame(
        self, X: ArrayLike, *, backend: str = "auto", n_threads: int | None = None
    ) -> Any:
        """Return the result of `score` as a frame.

        Parameters
        ----------
        X, backend, n_threads : see `predict`

        Returns
        -------
        frame of the library of X (pandas with its index, Polars), otherwise an Arrow table
            Columns: segment, distance, next_segment, confidence, and one for each level of a
            hierarchy with several levels. DBSCAN has neither next_segment nor confidence.

        Raises
        ------
        ConfigError, DataError, ResourceError
            As `predict`.

        Examples
        --------
        >>> import gpuseg
        >>> model = gpuseg.load_model("out/segments")  # doctest: +SKIP
        >>> model.predict_frame(customers).columns  # doctest: +SKIP
        Index(['segment', 'distance', 'next_segment', 'confidence'], dtype='object')
        """
        return self.score(X, backend=backend, n_threads=n_threads).as_frame(X)

    def _score(
        self,
        X: ArrayLike,
        backend: str,
        n_threads: int | None,
        with_distance: bool,
        with_next: bool,
    ) -> Scores:
        check_n_threads(n_threads)
        name = registry.choose_backend(backend).name
        context = LocalExecutor(n_threads).context
        raw = self.pipeline.open(X)
        blocks = []
        step = self._rows_per_step(name, context)
        for start in range(0, max(raw.n_rows, 1), step):
            rows = slice(start, min(start + step, raw.n_rows))
            z = raw.transform(rows, name, context)
            if not raw.n_bad:  # they are only counted from here on
                blocks.append(self._score_rows(z, name, context, with_distance, with_next))
        raw.check()
        return concatenated(blocks)

    def score_rows(
        self,
        z: NDArray[np.float32],
        backend: str,
        context: TaskContext,
        *,
        with_next: bool,
    ) -> Scores:
        """Return what `score` does, of rows that are transformed."""
        return self._score_rows(z, backend, context, True, with_next)

    def _score_rows(
        self,
        z: NDArray[np.float32],
        backend: str,
        context: TaskContext,
        with_distance: bool,
        with_next: bool,
    ) -> Scores:
        nearest, distance = self._assign(z, backend, context, with_distance)
        with np.errstate(over="ignore"):  # beyond float32 is infinite
            distances = (np.empty(0) if distance is None else distance).astype(np.float32)
        following = confidence = None
        runner_up = self.runner_up() if with_next else None
        if runner_up is not None:
            following, confidence = next_segments(z, backend, runner_up)
        return Scores(
            self._segments(nearest), distances, following, confidence, self._levels(nearest)
        )

    def runner_up(self) -> RunnerUp | None:
        """Return the centers by which the next segment is found; None if there are none."""
        return None

    def segment_points(self) -> SegmentPoints | None:
        """Return the points that stand for the segments; None if there are none.

        Raises
        ------
        DataError
            For files of the model that are missing or damaged.
        """
        return None

    def level_columns(self) -> tuple[str, ...]:
        """Return the names of the columns of the levels; none if there is one level."""
        return ()

    def n_clusters_by_column(self) -> dict[str, int]:
        """Return the number of segments by column of the output; `segment` comes first."""
        return {SEGMENT: self.n_clusters}

    def _segments(self, nearest: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the segments from what `_assign` returns."""
        return self.identity.numbered(SEGMENT, nearest)

    def _levels(self, nearest: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        """Return the segments of each level from what `_assign` returns."""
        return {}

    @property
    def drops_missing(self) -> bool:
        """Whether the job left rows with a missing feature out."""
        return self.pipeline.drops_missing

    def _rows_per_step(self, backend: str, context: TaskContext) -> int:
        """Return how many rows to transform and score at a time, on all threads together."""
        rows = registry.get(backend).block_rows(len(self.features)) or BLOCK_ROWS
        return max(rows * context.threads, self.rows_per_call())

    def rows_per_call(self) -> int:
        """Return how many rows a call should have at least; 0 if calls with few rows are cheap."""
        return 0

    def rows_together(self, threads: int) -> int:
        """Return how many rows to score at a time if a call with few rows is expensive."""
        return max(self.rows_per_call(), threads * BLOCK_ROWS)

    def memory_bytes(self) -> int:
        """Return the memory that scoring takes besides the rows, in bytes, about."""
        return 0

    def file_names(self) -> tuple[str, ...]:
        """Return the names of the files of the saved model."""
        return tuple(self.to_files())

    @abstractmethod
    def _assign(
        self, z: NDArray[np.float32], backend: str, context: TaskContext, with_distance: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float64] | None]:
        """Return the segments, and the distances if requested, of rows that are transformed.

        A hierarchy returns the small segments, of which `_segments` makes segments.
        """

    @abstractmethod
    def to_files(self) -> dict[str, bytes]:
        """Return the files of the saved model by name."""

    def complete_files(self) -> dict[str, bytes]:
        """Return all files of the saved model by name, also those that workers have written."""
        return self.to_files()

    @classmethod
    @abstractmethod
    def from_files(cls, folder: ModelFolder) -> "SegmentModel":
        """Build the model from its files.

        Raises
        ------
        OSError, DataError
            For missing and damaged files. `load_model` also takes ValueError, LookupError,
            TypeError, AttributeError and ArithmeticError for signs of a damaged file.
        """


def register_model(model_class: M) -> M:
    """Register a model class by its `name`; use it as a decorator.

    Raises
    ------
    ConfigError
        If another class has its name.
    """
    other = _MODEL_CLASSES.get(model_class.name, model_class)
    if not same_class(other, model_class):
        raise ConfigError(
            "model.name_taken", f"the name of {other.__qualname__}", value=model_class.name,
            rule="each class of models needs a name of its own",
        )  # fmt: skip
    _MODEL_CLASSES[model_class.name] = model_class
    return model_class


def model_class(name: str) -> type[SegmentModel]:
    """Return the model class of an algorithm; packages with plug-ins are loaded if need be.

    Raises
    ------
    DataError
        When no class has that name.
    ResourceError
        When the package that has the algorithm cannot be loaded.
    """
    if name not in _MODEL_CLASSES:
        failed = [plugin for plugin in load_plugins() if plugin.problem and plugin.name == name]
        if failed:
            raise failed[0].error()
    if name not in _MODEL_CLASSES:
        raise DataError(
            "model.unknown_algorithm",
            f"model.json: algorithm {name!r} is not known",
            rule=f"must be one of {', '.join(sorted(_MODEL_CLASSES))}",
            hint="import the package that registers it, or use another version of gpuseg",
        )
    return _MODEL_CLASSES[name]


def model_files(
    model: SegmentModel, facts: Mapping[str, Any], tensors: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return the files of a model: what every model has, and what is its own.

    Parameters
    ----------
    facts : mapping
        Further keys of model.json.
    tensors : mapping of name to array
        Further arrays of model.safetensors.
    """
    description = {
        "format": FORMAT,
        "algorithm": model.name,
        **model.pipeline.to_json(),
        **facts,
        **model.identity.to_json(),
        **({} if model.reference is None else {"drift": True}),
    }
    # Indented JSON takes ten times as long to write, which tells where there are many columns.
    indent = 1 if len(model.pipeline.encoders) <= _MAX_INDENTED else None
    text = json.dumps(description, indent=indent, ensure_ascii=False) + "\n"
    arrays = {**tensors, **model.pipeline.tensors()}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    files = {DESCRIPTION: text.encode(), TENSORS: save(contiguous)}
    if model.reference is not None:
        files[DRIFT_FILE] = drift_file(model.reference)
    return files
