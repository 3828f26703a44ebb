"""The model of a job has the counts of the rows of its fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.fitted_outputs import fitted, kept_rows
from support.helpers import customers, cut, job, read_parts, run, write_files

import gpuseg
from gpuseg.jobs.score import run_score
from gpuseg.jobs.score.manifest_of_scores import ScoredTable, build_scores_manifest
from gpuseg.manifest import ScoresManifest
from gpuseg.monitoring import fit_counts
from gpuseg.monitoring.reference import MISSING
from gpuseg.monitoring.row_counts import RowCounts

SEGMENTS: dict[str, dict[str, Any]] = {
    "kmeans": {"n_clusters": 3},
    "dbscan": {"algorithm": "dbscan", "eps": 1.5, "min_samples": 4},
    "hierarchical": {"algorithm": "hierarchical", "levels": [2, 4], "micro_segments": 20},
}


def with_gaps_and_weights(table: pa.Table) -> pa.Table:
    rng = np.random.default_rng(0)
    first, zone = table.column_names[1], rng.choice(list("xyz"), len(table))
    gaps = pa.array(table[first].to_numpy(), mask=rng.random(len(table)) < 0.1)
    table = table.set_column(1, first, gaps)
    table = table.append_column("zone", pa.array(zone))
    return table.append_column("weight", pa.array(rng.integers(0, 3, len(table)).astype(float)))


@pytest.mark.parametrize("algorithm", SEGMENTS)
def test_counts_are_those_of_plain_numpy(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_counts, "BLOCK_ROWS", 101)
    table = with_gaps_and_weights(customers())
    source = write_files(tmp_path / "in", cut(table, 250, 100))
    numbers = table.column_names[1:-2]
    sections = job(
        source,
        tmp_path / "out",
        input={"features": [*numbers, "zone"], "weight": "weight"},
        prepare={"missing": "median", "categorical": {"zone": "onehot"}},
    )
    result = gpuseg.run({**sections, "segment": SEGMENTS[algorithm]})
    model = gpuseg.load_model(tmp_path / "out")
    reference, in_memory = model.reference, result.model.reference
    assert reference is not None and in_memory is not None
    assert reference.features == model.features
    for name, array in vars(reference).items():
        np.testing.assert_array_equal(array, getattr(in_memory, name))

    scored = read_parts(tmp_path / "out")
    columns = [table[name].to_numpy().astype(np.float32) for name in numbers]
    columns += [(table["zone"].to_numpy() == zone).astype(np.float32) for zone in "xyz"]
    x = np.stack(columns, axis=1)
    place = (reference.edges < x[:, :, None]).sum(axis=2)
    bins = np.where(np.isnan(x), MISSING, place)
    is_in = bins[:, :, None] == np.arange(MISSING + 1)
    np.testing.assert_array_equal(reference.counts, is_in.sum(axis=0))
    label, distance = scored["segment"].to_numpy(), scored["distance"].to_numpy()
    assert reference.segments.tolist() == list(range(-1, model.n_clusters))
    for i, segment in enumerate(reference.segments.tolist()):
        rows = label == segment
        assert reference.sizes[i] == rows.sum()
        if algorithm == "dbscan":  # its distances are not comparable with those of new rows
            assert np.isnan([reference.mean_distance[i], reference.mean_square[i]]).all()
            assert np.isinf(reference.far_distance[i])
        elif rows.any():
            of_segment = distance[rows].astype(float)
            assert reference.mean_distance[i] == pytest.approx(of_segment.mean(), rel=1e-12)
            assert reference.mean_square[i] == pytest.approx((of_segment**2).mean(), rel=1e-12)
        assert reference.far[i] == (distance[rows] > reference.far_distance[i]).sum()
    for group, counts in zip(reference.groups, reference.group_counts, strict=True):
        np.testing.assert_array_equal(counts, is_in[label == group].sum(axis=0))
    assert reference.groups.tolist() == sorted(set(label.tolist()) - {-1})


def test_only_large_segments_are_counted_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_counts, "MAX_GROUPS", 2)
    run(write_files(tmp_path / "in", [customers()]), tmp_path / "out", segment={"n_clusters": 5})
    reference = gpuseg.load_model(tmp_path / "out").reference
    assert reference is not None
    largest = sorted(np.argsort(-reference.sizes[1:], kind="stable")[:2].tolist())
    assert reference.groups.tolist() == largest
    assert (
        reference.group_counts.sum(axis=2)[:, 0].tolist() == reference.sizes[1:][largest].tolist()
    )


@pytest.mark.parametrize("case", ["all_steps", "dbscan_of_all", "hierarchy", "drop"])
def test_scoring_the_rows_of_the_fit_counts_the_same(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[RowCounts] = []

    def build(*args: Any) -> ScoresManifest:
        (table,) = (argument for argument in args if isinstance(argument, ScoredTable))
        counted.append(table.counts.rows)
        return build_scores_manifest(*args)

    monkeypatch.setattr(run_score, "build_scores_manifest", build)
    reference = gpuseg.load_model(fitted(case)).reference
    assert reference is not None
    table = kept_rows(case)
    source = write_files(tmp_path / "in", cut(table, 100, 70), row_group_size=64)
    for backend in ("numpy", "numba"):
        options = [f"runtime.backend={backend}"]
        gpuseg.score(fitted(case), source, tmp_path / backend, overrides=options)
        counts = counted.pop()
        assert counts.bins is not None
        np.testing.assert_array_equal(counts.bins.total(), reference.counts)
        np.testing.assert_array_equal(counts.bins.counts[:-1], reference.group_counts)
        sums = counts.sums
        np.testing.assert_array_equal(sums.sizes, reference.sizes)
        np.testing.assert_array_equal(sums.far, reference.far)
        for means, expected in (
            (sums.distances, reference.mean_distance),
            (sums.squares, reference.mean_square),
        ):
            actual = np.array(means.means(sums.sizes), float)
            if not case.startswith("dbscan"):
                np.testing.assert_array_equal(actual, expected)
    gpuseg.score(fitted(case), source, tmp_path / "like", like=0, top=3)
    assert counted.pop().bins is None


def test_the_model_of_a_sweep_that_is_taken_is_the_same_among_all(tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", [customers()])
    result = gpuseg.run(job(source, tmp_path / "out", segment={"n_clusters": [2, 3]}))
    assert result.models[result.model.n_clusters] is result.model
    assert result.model.reference is not None and result.model.identity.lineage != ()
    names = ("model.json", "drift.safetensors")
    kept = tmp_path / "out" / "_models" / str(result.model.n_clusters)
    for name in names:
        assert (kept / name).read_bytes() == (tmp_path / "out" / "_model" / name).read_bytes()
