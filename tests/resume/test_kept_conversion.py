"""Text files that an earlier attempt of a run has converted are not converted again."""

import os
from pathlib import Path

import pytest

from gpuseg.io.input_files import input_files
from gpuseg.io.storage import Storage
from gpuseg.io.text_files.convert import ConvertedFiles, Wanted
from gpuseg.io.text_files.files import READABLE
from gpuseg.io.text_files.kept_conversion import convert_or_take
from gpuseg.io.text_files.options import TextOptions


def convert(source: Path, target: Path, wanted: Wanted) -> ConvertedFiles:
    storage, files = input_files(Storage.from_url(str(source), {}, "p"), "p", READABLE)
    folder = Storage.from_url(str(target / "input"), {}, "p")
    return convert_or_take(storage, files, folder, TextOptions(), wanted)


def test_converted_files_are_taken_while_nothing_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "in", tmp_path / "converted"
    source.mkdir()
    target.mkdir()
    (source / "a.csv").write_text("id;x\n1;1,5\n2;2,5\n")
    (source / "b.csv").write_text("id;x\n3;3,5\n")
    wanted = Wanted(numbers=("x",), id="id")
    first = convert(source, target, wanted)
    place = first.describe_row("a.csv", 1)
    parts = [target / "input" / name for name in ("a.csv", "b.csv")]

    def is_converted_again(wanted: Wanted = wanted) -> bool:
        os.utime(parts[0], (1, 1))
        again = convert(source, target, wanted)
        assert again.rows == first.rows
        assert again.formats == first.formats
        assert again.numbers == first.numbers
        assert [file.path for file in again.files] == [file.path for file in first.files]
        assert again.describe_row("a.csv", 1) == place
        return parts[0].stat().st_mtime != 1

    assert not is_converted_again()
    assert is_converted_again(Wanted(numbers=("x",), id="id", keeps_id_as_text=True))
    assert is_converted_again()
    os.utime(source / "a.csv", (2, 2))
    assert is_converted_again()
    parts[1].write_bytes(parts[1].read_bytes()[:-1])
    assert is_converted_again()
    (target / "input.converted").write_bytes(b"damaged")
    assert is_converted_again()
    assert not is_converted_again()
    monkeypatch.setattr("gpuseg.io.text_files.kept_conversion.machine_start", lambda: "later")
    assert is_converted_again()
