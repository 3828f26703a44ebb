"""What a refresh cannot continue is refused in one sentence, and older outputs stay as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.errors import raises
from support.fitted_outputs import fitted, input_rows, job_of
from support.helpers import job, listing, write_files
from support.refused_refreshes import KEY_VARIABLE, REFUSED, SCORE, make_folder, refresh

import gpuseg


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("refused"))


@pytest.fixture(autouse=True)
def nothing_changes(folder: Path) -> Iterator[None]:
    before = listing(folder)
    yield
    assert listing(folder) == before


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a secret of more than sixteen characters")
    code, sections = REFUSED[name]
    with raises(code) as caught:
        refresh(folder, **sections)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()


def test_another_algorithm_is_refused(folder: Path) -> None:
    values = job(folder / "in", folder / "out")
    values["segment"] = {"algorithm": "dbscan", "eps": 1.0}
    with raises("refresh.other_algorithm", parameter="segment_algorithm"):
        gpuseg.refresh(values, folder / "older")


@pytest.mark.parametrize(
    ("name", "segment"),
    [("dbscan", {"eps": 0.6}), ("dbscan", {"min_samples": 6}), ("hierarchy", {"levels": [3, 9]})],
)
def test_other_parameters_of_segments_are_refused_or_fitted(
    name: str, segment: dict[str, Any], tmp_path: Path
) -> None:
    source = write_files(tmp_path / "in", [input_rows(name)])
    values = job_of(name, source, tmp_path / "out")
    values["segment"] |= segment
    with raises("refresh.other_segments"):
        gpuseg.refresh(values, fitted(name), mode="score")
    refreshed = gpuseg.refresh(values, fitted(name)).record.refresh
    assert refreshed is not None and refreshed.mode == "fresh"


def test_another_kind_of_data_is_refused(folder: Path) -> None:
    values = job(folder / "in", folder / "out")
    del values["input"], values["segment"]
    roles = {"customer": "customer", "time": "recency", "price": "spend"}
    lines = {"transactions": {"path": str(folder / "in"), **roles}, "segment": {"n_clusters": 3}}
    with raises("refresh.other_source"):
        gpuseg.refresh({**values, **lines}, folder / "older")


def test_duplicates_cannot_be_dropped_while_rows_are_scored(folder: Path) -> None:
    with raises("refresh.duplicates_not_dropped"):
        refresh(folder, prepare={"duplicates": "first"}, **SCORE)


def test_errors_say_from_for_the_older_output(folder: Path) -> None:
    with raises("model.not_found") as caught:
        refresh(folder, "missing")
    assert str(caught.value).startswith("from: ")


def changed_json(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def without_parts(folder: Path) -> None:
    for part in folder.glob("part-*"):
        part.unlink()


def with_another_part(folder: Path) -> None:
    part = folder / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("of", "change", "code"),
    [
        ("older", changed_json("_model/model.json", format=99), "model.wrong_format"),
        ("older", changed_json("_manifest.json", format=99), "manifest.unknown_format"),
        ("scored", changed_json("_manifest.json", format=99), "manifest.unknown_format"),
        ("scored", changed_json("_model/model.json", format=99), "model.wrong_format"),
        ("older", without_parts, "refresh.no_output"),
        ("scored", with_another_part, "migration.damaged_output"),
    ],
)
def test_a_damaged_or_newer_output_is_refused(
    of: str, change: Callable[[Path], None], code: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / of, tmp_path / "older")
    change(tmp_path / "older")
    values = job(folder / "in", tmp_path / "out")
    with raises(code):
        gpuseg.refresh(values, tmp_path / "older")
    assert not (tmp_path / "out").exists()


def test_a_model_without_its_output_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "older" / "_model", tmp_path / "model")
    registry = gpuseg.ModelRegistry(tmp_path / "registry")
    registry.add("customers", folder / "older")
    for older in (str(tmp_path / "model"), registry.path("customers", 1)):
        with raises("refresh.no_output") as caught:
            gpuseg.refresh(job(folder / "in", tmp_path / "out"), older)
        assert str(caught.value).startswith("from: ")
