"""The older model scores the raw rows of a refresh, and counts them."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
from support.errors import raises
from support.fitted_outputs import fitted, kept_rows

import gpuseg
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.errors import DataError
from gpuseg.lineage import compare_rows as compare_rows_module
from gpuseg.lineage.compare_rows import compare_rows
from gpuseg.models import base
from gpuseg.models.base import SegmentModel
from gpuseg.models.identity import SegmentIdentity
from gpuseg.models.kmeans import KMeansModel
from gpuseg.monitoring.row_counts import RowCounts
from gpuseg.output_columns import SEGMENT
from gpuseg.preprocessing.pipeline import encode
from gpuseg.runtime.executor import LocalExecutor, TaskContext
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding import shard as shard_module
from gpuseg.sharding.shard import Shard

Array = np.ndarray[Any, Any]


def raw_rows(model: SegmentModel, case: str) -> Array:
    """Return the features of the rows of a fit, as the encoders give them."""
    pipeline, table = model.pipeline, kept_rows(case)
    columns = {name: table[name].combine_chunks() for name in pipeline.columns}
    return encode(pipeline.used_encoders, list(pipeline.features), columns)


def compared(
    model: SegmentModel, x: Array, backend: str, sizes: tuple[int, ...], threads: int
) -> tuple[dict[str, Array], Array, RowCounts]:
    bounds = [0, *accumulate(sizes), len(x)]
    pieces = [x[a:b].copy() for a, b in pairwise(bounds)]
    executor, shards = LocalExecutor(threads), [Shard(piece) for piece in pieces]
    executor.load(lambda i, context: shards[i], range(len(shards)))
    executor.apply(passes.to_device, backend)
    counts = RowCounts.merged(executor.apply(compare_rows, backend, model))
    for shard, piece in zip(shards, pieces, strict=True):
        host = registry.get(backend).to_host(shard.x)
        np.testing.assert_array_equal(host, piece)  # unchanged
    previous = {
        column: np.concatenate([shard.previous[column] for shard in shards])
        for column in shards[0].previous
    }
    far = [shard.previous_far for shard in shards if shard.previous_far is not None]
    return previous, np.concatenate(far), counts


@pytest.mark.parametrize("case", ["all_steps", "dbscan_of_all", "hierarchy"])
def test_rows_are_scored_and_counted(
    case: str, cuda: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "BLOCK_ROWS", 64)
    monkeypatch.setattr(base, "BLOCK_ROWS", 64)
    monkeypatch.setattr(compare_rows_module, "_COPIED_VALUES", 700)
    saved = gpuseg.load_model(fitted(case))
    ids = np.arange(saved.n_clusters, dtype=np.int32) * 3 + 5
    identity = SegmentIdentity({SEGMENT: ids})
    model, before = saved.with_identity(identity), saved.reference
    reference, x, scores = model.reference, raw_rows(model, case), model.score(kept_rows(case))
    assert reference is not None and before is not None
    n = len(x)
    for backend, sizes, threads in (
        ("numpy", (), 1),
        ("numba", (1, 90), 2),
        ("cuda", (n // 2,), 1),
    ):
        previous, far, counts = compared(model, x, backend, sizes, threads)
        np.testing.assert_array_equal(previous[SEGMENT], scores.segment)
        assert previous.keys() == {SEGMENT, *model.level_columns()}
        for column, segment in scores.levels.items():
            np.testing.assert_array_equal(previous[column], segment)
        position = [reference.segments.tolist().index(value) for value in scores.segment]
        np.testing.assert_array_equal(far, scores.distance > reference.far_distance[position])
        assert counts.bins is not None
        np.testing.assert_array_equal(counts.bins.total(), before.counts)
        np.testing.assert_array_equal(counts.bins.counts[:-1], before.group_counts)
        np.testing.assert_array_equal(counts.sums.sizes, before.sizes)
        np.testing.assert_array_equal(counts.sums.far, before.far)
        if not model.keeps_rows:  # otherwise the distances of the fit say nothing of new rows
            means = np.array(counts.sums.squares.means(counts.sums.sizes), float)
            np.testing.assert_array_equal(means, before.mean_square)


def test_models_without_a_reference_have_no_bins() -> None:
    model = gpuseg.load_model(fitted("plain"))
    assert isinstance(model, KMeansModel)
    model = replace(model, reference=None)
    shard = Shard(raw_rows(model, "plain"))
    counts = compare_rows(shard, TaskContext(), "numba", model)
    assert counts.bins is None and shard.previous_far is None
    assert counts.sums.sizes.sum() == shard.n_rows


def test_rows_that_cannot_be_scored_are_refused() -> None:
    model = gpuseg.load_model(fitted("plain"))
    shard = Shard(raw_rows(model, "plain"), first_row=1000)
    shard.x[7, 0] = np.nan
    with raises("rows.not_scored", DataError) as caught:
        compare_rows(shard, TaskContext(), "numba", model)
    assert "cannot score 1 row, the first is row 1007 of the data" in str(caught.value)
    assert "values must not be missing" in str(caught.value)


def test_a_row_without_a_direction_is_refused_as_such() -> None:
    model = gpuseg.load_model(fitted("cosine"))
    shard = Shard(raw_rows(model, "cosine"))
    shard.x[3] = 0
    with raises("rows.not_scored", DataError) as caught:
        compare_rows(shard, TaskContext(), "numba", model)
    assert "for a row to have a direction" in str(caught.value)
