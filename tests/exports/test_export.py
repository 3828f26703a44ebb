"""Exports: formats, options, files, and the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.errors import raises
from support.fitted_outputs import fitted
from support.helpers import call, manifest_of

import gpuseg
from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.exports.publish_files import publish_folder
from gpuseg.models.hierarchical import HierarchicalModel


@pytest.fixture(scope="module")
def output() -> Path:
    return fitted("plain")


def test_a_text_is_printed_or_written(
    output: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "segments.json"
    printed = call(capfd, "export", output, "--to", "json")
    assert call(capfd, "export", output, "--to", "json", "-o", target).code == printed.code == 0
    assert printed.out == target.read_text()
    assert json.loads(printed.out)["run_id"] == manifest_of(output)["run_id"]
    assert call(capfd, "export", output, "--to", "json", "-o", "-").out == printed.out
    written = sorted(path.name for path in target.parent.iterdir())
    assert written == [target.name, f"{target.name}.card.md"]


def test_a_file_is_replaced_only_on_demand(output: Path, tmp_path: Path) -> None:
    target = tmp_path / "segments.json"
    target.write_text("other")
    with raises("export.exists", ConfigError, parameter="path", value=str(target)):
        gpuseg.export(output, "json", target)
    assert target.read_text() == "other"
    files = gpuseg.export(output, "json", target, overwrite=True)
    assert list(files.values()) == [target.read_bytes()]
    with raises("export.not_a_file", ConfigError, parameter="path"):
        gpuseg.export(output, "json", tmp_path, overwrite=True)
    with raises("export.overwrites_nothing", ConfigError, parameter="overwrite"):
        gpuseg.export(output, "json", overwrite=True)


def test_a_model_without_its_output_is_exported(output: Path, tmp_path: Path) -> None:
    shutil.copytree(output / "_model", tmp_path / "model")
    content = json.loads(gpuseg.export(tmp_path / "model", "json")["segments.json"])
    assert content["run_id"] is None
    assert [segment["name"] for segment in content["segments"]] == [None] * 4


def test_a_model_in_memory_is_exported(tmp_path: Path) -> None:
    model = gpuseg.load_model(fitted("hierarchy"))
    assert isinstance(model, HierarchicalModel)
    content = json.loads(gpuseg.export(model.cut(6), "json")["segments.json"])
    assert [segment["segment"] for segment in content["segments"]] == list(range(6))
    gpuseg.export(model.cut(6), "sql", tmp_path / "a.sql", id_column="customer")
    assert "6 segments" in (tmp_path / "a.sql.card.md").read_text()
    with raises("export.no_id", ConfigError, parameter="id_column"):
        gpuseg.export(model, "sql")
    with raises("export.options_without_path", ConfigError, parameter="storage_options"):
        gpuseg.export(model, "json", storage_options={"anon": True})
    with raises("export.not_a_model", ConfigError, parameter="model", value="KMeans"):
        gpuseg.export(gpuseg.KMeans(3), "json")  # type: ignore[arg-type]


def test_what_cannot_be_exported_is_refused(output: Path, tmp_path: Path) -> None:
    with raises("export.unknown_format", ConfigError, parameter="to", value="pickle"):
        gpuseg.export(output, "pickle")
    with raises("export.option_of_other_format", ConfigError, parameter="table", value="t"):
        gpuseg.export(output, "json", table="t")
    with raises("model.not_found", DataError):
        gpuseg.export(tmp_path, "json")
    with raises("export.algorithm_without_centers", ConfigError, parameter="to", value="json"):
        gpuseg.export(fitted("dbscan"), "json")


def test_the_command_names_its_options(output: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = call(capfd, "export", output, "--to", "json", "--id", "customer")
    assert (wrong.code, wrong.out) == (2, "")
    assert "--id = 'customer'" in wrong.err
    no_model = call(capfd, "export", output.parent / "nothing", "--to", "json")
    assert no_model.code == 3
    assert "--output" not in no_model.err


def test_a_folder_is_replaced_only_by_its_kind(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model"
    publish_folder({"MARK": b"1", "inner/a": b"a"}, str(target), overwrite=False, mark="MARK")
    assert (target / "inner" / "a").read_bytes() == b"a"
    with raises("export.exists", ConfigError, parameter="path"):
        publish_folder({"MARK": b"2"}, str(target), overwrite=False, mark="MARK")
    publish_folder({"MARK": b"2"}, str(target), overwrite=True, mark="MARK")
    assert [path.name for path in target.iterdir()] == ["MARK"]
    (target / "MARK").rename(target / "other")
    with raises("export.other_folder", ConfigError, parameter="path"):
        publish_folder({"MARK": b"3"}, str(target), overwrite=True, mark="MARK")
    with raises("export.not_a_folder", ConfigError, parameter="path"):
        publish_folder({}, str(target / "other"), overwrite=True, mark="MARK")
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_files_are_written_to_object_stores(output: Path, memory: Any) -> None:
    url = "memory://gpuseg-test/segments.json"
    files = gpuseg.export(output, "json", url)
    assert memory.cat_file(url) == files["segments.json"]
    assert memory.exists(f"{url}.card.md")
    with raises("export.exists", ConfigError, parameter="path", value=url):
        gpuseg.export(output, "json", url)
    gpuseg.export(output, "json", url, overwrite=True)
    publish_folder({"MARK": b"1"}, "memory://gpuseg-test/model", overwrite=False, mark="MARK")
    with raises("export.other_folder", ConfigError, parameter="path"):
        publish_folder({"MARK": b"1"}, "memory://gpuseg-test/model", overwrite=True, mark="MARK")


def test_a_place_that_cannot_be_written_is_an_error(output: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with raises("output.not_writable", ResourceError):
        gpuseg.export(output, "json", tmp_path / "file" / "a.json")
