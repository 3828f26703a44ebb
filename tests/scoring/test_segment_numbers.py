"""Segments with numbers that have gaps, as after a refresh: every way of using them knows them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from one_answer.doors import IN_PROCESS, by_mlflow, by_onnx, by_sql
from support.errors import raises
from support.fitted_outputs import fitted, new_rows
from support.helpers import call, manifest_of, read_parts, write_files
from support.http_server import ARROW, as_stream, serving
from support.json_rows import as_json
from support.numbered_outputs import CASES, all_rows, as_numbered, identity_of, numbered

import gpuseg
from gpuseg.audience.platforms import ContactKey
from gpuseg.audience.write import AudienceRequest, write_audience
from gpuseg.errors import ConfigError, DataError
from gpuseg.formatting import number_ranges
from gpuseg.io.storage import Storage
from gpuseg.manifest import read_manifest
from gpuseg.models.loading import load_output
from gpuseg.reporting.svg import figures
from gpuseg.serving.page import render_page

OTHERS = {"onnx": by_onnx, "sql": by_sql, "mlflow": by_mlflow}
WITH_CENTERS = ("plain", "hierarchy")

DOORS = [
    *((name, door) for name in CASES for door in IN_PROCESS),
    *((name, door) for name in WITH_CENTERS for door in ("onnx", "sql")),
    pytest.param("plain", "mlflow", marks=pytest.mark.slow),
]


def numbers_of(name: str) -> list[int]:
    """Return the numbers of the segments of a case, rising."""
    return sorted(gpuseg.load_model(numbered(name)).segment_ids.tolist())


@pytest.mark.filterwarnings("ignore:.*Any type hint", "ignore:Operation with range is deprecated")
@pytest.mark.parametrize(("name", "door"), DOORS)
def test_every_door_gives_the_numbers(name: str, door: str, tmp_path: Path) -> None:
    first, rows = gpuseg.load_model(fitted(name)), all_rows(name)
    answers = {**IN_PROCESS, **OTHERS}[door](numbered(name), rows, tmp_path)
    expected = as_numbered(first.predict(rows), "segment", first)
    np.testing.assert_array_equal(answers.segment, expected)


@pytest.mark.parametrize("name", WITH_CENTERS)
def test_next_segments_and_levels_have_numbers(name: str) -> None:
    first, model = gpuseg.load_model(fitted(name)), gpuseg.load_model(numbered(name))
    before, now = first.score(new_rows(name)), model.score(new_rows(name))
    assert before.next_segment is not None
    expected = as_numbered(before.next_segment, "segment", first)
    np.testing.assert_array_equal(now.next_segment, expected)
    np.testing.assert_array_equal(now.confidence, before.confidence)
    for column, labels in before.levels.items():
        np.testing.assert_array_equal(now.levels[column], as_numbered(labels, column, first))
    exported = json.loads(gpuseg.export(numbered(name), "json")["segments.json"])
    assert [segment["segment"] for segment in exported["segments"]] == numbers_of(name)
    assert all(segment["size"] for segment in exported["segments"])
    for column, labels in exported.get("levels", {}).items():
        assert set(labels) == set(now.levels[column].tolist())


@pytest.mark.parametrize("name", CASES)
def test_a_manifest_of_scores_counts_by_number(name: str, tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", [new_rows(name)])
    record = gpuseg.score(numbered(name), source, tmp_path / "out").record
    labels = gpuseg.load_model(numbered(name)).predict(new_rows(name))
    counted = {segment.segment: segment.rows for segment in record.segments}
    at_fit = {segment["segment"]: segment for segment in manifest_of(numbered(name))["segments"]}
    assert list(counted) == [*numbers_of(name), *([-1] if name == "dbscan" else [])]
    assert counted == {number: int((labels == number).sum()) for number in counted}
    for segment in record.segments:
        of_fit = at_fit[segment.segment]
        assert (segment.name, segment.fit_share) == (of_fit["name"], of_fit["share"])
    assert record.lineage == gpuseg.load_model(numbered(name)).identity.lineage
    again = load_output(tmp_path / "out").model
    assert again.segment_ids.tolist() == gpuseg.load_model(numbered(name)).segment_ids.tolist()


@pytest.mark.parametrize("name", CASES)
def test_pages_and_tables_show_the_numbers(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    shutil.copytree(numbered(name), output)
    report = (output / "_report.html").read_bytes()
    (output / "_report.html").unlink()
    assert call(capfd, "report", output).code == 0
    assert (output / "_report.html").read_bytes() == report
    saved = load_output(numbered(name))
    page, bare = render_page(saved.model, saved.manifest), render_page(saved.model, None)
    card = gpuseg.export(numbered(name), "card")["model_card.md"].decode()
    for number in numbers_of(name):
        assert f'id="segment-{number}"' in report.decode()
        assert f"Segment {number}:" in page
        assert f"Segment {number}<" in bare
        assert f"\n| {number} |" in card
    assert "Segment 1<" not in bare


def test_the_tree_of_a_report_joins_the_same_segments() -> None:
    first = gpuseg.load_model(fitted("hierarchy"))
    before, now = joined_leaves(fitted("hierarchy")), joined_leaves(numbered("hierarchy"))
    assert before
    assert now == [
        set(as_numbered(np.array(sorted(pair), np.int32), "segment", first).tolist())
        for pair in before
    ]


def joined_leaves(output: Path) -> list[set[int]]:
    """Return the segments that a line of the tree joins directly, in the order of the lines."""
    tree = str(figures(read_manifest(Storage.from_url(str(output), {}, "path")))["tree"])
    leaves = re.findall(r'<text x="0" y="([0-9.]+)"[^>]*>([0-9]+) ', tree)
    number_at = {y: int(number) for y, number in leaves}
    assert list(number_at.values()) == sorted(number_at.values())
    lines = re.findall(r'd="M([0-9.]+) ([0-9.]+)H[0-9.]+V([0-9.]+)H([0-9.]+)"', tree)
    start = min((line[0] for line in lines), key=float)
    return [{number_at[first], number_at[second]}
            for left, first, second, right in lines if left == right == start]  # fmt: skip


def test_lookalikes_of_a_number(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_files(tmp_path / "in", [new_rows("plain")])
    first = gpuseg.load_model(fitted("plain"))
    old = identity_of(first).ids["segment"].tolist().index(7)
    arguments = ["score", numbered("plain"), source, tmp_path / "out", "--like=7", "--top=20"]
    assert call(capfd, *arguments, "--exclude-members").code == 0
    gpuseg.score(fitted("plain"), source, tmp_path / "first", like=old, top=20,
                 exclude_members=True)  # fmt: skip
    now, before = read_parts(tmp_path / "out"), read_parts(tmp_path / "first")
    assert now["customer"].equals(before["customer"])
    assert 7 not in now["segment"].to_pylist()
    with raises("like.unknown_segment", ConfigError) as error:
        gpuseg.score(numbered("plain"), source, tmp_path / "no", like=1, top=20)
    assert "must be one of 0, 7 to 8, 12" in str(error.value)


def test_audiences_of_numbers(tmp_path: Path) -> None:
    model = gpuseg.load_model(numbered("hierarchy"))
    parts = read_parts(numbered("hierarchy"))
    ids = parts["customer"].to_pylist()
    columns = {"mail": [f"{i}@example.com" for i in ids], "may": [True] * len(ids)}
    contacts = pa.table({"id": ids, **columns})
    pq.write_table(contacts, tmp_path / "contacts.parquet")

    def written(segment: str) -> Any:
        return write_audience(AudienceRequest(
            output=str(numbered("hierarchy")), customers=str(tmp_path / "contacts.parquet"),
            id="id", segments=[segment], platform="csv", keys={ContactKey.EMAIL: "mail"},
            consent="may", target=str(tmp_path / segment), minimum=1,
        )).record.audience.segments[0]  # fmt: skip

    for text, column in (("7", "segment"), ("segment_3=7", "segment_3")):
        one = written(text)
        assert (one.segment, one.column) == (7, column)
        assert one.customers == parts[column].to_pylist().count(7)
    levels = number_ranges(sorted(model.identity.ids["segment_3"].tolist()))
    for text in ("1", "segment_3=1"):
        with raises("audience.unknown_segment", ConfigError) as error:
            written(text)
        assert f"segment_3={levels}" in str(error.value)


def test_a_registry_keeps_the_numbers(tmp_path: Path) -> None:
    registry = gpuseg.ModelRegistry(tmp_path / "models")
    registry.add("shop", numbered("plain"), alias="champion")
    model = gpuseg.load_model(registry.path("shop", "champion"))
    assert model.segment_ids.tolist() == numbers_of("plain")


@pytest.mark.slow
def test_a_server_answers_with_the_numbers() -> None:
    rows = new_rows("plain")
    labels = gpuseg.load_model(numbered("plain")).predict(rows).tolist()
    names = {s["segment"]: s["name"] for s in manifest_of(numbered("plain"))["segments"]}
    objects = as_json(rows)
    tensors = [
        {"name": column, "datatype": "FP64", "shape": [len(rows)],
         "data": rows[column].to_pylist()}
        for column in ("recency", "orders", "spend")
    ]  # fmt: skip
    with serving(numbered("plain")) as server:
        answers = server.post("/segments", {"rows": objects}).json
        assert [(a["segment"], a["name"]) for a in answers] == [(n, names[n]) for n in labels]
        assert server.post("/segments", as_stream(rows), ARROW).table["segment"].to_pylist() == (
            labels
        )
        outputs = server.post("/v2/models/segments/infer", {"inputs": tensors}).json["outputs"]
        assert outputs[0]["data"] == labels
        predictions = server.post("/invocations", {"instances": objects}).json["predictions"]
        assert [answer["closest_cluster"] for answer in predictions] == labels
        assert "Segment 12:" in server.get("/").body.decode()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("wrong", ["few", "repeated", "negative", "other column"])
def test_wrong_numbers_of_a_saved_model(name: str, wrong: str, tmp_path: Path) -> None:
    shutil.copytree(numbered(name) / "_model", tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    content = json.loads(file.read_text())
    ids = content["segment_ids"]["segment"]
    changed = {
        "few": {"segment": ids[:-1]},
        "repeated": {"segment": [*ids[:-1], ids[0]]},
        "negative": {"segment": [-1, *ids[1:]]},
        "other column": {"segment_17": ids},
    }[wrong]
    content["segment_ids"] |= changed
    file.write_text(json.dumps(content))
    with raises("model.damaged", DataError):
        gpuseg.load_model(tmp_path / "model")


def test_numbers_that_contradict_the_order_of_the_model(tmp_path: Path) -> None:
    for name, change in (("plain", {"segment": [8, 7, 0, 12]}), ("hierarchy", {"segment_9": None})):
        shutil.copytree(numbered(name) / "_model", tmp_path / name)
        file = tmp_path / name / "model.json"
        content = json.loads(file.read_text())
        content["segment_ids"] |= change
        content["segment_ids"] = {k: v for k, v in content["segment_ids"].items() if v}
        file.write_text(json.dumps(content))
        with raises("model.damaged", DataError):
            gpuseg.load_model(tmp_path / name)
