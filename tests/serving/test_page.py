"""The page of the server: its fields, its escaping, and its policy."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.fitted_outputs import CASES, fitted
from support.helpers import THOROUGH, write_files

import gpuseg
from gpuseg.models.loading import load_output
from gpuseg.serving import page

FEW = ("all_steps", "ordinal", "vectors_with_gaps")
"""Cases whose columns are of all kinds."""

VOID = {"meta", "link", "input", "wbr", "rect"}

HOSTILE = ("</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<!--", "a&lt;b")


class Elements(HTMLParser):
    """Collects the elements of a page, and the text of its scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "label": [], "option": []}
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.texts:
            self.texts[tag].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.texts.keys() & set(self._open):
            self.texts[tag][-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment {data!r}")


def rendered(output: Path, *, has_manifest: bool = True) -> Elements:
    saved = load_output(output)
    return Elements(page.render_page(saved.model, saved.manifest if has_manifest else None))


def data_of(elements: Elements) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(elements.texts["script"][0])
    return data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output whose columns and categories are named to break out of a page."""
    folder = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    blob = rng.integers(3, size=300)
    names = [f"{name}{i}" for i, name in enumerate(HOSTILE)]
    columns = {name: blob * 9.0 + rng.normal(size=300) for name in names[1:]}
    texts = pa.array([HOSTILE[i] for i in blob])
    source = write_files(folder / "in", [pa.table({"id": range(300), names[0]: texts, **columns})])
    gpuseg.run({
        "input": {"path": str(source), "id": "id"},
        "prepare": {"categorical": {names[0]: "onehot"}},
        "segment": {"n_clusters": 3},
        "output": {"path": str(folder / "out")},
    })  # fmt: skip
    return folder / "out"


@pytest.mark.parametrize("has_manifest", [True, False])
@pytest.mark.parametrize("name", sorted(CASES) if THOROUGH else FEW)
def test_each_column_has_a_field_with_a_label(name: str, has_manifest: bool) -> None:
    elements = rendered(fitted(name), has_manifest=has_manifest)
    columns = gpuseg.load_model(fitted(name)).pipeline.columns
    assert [column["name"] for column in data_of(elements)["columns"]] == list(columns)
    labels = [attrs["for"] for tag, attrs in elements.tags if tag == "label"]
    controls = [a["id"] for tag, a in elements.tags if tag in ("input", "select", "textarea")]
    assert labels == controls == [f"field-{i}" for i in range(len(columns))]


def test_options_have_every_category_a_missing_and_another_value() -> None:
    data = data_of(rendered(fitted("all_steps")))
    encoders = gpuseg.load_model(fitted("all_steps")).pipeline.encoders
    for column in data["columns"]:
        if column["kind"] != "category":
            continue
        values = [json.loads(option["json"]) for option in column["options"]]
        known = next(e.categories for e in encoders if e.column == column["name"] and e.categories)
        shown = [str(v).lower() if isinstance(v, bool) else str(v) for v in values[: len(known)]]
        assert shown == list(known)
        assert values[-1] is None
        others = values[len(known) : -1]
        assert not {str(value) for value in others} & set(known)
        assert len(others) == 1 or column["name"] == "is_member"


def test_hostile_names_stay_text(hostile: Path) -> None:
    elements = rendered(hostile)
    tags = [tag for tag, _ in elements.tags]
    assert tags.count("script") == 2
    assert "img" not in tags
    assert not [name for _, attrs in elements.tags for name in attrs if name.startswith("on")]
    names = [column["name"] for column in data_of(elements)["columns"]]
    assert sorted(names) == sorted(f"{name}{i}" for i, name in enumerate(HOSTILE))
    assert elements.texts["label"] == names
    assert set(elements.texts["option"]) >= set(HOSTILE[:3])


def test_the_policy_admits_the_script_and_the_style_of_the_page_only(hostile: Path) -> None:
    policy = page.content_security_policy()
    assert "unsafe" not in policy
    locked = Elements(page.render_locked_page())
    for elements in (rendered(hostile), locked):
        for text in (elements.texts["script"][1], elements.texts["style"][0]):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
        assert not [a for _, attrs in elements.tags for a in attrs if a in ("style", "src")]


def test_the_page_without_a_token_tells_nothing_of_the_model() -> None:
    locked = Elements(page.render_locked_page())
    assert data_of(locked) == {}
    assert [a["id"] for tag, a in locked.tags if tag == "input"] == ["token"]
