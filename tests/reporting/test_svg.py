"""Figures: well-formed, complete, escaped; in the report, in a notebook and as files."""

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpuseg
from gpuseg.manifest import MAP_COLUMNS, MAP_LINES, Manifest, MapCell, Segment, SegmentMap
from gpuseg.reporting.report import render_report, render_summary
from gpuseg.reporting.svg import map_figure, map_labels, selection_figure

SVG = "{http://www.w3.org/2000/svg}"
UGLY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A hierarchy of customers with ugly names and ids, audited, with plots."""
    folder = tmp_path_factory.mktemp("figures")
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 5, 3000)
    table = pa.table({
        "id": pa.array([f'"{i}\n\'<b>' for i in range(3000)]),
        UGLY: rng.normal(kind * 4.0, 1),
        'quote " and\nline': rng.normal((kind % 2) * 6.0, 1),
        "c": rng.normal(size=3000),
        "group <i>": pa.array(rng.choice(["<u>x</u>", "y", "z"], 3000)),
    })  # fmt: skip
    pq.write_table(table, folder / "in.parquet")
    result = gpuseg.run({
        "input": {"path": str(folder / "in.parquet"), "id": "id"},
        "segment": {"algorithm": "hierarchical", "levels": [2, 3, 5], "micro_segments": 60},
        "audit": ["group <i>"],
        "output": {"path": str(folder / "out"), "plots": True},
    })  # fmt: skip
    return folder / "out", result


def test_plots_are_files(output: tuple[Path, Any]) -> None:
    folder, result = output
    assert sorted(path.name for path in (folder / "_plots").iterdir()) == ["map.svg", "tree.svg"]
    drawn = ET.fromstring((folder / "_plots" / "map.svg").read_text())
    cells = result.manifest["profile"]["map"]["cells"]
    assert len(drawn.findall(f"{SVG}rect")) == len(cells)
    assert [text.text for text in drawn.findall(f"{SVG}text")] == [
        str(segment.segment) for segment in result.record.ordered_segments
    ]
    tree = ET.fromstring((folder / "_plots" / "tree.svg").read_text())
    assert len(tree.findall(f"{SVG}path")) == 4
    assert len(tree.findall(f"{SVG}line")) == 2  # levels 2 and 3; 5 are the leaves
    texts = ["".join(text.itertext()) for text in tree.findall(f"{SVG}text")]
    assert texts[:5] == sorted(texts[:5]) and texts[0].startswith("0  ")


def make_segment(number: int, size: int) -> Segment:
    return Segment(segment=number, size=size, share=0.1, center={}, deviation={}, rule=None)


def make_map(
    centers: dict[str, tuple[float, float]], cells: Sequence[MapCell] = (MapCell(0, 0, 1, 0),)
) -> SegmentMap:
    return SegmentMap(
        explained_variance_ratio=(0.5, 0.5), axes=((), ()), cells=tuple(cells), centers=centers
    )


def test_numbers_on_the_map_are_inside_and_apart() -> None:
    rng = np.random.default_rng(0)
    where = rng.uniform(0, [MAP_COLUMNS, MAP_LINES], (100, 2)).tolist()
    centers = {str(i): (x, y) for i, (x, y) in enumerate(where)}
    centers |= {"0": (0.0, 0.0), "1": (0.0, float(MAP_LINES)), "2": (float(MAP_COLUMNS), 0.0)}
    segments = [make_segment(i, 200 - i) for i in range(100)]
    labels = map_labels(make_map(centers), segments)
    assert [label.text for label in labels[:3]] == ["0", "1", "2"]
    assert 20 < len(labels) < 100
    assert not any(one.overlaps(two) for one, two in itertools.combinations(labels, 2))
    for label in labels:
        assert label.width / 2 <= label.x <= 10 * MAP_COLUMNS - label.width / 2
        assert 10 <= label.y <= 10 * MAP_LINES - 10


@pytest.mark.parametrize(
    ("pair", "has_border"), [((3, 23), True), ((3, 4), False), ((3, 13), False), ((-1, -2), False)]
)
def test_segments_of_one_color_have_a_border(pair: tuple[int, int], has_border: bool) -> None:
    cells = [MapCell(0, 0, 5, pair[0]), MapCell(1, 0, 5, pair[1])]
    figure = ET.fromstring(map_figure(make_map({}, cells), []))
    assert [path.get("d") for path in figure.findall("path")] == ["M10 400v-10"] * has_border


def test_report_is_escaped_and_well_formed(output: tuple[Path, Any]) -> None:
    page = (output[0] / "_report.html").read_text()
    assert "<script" not in page and "<u>x" not in page and "<i>" not in page.split("<main")[1][:0]
    assert "&lt;script&gt;alert(1)" in page
    assert len(page) < 8e6
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        ET.fromstring(svg)
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert page.count("<svg") == 2


def test_report_without_a_profile_is_rendered(output: tuple[Path, Any]) -> None:
    manifest = dict(output[1].manifest)
    del manifest["profile"], manifest["audit"]
    added = {"rule": None, "quantiles": {}, "deviation_interval": {}}
    manifest["segments"] = [segment | added for segment in manifest["segments"]]
    page = render_report(Manifest.from_json(manifest))
    assert "Map of the segments" not in page and "Which segments are similar" in page


def test_notebook_shows_the_segments(output: tuple[Path, Any]) -> None:
    shown = output[1]._repr_html_()
    assert shown == render_summary(output[1].record)
    assert "3,000 customers in 5 segments" in shown
    assert shown.count("<tr>") == 6 and "<script" not in shown


def test_selection_is_drawn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2)) * 0.1 + rng.integers(0, 3, (600, 1))
    choice = gpuseg.select_k(x, range(2, 6))
    drawn = ET.fromstring(choice.svg())
    circles = drawn.findall(f"{SVG}circle")
    assert len(circles) == 4
    assert [circle.get("r") for circle in circles] == ["4", "6", "4", "4"]
    heights = [float(str(circle.get("cy"))) for circle in circles]
    silhouettes = [quality.silhouette for quality in choice.criteria]
    assert np.argsort(heights).tolist() == np.argsort(silhouettes)[::-1].tolist()
    assert choice.reason in choice._repr_html_()
    assert selection_figure(choice.criteria[:1], 2) is None


def test_one_feature_has_no_map(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": np.arange(50.0)}), tmp_path / "in.parquet")
    result = gpuseg.run({
        "input": {"path": str(tmp_path / "in.parquet")},
        "segment": {"n_clusters": 2},
        "output": {"path": str(tmp_path / "out"), "plots": True},
    })  # fmt: skip
    assert result.manifest["profile"]["map"] is None
    assert not (tmp_path / "out" / "_plots").exists()
    assert "Map of the segments" not in (tmp_path / "out" / "_report.html").read_text()
