"""Models and rows that are wrong, through every way of scoring: each error names what is wrong."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.fitted_outputs import fitted, new_rows
from support.helpers import call
from support.json_rows import as_json

import gpuseg
from gpuseg.errors import DataError
from gpuseg.models.loading import load_output
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel
from gpuseg.serving.protocols import segments

MIB = 2**20

Damage = Callable[[Path], None]
"""Changes a copy of an output."""


def cut(name: str, share: float) -> Damage:
    """Keep only the first part of a file of the model, as a copy that was broken off."""

    def change(output: Path) -> None:
        path = output / "_model" / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return change


def removed(name: str) -> Damage:
    return lambda output: (output / "_model" / name).unlink()


def described(**values: Any) -> Damage:
    """Change values of model.json."""

    def change(output: Path) -> None:
        path = output / "_model" / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def tensor_header(header: bytes, rest: int = 0, length: int | None = None) -> Damage:
    """Replace model.safetensors by a header, which may lie of its length, and `rest` bytes."""
    size = len(header) if length is None else length
    content = struct.pack("<Q", size) + header + bytes(rest)

    def change(output: Path) -> None:
        (output / "_model" / "model.safetensors").write_bytes(content)

    return change


def centers(shape: list[int], end: int, **others: Any) -> bytes:
    entry = {"dtype": "F64", "shape": shape, "data_offsets": [0, end]}
    return json.dumps({"centers": entry, **others}).encode()


WHOLE = {"dtype": "F64", "shape": [12], "data_offsets": [0, 96]}

HALF_WRITTEN = {
    "no tensors": ("model.incomplete", removed("model.safetensors")),
    "no description": ("model.incomplete", removed("model.json")),
    "tensors cut": ("model.damaged", cut("model.safetensors", 0.9)),
    "tensors empty": ("model.damaged", cut("model.safetensors", 0.0)),
    "description cut": ("model.damaged", cut("model.json", 0.5)),
    "description empty": ("model.damaged", cut("model.json", 0.0)),
}
OTHER_FORMATS = {
    f"format {value}": ("model.wrong_format", described(format=value)) for value in (1, 3, None)
}
LYING_HEADERS = {
    "length of 2^63": tensor_header(b"{}", length=2**63),
    "length of 2^40": tensor_header(b"{}", length=2**40),
    "length of the file": tensor_header(b"{}", length=10),
    "shape of 2^40 rows": tensor_header(centers([2**40, 3], 96), 96),
    "shape of 2^64 values": tensor_header(centers([2**33, 2**31], 96), 96),
    "no rows of 2^60": tensor_header(centers([0, 2**60], 0)),
    "end of 2^40": tensor_header(centers([4, 3], 2**40), 96),
    "end of 2^40 in between": tensor_header(centers([4, 3], 2**40, rest=WHOLE), 96),
    "negative shape": tensor_header(centers([-4, -3], 96), 96),
    "two tensors in one place": tensor_header(centers([4, 3], 96, rest=WHOLE), 96),
    "a million brackets": tensor_header(b"[" * 1_000_000),
}
DAMAGES = {
    **HALF_WRITTEN,
    **OTHER_FORMATS,
    "lying header": ("model.damaged", LYING_HEADERS["length of 2^40"]),
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A copy of an output."""
    return Path(shutil.copytree(fitted("plain"), tmp_path / "output"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """New rows as a file."""
    path = tmp_path / "new.parquet"
    pq.write_table(new_rows("plain"), path)
    return path


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_models_are_refused_by_name(output: Path, table: Path, name: str) -> None:
    code, damage = DAMAGES[name]
    damage(output)
    for load in (gpuseg.load_model, load_output):
        for path in (output, output / "_model"):
            with pytest.raises(DataError) as caught:
                load(path)
            assert caught.value.code == code
            assert str(output) in str(caught.value)
    with pytest.raises(DataError) as caught:
        gpuseg.score(output, table, table.parent / "out")
    assert caught.value.code == code
    assert not (table.parent / "out").exists()


@pytest.mark.parametrize("command", ["score", "export"])
@pytest.mark.parametrize("name", ["no tensors", "format 3", "lying header"])
def test_commands_end_with_one_line(
    output: Path, table: Path, capfd: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    DAMAGES[name][1](output)
    out = table.parent / "out"
    arguments = {"score": [output, table, out], "export": [output, "--to", "onnx", "-o", out]}
    shown = call(capfd, command, *arguments[command])
    assert (shown.code, shown.out) == (3, "")
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1
    assert not out.exists()


def test_a_lying_header_takes_no_memory(tmp_path: Path) -> None:
    """Each header is read in a process that may not have 64 MiB more than it has."""
    paths = []
    for i, damage in enumerate(LYING_HEADERS.values()):
        path = Path(shutil.copytree(fitted("plain"), tmp_path / str(i)))
        damage(path)
        paths.append(str(path))
    script = f"""
import resource, sys
import gpuseg
from gpuseg.errors import DataError
gpuseg.load_model({str(fitted("plain"))!r})
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + {64 * MIB},) * 2)
for path in sys.argv[1:]:
    try:
        gpuseg.load_model(path)
    except DataError as error:
        print(error.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["model.damaged"] * len(paths)


@pytest.fixture
def in_memory() -> Iterator[str]:
    fs = fsspec.filesystem("memory")
    fs.put(f"{fitted('plain')}/", "/published", recursive=True)
    yield "memory://published"
    fs.rm("/published", recursive=True)


def test_an_output_that_is_being_published_is_refused(in_memory: str) -> None:
    """An object store has files of both runs meanwhile."""
    assert load_output(in_memory).model.predict(new_rows("plain")).size
    fsspec.filesystem("memory").rm("/published/_SUCCESS")
    for load in (gpuseg.load_model, load_output):
        with pytest.raises(DataError) as caught:
            load(in_memory)
        assert caught.value.code == "output.not_complete"


LONG = "x" * 10**6

TYPE, REFUSED = "column.changed_type", ("rows.not_transformable", "rows.not_scored")

ROWS: dict[str, tuple[str, str, Any, Any, tuple[str, str]]] = {
    "text for numbers": ("plain", "orders", "7", "7", ("column.not_numeric", TYPE)),
    "long text for numbers": ("plain", "orders", LONG, LONG, ("column.not_numeric", TYPE)),
    "whole numbers for text": ("one_hot_of_all", "country", 7, 7, ("category.changed_type", TYPE)),
    "numbers for text": (
        "one_hot_of_all", "country", 0.5, 0.5, ("category.unsupported_type", TYPE),
    ),
    "short vectors": ("vectors", "embedding", [1.0], [1.0], ("vector.wrong_shape",) * 2),
    "no value": ("plain", "orders", None, 1.0, REFUSED),
    "NaN": ("plain", "orders", float("nan"), 1.0, REFUSED),
    "infinity": ("plain", "orders", float("inf"), 1.0, REFUSED),
    "degrees for radians": ("dbscan_haversine", "longitude", 8.5, 0.1, REFUSED),
    "no category": ("one_hot_of_all", "country", None, "DE", REFUSED),
}  # fmt: skip
"""Case, column, its first value, its others, and the codes of `predict` and of `score`."""


@pytest.mark.parametrize("name", ROWS)
def test_wrong_rows_are_refused_by_their_column(tmp_path: Path, name: str) -> None:
    case, column, first, others, codes = ROWS[name]
    rows = new_rows(case)
    values = pa.array([first, *[others] * (len(rows) - 1)])
    refused_rows(tmp_path, case, f"'{column}'", codes, replaced(rows, column, values))


@pytest.mark.parametrize("name", [n for n in ROWS if n not in ("NaN", "infinity")])
def test_a_wrong_row_of_a_request_is_named_and_the_others_are_answered(name: str) -> None:
    case, column, first, *_ = ROWS[name]
    model = LoadedModel(load_output(fitted(case)))
    rows = as_json(new_rows(case))[:3]
    rows[1][column] = first
    body = json.dumps({"rows": rows}).encode()
    scored = model.score(segments.read(body, model, RequestLimits()), with_next=True)
    answer = segments.write(scored, model)
    facts = json.loads(answer)
    assert facts["code"] == "rows.wrong" and len(answer) < 3000
    assert [(p["row"], p["column"]) for p in facts["problems"]] == [(1, column)]
    assert [row is None for row in facts["segments"]] == [False, True, False]


@pytest.mark.slow
def test_a_damaged_model_is_not_served(output: Path, capfd: pytest.CaptureFixture[str]) -> None:
    DAMAGES["no tensors"][1](output)
    shown = call(capfd, "serve", output, "--port", "0")
    assert (shown.code, shown.out) == (3, "")
    assert "model.safetensors" in shown.err and shown.err.count("\n") == 1


def test_a_row_without_a_direction_is_refused(tmp_path: Path) -> None:
    rows = new_rows("dbscan_cosine")
    zeros = pa.array([[0.0] * 4, *rows["embedding"].to_pylist()[1:]])
    refused_rows(tmp_path, "dbscan_cosine", "row 0", REFUSED, replaced(rows, "embedding", zeros))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    rows = new_rows("plain").drop_columns(["orders"])
    refused_rows(tmp_path, "plain", "'orders'", ("column.missing",) * 2, rows)


def replaced(rows: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(column), column, values)


def refused_rows(
    folder: Path, case: str, named: str, codes: tuple[str, str], rows: pa.Table
) -> None:
    """Check that rows are refused with these codes, in short texts that name what is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError) as caught:
            gpuseg.load_model(fitted(case)).predict(rows)
    pq.write_table(rows, folder / "new.parquet")
    with pytest.raises(DataError) as of_score:
        gpuseg.score(fitted(case), folder / "new.parquet", folder / "out")
    assert (caught.value.code, of_score.value.code) == codes
    for error in (caught, of_score):
        assert named in str(error.value) and len(str(error.value)) < 1000
    assert not (folder / "out").exists()


def test_a_category_of_a_million_characters_is_unseen(tmp_path: Path) -> None:
    rows = new_rows("one_hot_with_other")
    cities = rows["city"].to_pylist()[1:]
    long = replaced(rows, "city", pa.array([LONG, *cities]))
    short = replaced(rows, "city", pa.array(["Nowhere", *cities]))
    model = gpuseg.load_model(fitted("one_hot_with_other"))
    np.testing.assert_array_equal(model.predict(long), model.predict(short))
    pq.write_table(long, tmp_path / "new.parquet")
    gpuseg.score(fitted("one_hot_with_other"), tmp_path / "new.parquet", tmp_path / "out")
    rows = new_rows("one_hot_of_all")
    with pytest.warns(UserWarning) as caught:
        gpuseg.load_model(fitted("one_hot_of_all")).predict(
            replaced(rows, "country", pa.array([LONG] * len(rows)))
        )
    assert all(len(str(warning.message)) < 1000 for warning in caught)
    assert (tmp_path / "out" / "_manifest.json").stat().st_size < 100_000
