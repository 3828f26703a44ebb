"""FIFOs and devices as inputs are refused: reading one can wait or last for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.errors import raises
from support.helpers import customers, write_files

import gpuseg
from gpuseg.errors import ConfigError, DataError
from gpuseg.io.listing import list_files
from gpuseg.io.output.base import check_free
from gpuseg.io.storage import Storage
from gpuseg.jobs.regenerate_report import regenerate_report

SPECIAL: dict[str, Callable[[Path], Any]] = {
    "fifo": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to a fifo": lambda path: (os.mkfifo(path.parent / "_fifo"), path.symlink_to("_fifo")),
}


def storage(path: Path) -> Storage:
    return Storage.from_url(str(path), {}, "path")


@pytest.mark.parametrize("name", ["more.parquet", "more.csv"])
@pytest.mark.parametrize("kind", SPECIAL)
def test_special_files_in_a_folder(tmp_path: Path, kind: str, name: str) -> None:
    folder = write_files(tmp_path / "in", [customers(30)])
    SPECIAL[kind](folder / name)
    with raises("file.not_regular", DataError):
        list_files(storage(folder), "input_path")
    (folder / name).rename(folder / "_ignored")
    assert len(list_files(storage(folder), "input_path")) == 1


@pytest.mark.parametrize("kind", SPECIAL)
def test_special_files_as_inputs(tmp_path: Path, kind: str) -> None:
    SPECIAL[kind](tmp_path / "in.parquet")
    sections: list[dict[str, Any]] = [
        {"input": {"path": str(tmp_path / "in.parquet")}},
        {"transactions": {
            "path": str(tmp_path / "in.parquet"), "customer": "c", "time": "t", "amount": "a",
        }},
    ]  # fmt: skip
    for section in sections:
        with raises("file.not_regular", DataError):
            gpuseg.run({**section, "output": {"path": str(tmp_path / "out")}})


def test_huge_files_as_manifests(tmp_path: Path) -> None:
    (tmp_path / "_manifest.json").touch()
    os.truncate(tmp_path / "_manifest.json", 2**40)
    with raises("manifest.too_large", DataError):
        regenerate_report(str(tmp_path))
    with raises("output.not_gpuseg", ConfigError):
        check_free(storage(tmp_path), overwrite=True)


@pytest.mark.parametrize("kind", SPECIAL)
def test_special_files_as_manifests(tmp_path: Path, kind: str) -> None:
    SPECIAL[kind](tmp_path / "_manifest.json")
    with raises("manifest.not_a_file", DataError):
        regenerate_report(str(tmp_path))
    with raises("output.not_gpuseg", ConfigError):
        check_free(storage(tmp_path), overwrite=True)
