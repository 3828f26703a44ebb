"""The model card: it says what the manifest says, and nothing of a single customer."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.errors import raises
from support.fitted_outputs import fitted, job_labels
from support.helpers import call, manifest_of

import gpuseg
from gpuseg.errors import ConfigError
from gpuseg.exports.model_card import CARD_NAME, model_card
from gpuseg.manifest import Manifest
from gpuseg.models.loading import SavedOutput, load_output

SECTIONS = {
    "Purpose", "Data", "Features and preparation", "Number of segments", "Segments", "Quality",
    "Audit", "Limits", "How to use it",
}  # fmt: skip

OLD = sorted((Path(__file__).parents[1] / "contracts" / "manifests").glob("*.json"))
"""Manifests with transactions, audits and all algorithms."""


def sections(card: str) -> dict[str, str]:
    """Return the text of each section by its title."""
    first, *others = re.split(r"^## (.*)\n", card, flags=re.M)
    return {"": first, **dict(zip(others[::2], others[1::2], strict=True))}


def changed(**segment: Any) -> SavedOutput:
    """Return an output whose first segment has other values."""
    source = load_output(fitted("selected_n_clusters"))
    content = json.loads(json.dumps(manifest_of(fitted("selected_n_clusters"))))
    content["segments"][0] |= segment
    return replace(source, manifest=Manifest.from_json(content))


def test_a_card_says_what_the_manifest_says() -> None:
    output = fitted("selected_n_clusters")
    manifest, card = manifest_of(output), gpuseg.export(output, "card")[CARD_NAME].decode()
    parts = sections(card)
    assert parts.keys() - {""} == SECTIONS
    _, head, title = parts[""].split("---\n")
    assert yaml.safe_load(head)["library_name"] == "gpuseg"
    assert yaml.safe_load(head)["metrics"] == ["silhouette"]
    assert manifest["run_id"] in title
    assert manifest["input"]["fingerprint"]["content"] in parts["Data"]
    assert manifest["result"]["selection"]["reason"] in parts["Number of segments"]
    for segment in manifest["segments"]:
        row = f"| {segment['segment']} | {segment['name']} | {segment['size']} |"
        assert row in parts["Segments"]
        assert segment["sentence"] in parts["Segments"]
    assert all(f"| {name} |" in parts["Features and preparation"] for name in manifest["features"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dbscan", "hierarchy", "all_steps", "sweep", "hashed_ids"])
def test_every_model_has_a_card(name: str) -> None:
    card = gpuseg.export(fitted(name), "card")[CARD_NAME].decode()
    assert sections(card).keys() - {""} == SECTIONS
    assert manifest_of(fitted(name))["input"]["path"] not in card
    assert not any(str(value) in card for value in job_labels(name).ids if len(str(value)) > 6)


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_card_has_transactions_and_audits(path: Path) -> None:
    manifest = Manifest.from_json(json.loads(path.read_text()))
    source = replace(load_output(fitted("plain")), manifest=manifest)
    parts = sections(model_card(source))
    assert all(f"- {column}: " in parts["Audit"] for column in manifest.audit)
    if manifest.transactions is not None:
        assert manifest.transactions.snapshot in parts["Data"]
        assert manifest.transactions.path not in parts["Data"]


def test_a_card_is_made_of_the_model_alone() -> None:
    source = replace(load_output(fitted("plain")), manifest=None)
    parts = sections(model_card(source))
    assert parts.keys() - {""} == {"Purpose", "Features", "Limits", "How to use it"}
    assert "recency" in parts["Features"]


def test_a_segment_of_few_customers_is_not_described() -> None:
    card = model_card(changed(size=9))
    name = manifest_of(fitted("selected_n_clusters"))["segments"][0]["sentence"]
    assert name not in card
    assert name in model_card(changed(size=10))


@pytest.mark.parametrize(
    "text", ["a|b", "<script>", "[a](b)", "![a](b)", "`a`", "# a", "a\n\n# b", "\x1b[31m", "*a*"]
)
def test_data_is_no_markdown(text: str) -> None:
    plain, other = model_card(changed(name="a")), model_card(changed(name=text))
    assert other.count("\n") == plain.count("\n")
    rows = [row for row in other.splitlines() if row.startswith("| 0 ")]
    (row,) = rows
    assert len(re.findall(r"(?<!\\)\|", row)) == 6
    assert not re.search(r"(?<!\\)[<`\[*#]|\x1b", row)


def test_a_card_has_no_secret() -> None:
    card = model_card(changed(sentence="https://me:secret@host/a?token=secret"))
    assert "secret" not in card


def test_a_card_lies_beside_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output, target = fitted("plain"), tmp_path / "segments.onnx"
    gpuseg.export(output, "onnx", target)
    beside = tmp_path / "segments.onnx.card.md"
    assert sections(beside.read_text()).keys() - {""} == SECTIONS
    target.unlink()
    with raises("export.exists", ConfigError, value=str(beside)):
        gpuseg.export(output, "onnx", target)
    assert not target.exists()
    done = call(capfd, "export", output, "--to", "json", "--no-card", "-o", tmp_path / "a.json")
    assert done.code == 0
    assert not (tmp_path / "a.json.card.md").exists()
    gpuseg.export(output, "card", tmp_path / "README.md")
    with raises("export.is_card", ConfigError, parameter="card"):
        gpuseg.export(output, "card", card=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md", "a.json", "segments.onnx.card.md",
    ]  # fmt: skip
