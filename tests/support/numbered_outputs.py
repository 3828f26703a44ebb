"""Outputs of jobs whose segments have other numbers than those from 0 on, as after a refresh."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import gpuseg
from gpuseg.models.base import SegmentModel
from gpuseg.models.identity import SegmentIdentity
from gpuseg.output_columns import SEGMENT
from gpuseg.progress import Progress
from gpuseg.segmentation import registry
from gpuseg.segmentation.base import FitContext, SegmentationAlgorithm, SegmentationResult
from gpuseg.segmentation.renumber import renumber
from support.fitted_outputs import fitted, job_of, kept_rows, new_rows

CASES = ("plain", "hierarchy", "dbscan")
"""Cases of `fitted_outputs` that stand for all models."""


def numbers_of(column: str, n_clusters: int) -> npt.NDArray[np.int32]:
    """Return a number for each segment of a level: with gaps, in no order, 7 and 0 among them."""
    others = np.arange(n_clusters, dtype=np.int32) * 4
    others[1 if n_clusters > 1 else 0] = 7
    return np.roll(others, len(column) % 4 + 1)


def identity_of(model: SegmentModel) -> SegmentIdentity:
    """Return such numbers for all levels of a model."""
    ids = {column: numbers_of(SEGMENT if k == model.n_clusters else column, k)
           for column, k in model.n_clusters_by_column().items()}  # fmt: skip
    return SegmentIdentity(ids)


def as_numbered(
    labels: npt.NDArray[np.int32], column: str, model: SegmentModel
) -> npt.NDArray[np.int32]:
    """Return the numbers of segments that are counted from 0 on."""
    return identity_of(model).numbered(column, labels)


@cache
def numbered(name: str) -> Path:
    """Return the output of a case's job with such numbers; the job runs at the first call."""
    folder = fitted(name).parent
    run_numbered(job_of(name, folder / "in", folder / "numbered"))
    return folder / "numbered"


def run_numbered(job: dict[str, Any], progress: Progress | None = None) -> gpuseg.RunResult:
    """Run a job whose algorithm gives its segments such numbers."""
    with _renumbering(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gpuseg.run(job, progress=progress)


def all_rows(name: str) -> pa.Table:
    """The rows that the output of a case has, and new ones."""
    return pa.concat_tables([kept_rows(name), new_rows(name)])


@contextmanager
def _renumbering() -> Iterator[None]:
    """Let the algorithms of jobs number their segments after the fit."""
    algorithms = registry._ALGORITHMS
    before = dict(algorithms)
    algorithms.update({name: _numbering(algorithm) for name, algorithm in before.items()})
    try:
        yield
    finally:
        algorithms.update(before)


def _numbering(algorithm: SegmentationAlgorithm[Any]) -> SegmentationAlgorithm[Any]:
    fit = type(algorithm).fit

    def fit_and_number(self: Any, spec: Any, context: FitContext) -> SegmentationResult:
        result = fit(self, spec, context)
        identity = identity_of(result.model)
        return renumber(context.executor, context.backend, context.statistics, result, identity)

    kind = type(algorithm.name, (type(algorithm),), {"fit": fit_and_number})
    numbering: SegmentationAlgorithm[Any] = kind()
    return numbering
