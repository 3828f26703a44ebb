"""Segments with other numbers: what a job writes is what its saved model says."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from distributed import Client, LocalCluster
from support.change_at import ChangeAt
from support.fitted_outputs import fitted, job_labels, job_of, kept_rows
from support.helpers import ANY_PORT, THOROUGH, customers, job, manifest_of, read_parts, write_files
from support.numbered_outputs import CASES, as_numbered, identity_of, numbered, run_numbered

import gpuseg
from gpuseg.algorithms.data_statistics import measure
from gpuseg.algorithms.kmeans.fit import assign_rows
from gpuseg.audience.members import SegmentedOutput
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.types import Centers
from gpuseg.io.storage import Storage
from gpuseg.jobs.regenerate_report import regenerate_report
from gpuseg.manifest import NOISE, read_manifest
from gpuseg.models.hierarchical import HierarchicalModel
from gpuseg.models.identity import SegmentIdentity
from gpuseg.models.kmeans import KMeansModel
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.reporting.terminal_table import segment_table
from gpuseg.runtime.executor import LocalExecutor, TaskContext
from gpuseg.segmentation.base import SegmentationResult
from gpuseg.segmentation.renumber import renumber
from gpuseg.sharding.shard import Shard


@pytest.mark.parametrize("name", CASES)
def test_labels_have_the_numbers_and_are_those_of_the_saved_model(name: str) -> None:
    written, before = read_parts(numbered(name)), job_labels(name)
    first, model = gpuseg.load_model(fitted(name)), gpuseg.load_model(numbered(name))
    expected = as_numbered(before.segment, "segment", first)
    np.testing.assert_array_equal(written["segment"], expected)
    assert written["distance"].to_numpy().tobytes() == before.distance.tobytes()
    scores = model.score(kept_rows(name))
    np.testing.assert_array_equal(scores.segment, expected)
    for column, labels in before.levels.items():
        np.testing.assert_array_equal(written[column], as_numbered(labels, column, first))
        np.testing.assert_array_equal(written[column], scores.levels[column])
    if "confidence" in written.column_names:
        np.testing.assert_array_equal(written["confidence"], scores.confidence)


@pytest.mark.parametrize("name", CASES)
def test_the_manifest_describes_the_same_segments_by_number(name: str) -> None:
    first = gpuseg.load_model(fitted(name))
    before = read_manifest(Storage.from_url(str(fitted(name)), {}, "path"))
    manifest = read_manifest(Storage.from_url(str(numbered(name)), {}, "path"))
    old = {segment.segment: segment for segment in before.segments}
    numbers = [segment.segment for segment in manifest.segments]
    assert numbers == sorted(numbers, key=lambda number: (number == NOISE, number))
    new_numbers = as_numbered(np.array(list(old), np.int32), "segment", first).tolist()
    by_number = {segment.segment: segment for segment in manifest.segments}
    assert by_number.keys() == set(new_numbers)
    for number, segment in zip(new_numbers, old.values(), strict=True):
        now = by_number[number]
        assert (now.size, now.center, now.quantiles) == (
            segment.size, segment.center, segment.quantiles,
        )  # fmt: skip
    assert manifest.lineage == gpuseg.load_model(numbered(name)).identity.lineage != ()


def test_facts_of_a_hierarchy_speak_of_the_same_segments() -> None:
    first = gpuseg.load_model(fitted("hierarchy"))
    assert isinstance(first, HierarchicalModel)
    before, now = (manifest_of(folder("hierarchy"))["result"] for folder in (fitted, numbered))
    k = first.n_clusters
    numbers = as_numbered(np.arange(k, dtype=np.int32), "segment", first).tolist()
    for level, parents in before["parents"].items():
        parents = as_numbered(np.array(parents, np.int32), f"segment_{level}", first).tolist()
        expected = [parent for _, parent in sorted(zip(numbers, parents, strict=True))]
        assert now["parents"][level] == expected

    def leaves(merges: list[list[float]], number_of: list[int]) -> list[tuple[set[int], float]]:
        """The segments that each merge joins, and its height."""
        members = [{number} for number in number_of]
        for first, second, _, _ in merges:
            members.append(members[int(first)] | members[int(second)])
        return [(joined, merge[2]) for joined, merge in zip(members[k:], merges, strict=True)]

    assert leaves(now["merges"], sorted(numbers)) == leaves(before["merges"], numbers)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_workers_write_the_same(name: str, two_workers: dict[str, Any], tmp_path: Path) -> None:
    job = job_of(name, fitted(name).parent / "in", tmp_path / "out")
    run_numbered(job | {"runtime": two_workers})
    assert read_parts(tmp_path / "out").equals(read_parts(numbered(name)))
    segments = manifest_of(tmp_path / "out")["segments"]
    assert segments == manifest_of(numbered(name))["segments"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers; killed ones are restarted."""
    with LocalCluster(2, threads_per_worker=1, dashboard_address=ANY_PORT) as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", *["dbscan"] * THOROUGH])
