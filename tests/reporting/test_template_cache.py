"""Compiled templates are kept beside those of Python, and never needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import DictLoader, Environment

from gpuseg.reporting import template_cache


def render(source: str, autoescape: bool = False) -> str:
    environment = Environment(
        loader=DictLoader({"page.html.j2": source}),
        bytecode_cache=template_cache.TemplateCache({"autoescape": autoescape}),
        autoescape=autoescape,
    )
    return environment.get_template("page.html.j2").render(name="<x>")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(template_cache, "_FOLDER", tmp_path)
    monkeypatch.setattr("sys.pycache_prefix", None)
    return tmp_path / "__pycache__"


def test_a_compiled_template_is_kept_until_its_source_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    assert render("a {{ name }}") == "a <x>"
    (kept,) = folder.iterdir()
    content = kept.read_bytes()
    assert render("a {{ name }}") == "a <x>"
    assert kept.read_bytes() == content
    assert render("b {{ name }}") == "b <x>"
    assert kept.read_bytes() != content
    assert render("b {{ name }}", autoescape=True) == "b &lt;x&gt;"


def test_damaged_code_is_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    assert render("a {{ name }}") == "a <x>"
    (kept,) = folder.iterdir()
    kept.write_bytes(b"damaged")
    assert render("a {{ name }}") == "a <x>"


def test_nothing_is_kept_where_python_writes_no_bytecode(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    assert render("a {{ name }}") == "a <x>"
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    folder.write_text("a file, not a folder")
    assert render("a {{ name }}") == "a <x>"
