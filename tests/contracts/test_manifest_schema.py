"""The manifest: its schema is documented, its JSON is stable, and older formats can be read."""

import ast
import html
import inspect
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises

import gpuseg
from gpuseg import manifest as schema
from gpuseg.io.output import base
from gpuseg.io.storage import Storage
from gpuseg.jobs.regenerate_report import regenerate_report
from gpuseg.manifest import FORMAT, MANIFEST, Manifest, dump, migrate, read_manifest
from gpuseg.record import Record
from gpuseg.reporting.report import render_report
from gpuseg.reporting.terminal_table import segment_table

OLD = sorted((Path(__file__).parent / "manifests").glob("format-1-*.json"))

OLD_KEYS = {
    "portrait", "rows_are", "why", "moved_shards", "eps_why", "eps_choices", "pairs", "forecast",
    "pairs_a_shard", "work_a_shard", "rows_a_shard", "most_rows_a_shard", "clear", "doubtful_share",
    "of_category", "at_least", "interval", "together", "of", "also", "what", "done", "as",
}  # fmt: skip
"""Keys of format 1 that format 2 does not have."""


def records(kind: type[Record] = Record) -> Iterator[type[Record]]:
    for child in kind.__subclasses__():
        if child.__module__ == schema.__name__:
            yield child
            yield from records(child)


def keys(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from keys(value)
    elif isinstance(content, list):
        for item in content:
            yield from keys(item)


def old_manifest(path: Path = OLD[0]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def field_docstrings(record: type[Record]) -> dict[str, str]:
    """Return the text below each field of a class."""
    (definition,) = ast.parse(inspect.getsource(record)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in itertools.pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
    }


@pytest.mark.parametrize("record", list(records()), ids=lambda record: record.__name__)
def test_every_field_is_documented(record: type[Record]) -> None:
    assert record.__doc__
    documented = field_docstrings(record)
    for name in record.__annotations__:
        text = documented.get(name, "")
        assert re.match(r"[A-Z\"`]|9", text) and text.endswith("."), name
        is_share = name.endswith(("share", "ratio")) or name in ("precision", "coverage")
        assert not is_share or "from 0 to 1" in text.lower(), name


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_format_1_is_migrated(path: Path) -> None:
    old = old_manifest(path)
    assert old["format"] == 1
    manifest = Manifest.from_json(old)
    assert old == old_manifest(path)  # the argument is not changed
    content = manifest.to_json()
    assert content["format"] == FORMAT
    assert not OLD_KEYS & set(keys({k: v for k, v in content.items() if k != "job"}))
    assert [s["size"] for s in old["segments"]] == [s.size for s in manifest.segments]
    page = render_report(manifest)
    assert manifest.result.title in html.unescape(page)
    assert segment_table(manifest).row_count == len(manifest.segments) + 1


def test_values_of_format_1_are_kept() -> None:
    by_name = {path.stem.removeprefix("format-1-"): old_manifest(path) for path in OLD}
    kmeans, old = Manifest.from_json(by_name["kmeans"]), by_name["kmeans"]
    assert kmeans.executor.row_storage.mode == old["executor"]["rows_are"]
    assert kmeans.result.selection.reason == old["result"]["choice"]["why"]
    shares = [row.ambiguous_share for row in kmeans.result.selection.table]
    assert shares == [row["doubtful_share"] for row in old["result"]["choice"]["table"]]
    rule, old_rule = kmeans.segments[0].baskets.rules[0], old["segments"][0]["together"]["rules"][0]
    assert (rule.antecedents, rule.consequents) == (tuple(old_rule["of"]), tuple(old_rule["also"]))
    steps = [(s.finding, s.action, s.lines) for s in kmeans.transactions.quality.steps]
    old_steps = old["transactions"]["quality"]["steps"]
    assert steps == [(s["what"], s["done"], s["lines"]) for s in old_steps]
    dbscan, old = Manifest.from_json(by_name["dbscan"]), by_name["dbscan"]
    assert dbscan.result.facts["eps_reason"] == old["result"]["eps_why"]
    assert dbscan.result.facts["distances"] == old["result"]["pairs"]
    assert dbscan.audit["group"].n_hidden == old["audit"]["group"]["hidden"]
    tree, old = Manifest.from_json(by_name["hierarchical"]), by_name["hierarchical"]
    assert [list(merge) for merge in tree.result.merges] == old["result"]["merges"]
    assert tree.preparation.clip_quantiles == tuple(old["job"]["prepare"]["clip"])
    assert tree.preparation.pca.n_components == old["preparation"]["pca"]["components"]
    ends = tree.segments[0].deviation_interval["a"]
    assert [ends.low, ends.high] == old["segments"][0]["interval"]["a"]


def test_json_and_type_are_equivalent() -> None:
    manifest = Manifest.from_json(old_manifest())
    content = manifest.to_json()
    assert Manifest.from_json(content) == manifest
    assert Manifest.from_json(json.loads(json.dumps(content, allow_nan=False))) == manifest
    assert migrate(content) == content


def test_optional_parts_are_left_out_and_required_nulls_are_not() -> None:
    content = Manifest.from_json(old_manifest(OLD[0])).to_json()
    assert OLD[0].stem == "format-1-dbscan"
    assert "transactions" not in content and "selection" not in content["result"]
    assert all("baskets" not in segment for segment in content["segments"])
    assert content["preparation"]["pca"] is None and content["sweep"] == []


@pytest.mark.parametrize(("algorithm", "place", "value"), [
    ("dbscan", "segments.0.segment", 1),
    ("dbscan", "segments.0.size", -1),
    ("dbscan", "segments.0.size", 2**63),
    ("dbscan", "segments.0.share", float("nan")),
    ("dbscan", "audit.group.groups", []),
    ("dbscan", "audit.group.segments.0.counts", [1]),
    ("dbscan", "audit.group.segments", {"7": {"counts": [], "ratios": []}}),
    ("dbscan", "profile.map.centers", {"<script>": [1, 2]}),
    ("dbscan", "profile.map.cells.0.0", "<script>"),
    ("dbscan", "profile.map.cells.0.0", 64),
    ("dbscan", "profile.map.cells.0.2", 0),
    ("hierarchical", "result.merges.0.0", 9.0),
    ("hierarchical", "result.merges.0.1", 0.5),
    ("hierarchical", "result.merges.1.0", 0.0),
    ("hierarchical", "result.merges.0.2", float("inf")),
    ("hierarchical", "result.merges.0.2", -1.0),
    ("hierarchical", "result.merges", []),
    ("hierarchical", "result.levels", [0]),
])  # fmt: skip
def test_parts_that_disagree_are_refused(algorithm: str, place: str, value: Any) -> None:
    old = next(path for path in OLD if path.stem.endswith(algorithm))
    content = json.loads(json.dumps(Manifest.from_json(old_manifest(old)).to_json()))
    render_report(Manifest.from_json(content))
    part: Any = content
    *keys, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    for key in keys:
        part = part[str(key)] if isinstance(part, dict) else part[key]
    part[last] = value
    with raises("manifest.invalid"):
        Manifest.from_json(content)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"format": 1' + "0" * 30 + "}", '{"a": 1, "a": 1}']
)
def test_files_beyond_the_limits_of_json_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with raises("manifest.not_json"):
        regenerate_report(str(tmp_path))


def test_surrogates_survive_the_file() -> None:
    manifest = Manifest.from_json(old_manifest())
    names = ("part-\udcff.parquet",)
    kept = json.loads(dump(manifest.model_copy(update={"warnings": names})))
    assert tuple(kept["warnings"]) == names


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"format": FORMAT + 1}, "manifest.unknown_format"),
        ({"format": None}, "manifest.unknown_format"),
        ({"format": FORMAT}, "manifest.invalid"),
        ({"segments": [{}]}, "manifest.invalid"),
        ({"segments": 5}, "manifest.invalid"),
        ({"executor": None}, "manifest.invalid"),
    ],
)
def test_other_content_is_refused(change: dict[str, Any], code: str) -> None:
    with raises(code, gpuseg.DataError):
        Manifest.from_json(old_manifest() | change)


