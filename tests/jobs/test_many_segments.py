"""Jobs with many segments: every row has its segment, and what describes them stays small."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from support.helpers import FEATURES, THOROUGH, in_turn, job, read_parts, write_files

import gpuseg
from gpuseg.jobs import build_manifest
from gpuseg.jobs.regenerate_report import regenerate_report
from gpuseg.jobs.stages import profile, publish
from gpuseg.profiling import pca_map
from gpuseg.profiling.selection import MAX_SEGMENTS
from gpuseg.reporting.terminal_table import segment_table

DBSCAN = {"algorithm": "dbscan", "eps": 0.3, "min_samples": 2}


def pairs(n: int, folder: Path) -> Path:
    """Write n pairs of equal rows on a lattice, and one more row in each of the first 200."""
    side = int(np.ceil(np.sqrt(n)))
    place = np.concatenate([np.repeat(np.arange(n), 2), np.arange(200)])
    columns: dict[str, Any] = {"customer": np.arange(len(place))}
    columns |= {name: np.zeros(len(place)) for name in FEATURES}
    columns[FEATURES[0]], columns[FEATURES[1]] = place // side + 0.0, place % side + 0.0
    columns["group"] = [["a", "b", "c"][i % 3] for i in range(len(place))]
    return write_files(folder / "in", [pa.table(columns)], row_group_size=10_000)


def run(n: int, folder: Path, segment: dict[str, Any], **sections: Any) -> gpuseg.RunResult:
    spec = job(pairs(n, folder), folder / "out", prepare={"scale": "none"})
    return gpuseg.run(
        {**spec, **sections, "segment": segment, "output": {**spec["output"], "plots": True}}
    )


def n_lines(result: gpuseg.RunResult) -> int:
    console = Console(width=80, color_system=None, legacy_windows=False, record=True, quiet=True)
    with console.capture() as shown:
        console.print(segment_table(result.record))
    return len(shown.get().splitlines())


@pytest.mark.parametrize(
    ("n", "segment"),
    [
        (2000, DBSCAN),
        # `segmentation/test_renumber.py` has many segments of k-means.
        *[(10_000, DBSCAN), (1500, {"n_clusters": 1000}), (400, {"n_clusters": 250})] * THOROUGH,
        (300, {"algorithm": "hierarchical", "n_clusters": 150}),
    ],
)
def test_many_segments_are_counted_and_the_largest_described(
    n: int, segment: dict[str, Any], tmp_path: Path
) -> None:
    result = run(n, tmp_path, segment, audit={"columns": ["group"]})
    label = read_parts(tmp_path / "out")["segment"].to_numpy()
    numbers, sizes = np.unique(label, return_counts=True)
    assert len(label) == 2 * n + 200
    assert len(numbers) == segment.get("n_clusters", n)
    manifest = result.record
    assert manifest.n_segments == manifest.result.n_clusters == len(numbers)
    assert manifest.n_customers == len(label)
    assert [s.size for s in manifest.segments] == sizes[
        [s.segment for s in manifest.segments]
    ].tolist()
    assert len(manifest.segments) == MAX_SEGMENTS
    assert min(s.size for s in manifest.segments) == np.sort(sizes)[-MAX_SEGMENTS]
    others, rest = manifest.other_segments, np.sort(sizes)[:-MAX_SEGMENTS]
    assert others is not None
    assert (others.segments, others.customers) == (len(rest), rest.sum())
    assert (others.smallest, others.largest) == (rest.min(), rest.max())
    assert others.sizes.median == np.median(rest)
    audited = manifest.audit["group"]
    assert audited.others is not None
    assert audited.others.counts is not None
    assert manifest.failures == ()
    out = tmp_path / "out"
    regenerate_report(str(out))
    assert (out / "_manifest.json").stat().st_size < 400_000
    assert (out / "_report.html").stat().st_size < 1_000_000
    assert (out / "_examples.json").stat().st_size < 400_000
    assert sum(path.stat().st_size for path in (out / "_plots").iterdir()) < 400_000
    assert n_lines(result) < 170
    assert len(result._repr_html_()) < 100_000


DESCRIPTIONS: dict[str, tuple[Any, str]] = {
    "name_segments": (build_manifest, "profiles"),
    "_axis_features": (pca_map, "profiles"),
    "choose_examples": (profile, "examples"),
    "_plots": (publish, "plots"),
    "render_report": (publish, "report"),
}
"""Functions, their modules, and what the manifest calls what they make."""

ERRORS: dict[str, Exception] = {
    "memory": MemoryError(),
    "numbers": np.linalg.LinAlgError("no"),
    "secret": ValueError("https://u:SECRET@host/x no"),
}


@pytest.mark.parametrize(("name", "kind"), in_turn(DESCRIPTIONS, ERRORS))
def test_a_description_that_fails_does_not_cost_the_labels(
    name: str, kind: str, tmp_path: Path, monkeypatch: Any
) -> None:
    (module, part), error = DESCRIPTIONS[name], ERRORS[kind]

    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(module, name, fail)
    record = run(300, tmp_path, DBSCAN).record
    assert read_parts(tmp_path / "out")["segment"].to_pylist()[:4] == [0, 0, 1, 1]
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert [(f.part, f.error) for f in record.failures] == [(part, type(error).__name__)]
    assert "SECRET" not in (tmp_path / "out" / "_manifest.json").read_text()
    assert len(record.warnings) == 1
    assert record.n_customers == 800
    monkeypatch.undo()
    regenerate_report(str(tmp_path / "out"))
    assert "800 customers" in (tmp_path / "out" / "_report.html").read_text()