def test_a_worker_is_lost_after_the_rows_have_numbers(
    name: str, cluster: LocalCluster, tmp_path: Path
) -> None:
    """Shards of k-means are built again with their numbers; DBSCAN starts again."""
    job = job_of(name, fitted(name).parent / "in", tmp_path / "out")
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        victim = min(client.run(os.getpid).values())
    progress = ChangeAt("write", lambda: os.kill(victim, signal.SIGKILL))
    runtime = {"cluster": cluster.scheduler_address}
    result = run_numbered(job | {"runtime": runtime}, progress)
    assert result.record.executor.recovered_shards
    assert read_parts(tmp_path / "out").equals(read_parts(numbered(name)))


@pytest.mark.parametrize("n_shards", [1, 3])
@pytest.mark.parametrize("ids", [[7, 0, 12], [2, 5, 9], [30, 20, 10]])
def test_rows_between_two_centers(n_shards: int, ids: list[int]) -> None:
    x = np.array([[0.0], [4.0], [8.0]] * 20 + [[2.0], [6.0]], np.float32)
    executor = LocalExecutor(1)
    executor.load(lambda rows, context: Shard(rows.copy()), np.array_split(x, n_shards))
    statistics = measure(executor, "numba")
    centers = Centers(np.array([[0.0], [4.0], [8.0]]), np.zeros(1, np.float32))
    sizes = assign_rows(executor, "numba", statistics, centers).sizes
    pipeline = FeaturePipeline((Encoder("a"),), ("a",), FeatureTransform.identity(1))
    model = KMeansModel(pipeline, centers)
    result = SegmentationResult(
        range(3), sizes, centers.values, model, {}, runner_up=model.runner_up()
    )
    identity = SegmentIdentity({"segment": np.array(ids, np.int32)})
    now = renumber(executor, "numba", statistics, result, identity)
    labels = np.concatenate(executor.map(labels_of))
    np.testing.assert_array_equal(labels, now.model.predict(x, backend="numpy"))
    assert list(now.segments) == sorted(ids)
    assert now.sizes.tolist() == [(labels == number).sum() for number in sorted(ids)]
    assert now.runner_up is not None
    np.testing.assert_array_equal(now.runner_up.segments(), now.segments)
    np.testing.assert_array_equal(now.centers, centers.values[np.argsort(ids)])


def labels_of(shard: Shard, context: TaskContext) -> Any:
    return shard.labels


@pytest.mark.parametrize("name", CASES)
def test_what_drift_is_measured_against_is_numbered_with_the_model(name: str) -> None:
    first, model = gpuseg.load_model(fitted(name)), gpuseg.load_model(numbered(name))
    identity = replace(identity_of(first), lineage=model.identity.lineage)
    again = first.with_identity(identity)
    assert model.reference is not None and again.reference is not None
    for field in fields(model.reference):
        expected, actual = (getattr(m.reference, field.name) for m in (model, again))
        np.testing.assert_array_equal(actual, expected, err_msg=field.name)
    assert again.to_files() == model.to_files()


def test_of_many_segments_the_same_are_described(tmp_path: Path) -> None:
    table = customers(1200, blobs=9).append_column("group", pa.array(["a", "b", "c"] * 400))
    content = job(
        write_files(tmp_path / "in", [table]), tmp_path / "out", segment={"n_clusters": 130}
    )
    content["audit"] = {"columns": ["group"]}
    before = gpuseg.run(content).record
    now = run_numbered(content | {"output": {"path": str(tmp_path / "now")}}).record
    first = gpuseg.load_model(tmp_path / "out")
    number_of = dict(
        enumerate(as_numbered(np.arange(130, dtype=np.int32), "segment", first).tolist())
    )
    assert before.other_segments is not None
    of_equal_size = {s.size for s in before.segments} & {before.other_segments.largest}
    assert now.other_segments == before.other_segments
    sizes = {number_of[s.segment]: s.size for s in before.segments if s.size not in of_equal_size}
    assert sizes == {s.segment: s.size for s in now.segments if s.size not in of_equal_size}
    plane, plane_before = (record.profile.map for record in (now, before) if record.profile)
    assert plane is not None and plane_before is not None
    assert sum(cell.customers for cell in plane.cells) == 1200
    assert {cell.segment for cell in plane.cells} <= {s.segment for s in now.segments} | {-2}
    for number, counts in before.audit["group"].segments.items():
        other = now.audit["group"].segments.get(str(number_of[int(number)]))
        assert other is None or None in other.counts or other.counts == counts.counts
    regenerate_report(str(tmp_path / "now"))
    segment_table(now)
    output = SegmentedOutput.open(str(tmp_path / "now"), "output")
    assert output.numbers("segment") == set(number_of.values())