@pytest.mark.parametrize("content", [[], "text", None, {}])
def test_json_that_is_no_manifest_is_refused(content: Any) -> None:
    with raises("manifest.unknown_format", gpuseg.DataError):
        Manifest.from_json(content)


def test_the_manifest_of_features_is_refused(folder: Storage) -> None:
    content = {"format": FORMAT, "transactions": {}, "features": [{"name": "orders"}]}
    folder.fs.pipe_file(f"{folder.root}/{MANIFEST}", json.dumps(content).encode())
    with raises("manifest.of_features", gpuseg.DataError) as error:
        regenerate_report("memory://manifests")
    assert "memory://manifests" in str(error.value)


# Files.


def test_outputs_and_readers_agree_on_the_name_of_the_file() -> None:
    assert base.MANIFEST == schema.MANIFEST


@pytest.fixture
def folder() -> Iterator[Storage]:
    storage = Storage.from_url("memory://manifests", {}, "output")
    storage.fs.makedirs(storage.root, exist_ok=True)
    yield storage
    fsspec.filesystem("memory").rm("/manifests", recursive=True)


def test_manifest_is_written_and_read_by_url(folder: Storage) -> None:
    manifest = Manifest.from_json(old_manifest())
    folder.fs.pipe_file(f"{folder.root}/{MANIFEST}", dump(manifest))
    assert read_manifest(folder) == manifest


def test_missing_and_damaged_files_are_refused(folder: Storage) -> None:
    with raises("manifest.missing", gpuseg.DataError):
        read_manifest(folder)
    for content, code in ((b"{", "manifest.not_json"), (b"{}", "manifest.unknown_format")):
        folder.fs.pipe_file(f"{folder.root}/_manifest.json", content)
        with raises(code, gpuseg.DataError) as caught:
            read_manifest(folder)
        assert "memory://manifests" in str(caught.value)


@pytest.mark.parametrize("url", ["memory://manifests", "memory://manifests/"])
def test_report_of_a_url_is_rendered_again(folder: Storage, url: str) -> None:
    folder.fs.pipe_file(f"{folder.root}/{MANIFEST}", dump(Manifest.from_json(old_manifest())))
    assert regenerate_report(url) == "memory://manifests/_report.html"
    page = folder.fs.cat_file(f"{folder.root}/_report.html").decode()
    assert page == render_report(read_manifest(folder))


# Runs.


@pytest.mark.slow
def test_a_run_has_the_manifest_as_dict_and_typed(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 2))
    pq.write_table(pa.table({"a": x[:, 0], "b": x[:, 1]}), tmp_path / "in.parquet")
    result = gpuseg.run({
        "input": {"path": str(tmp_path / "in.parquet")},
        "segment": {"n_clusters": 2},
        "output": {"path": str(tmp_path / "out")},
    })  # fmt: skip
    stored = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert stored == result.manifest
    assert Manifest.from_json(stored) == result.record
    assert result.record.segments[0].size == result.manifest["segments"][0]["size"]
