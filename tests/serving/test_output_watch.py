"""When a server sees a new output: replaced in place, promoted, on an object store."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest
from support.errors import raises
from support.fitted_outputs import fitted
from support.helpers import manifest_of

from gpuseg.model_registry.registry import ModelRegistry
from gpuseg.serving.model_reload import needs_more
from gpuseg.serving.output_watch import OutputWatch

OTHER = "mean"


def run_of(name: str) -> str:
    return str(manifest_of(fitted(name))["run_id"])


@pytest.mark.parametrize("end", ["", "/_model"])
def test_an_output_replaced_in_place(tmp_path: Path, end: str) -> None:
    output = tmp_path / "out"
    shutil.copytree(fitted("plain"), output)
    watch = OutputWatch(f"{output}{end}")
    before = watch.version()
    assert watch.load().run_id == run_of("plain")
    assert watch.version() == before
    output.rename(tmp_path / "old")
    assert watch.version() is None
    shutil.copytree(fitted(OTHER), output)
    assert watch.version() not in (None, before)
    assert watch.load().run_id == run_of(OTHER)


def test_a_model_alone_has_a_name_by_its_files(tmp_path: Path) -> None:
    for name in ("plain", OTHER):
        shutil.copytree(fitted(name) / "_model", tmp_path / name)
    first, second = (OutputWatch(str(tmp_path / name)) for name in ("plain", OTHER))
    assert first.load().run_id == OutputWatch(str(tmp_path / "plain")).load().run_id
    assert first.load().run_id != second.load().run_id
    assert first.version() is not None


def test_a_promoted_version(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    registry.add("shop", str(fitted("plain")), alias="champion")
    watch = OutputWatch(f"{tmp_path}/shop@champion")
    before = watch.version()
    assert watch.load().run_id == run_of("plain")
    registry.add("shop", str(fitted(OTHER)))
    assert watch.version() == before
    registry.promote("shop", 2)
    assert watch.version() not in (None, before)
    assert watch.load().run_id == run_of(OTHER)


def test_a_log_names_the_columns_that_a_new_model_needs() -> None:
    few, many = (OutputWatch(str(fitted(name))).load() for name in ("categories_only", "plain"))
    assert needs_more(many, many) == ""
    new = {column.name for column in many.columns} - {column.name for column in few.columns}
    text = needs_more(few, many)
    assert new
    assert all(f"'{name}'" in text for name in new)


def test_an_output_that_is_being_published_to_a_store() -> None:
    fs = fsspec.filesystem("memory")
    url = "memory://served/out"
    fs.put(f"{fitted('plain')}/", "served/out", recursive=True)
    watch = OutputWatch(url)
    before = watch.version()
    assert watch.load().run_id == run_of("plain")
    fs.rm("served/out/_SUCCESS")
    with raises("output.not_complete"):
        watch.load()
    fs.put(f"{fitted(OTHER)}/", "served/out", recursive=True)
    assert watch.version() not in (None, before)
    assert watch.load().run_id == run_of(OTHER)
    fs.rm("served", recursive=True)
