"""Lines of JSON in, lines of JSON out: in order, each by itself, and as soon as they are there."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.fitted_outputs import fitted, new_rows
from support.json_rows import as_json

from gpuseg.models.loading import load_output
from gpuseg.scoring import line_batches
from gpuseg.scoring.line_batches import MAX_LINE, read_line_batches
from gpuseg.scoring.score_lines import LineScorer, id_column_of
from gpuseg.scoring.score_rows import RowScorer

UNSEEN = "one_hot_of_all"


def scorer(name: str) -> LineScorer:
    output = load_output(fitted(name))
    rows = RowScorer(output.model)
    return LineScorer(rows, output.segment_names, id_column_of(output.manifest))


def as_lines(rows: list[Any]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def scored(name: str, lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in scorer(name).score(lines).splitlines()]


# Scores.


@pytest.mark.parametrize("name", ["plain", "text_ids", "no_id", "hierarchy", "dbscan", UNSEEN])
@pytest.mark.filterwarnings("ignore:column")
def test_lines_have_the_scores_of_parquet(name: str) -> None:
    output, table = load_output(fitted(name)), new_rows(name)
    expected = output.model.score(table).columns()
    lines = scored(name, as_lines(as_json(table)))
    for column, values in expected.items():
        written = np.array([line[column] for line in lines])
        assert written.astype(values.dtype).tobytes() == values.tobytes(), column
    names = [output.segment_names.get(segment) for segment in expected["segment"].tolist()]
    assert [line["name"] for line in lines] == names
    id_column = id_column_of(output.manifest)
    ids = table[id_column].to_pylist() if id_column else [None] * len(table)
    assert [line.get("id") for line in lines] == ids
    assert all(line.keys() - {"id", "name"} == expected.keys() for line in lines)


def test_problems_are_in_the_place_of_their_lines() -> None:
    lines = as_lines(as_json(new_rows("plain").slice(0, 6)))
    alone = [scored("plain", [line])[0] for line in lines]
    bad = as_json(new_rows("plain").slice(0, 1))[0]
    mixed = [
        lines[0], json.dumps({**bad, "spend": None}).encode(), lines[1], b"", b"{", lines[2],
        json.dumps({**bad, "orders": "three"}).encode(), b" \r", b"[]", lines[3],
    ]  # fmt: skip
    scoring = scorer("plain")
    written = [json.loads(line) for line in scoring.score(mixed).splitlines()]
    kept = [line for line in written if "error" not in line]
    assert kept == alone[:4]
    errors = {i: line["error"] for i, line in enumerate(written) if "error" in line}
    assert {i: (e["line"], e["column"], e["value"]) for i, e in errors.items()} == {
        1: (2, "spend", None), 3: (5, None, "{"), 5: (7, "orders", "three"), 6: (9, None, "[]"),
    }  # fmt: skip
    assert written[1]["id"] == bad["customer"]
    assert "id" not in written[3]
    assert (scoring.n_rows, scoring.n_failed) == (4, 4)
    assert scoring.score([b"x"]).startswith(b'{"error":{"column":null,"value":"x","rule":')


@pytest.mark.parametrize(
    "value",
    ["7", '"7"', "null", "true", "1.50", "1e400", "123456789012345678901234567890", '"é\u2028"',
     '"\\ud800"', '["a", {"b": 1.10}]', '"%s"', '"a\\"b\\\\"', '""'],
)  # fmt: skip
def test_ids_are_written_as_they_are(value: str) -> None:
    row = as_json(new_rows("plain").slice(0, 1))[0]
    del row["customer"]
    line = json.dumps(row)[:-1] + f', "customer": {value}}}'
    written, _ = scorer("plain").score([line.encode()]).decode().split("\n")
    assert written.startswith('{"id":')
    decoder = json.JSONDecoder(parse_float=str)
    assert decoder.decode(written)["id"] == decoder.decode(value)
    (refused,) = scorer("plain").score([line.replace("spend", "other").encode()]).splitlines()
    assert decoder.decode(refused.decode())["id"] == decoder.decode(value)


def test_rows_without_an_id_are_scored() -> None:
    row = as_json(new_rows("plain").slice(0, 1))[0]
    with_id, without = scored("plain", as_lines([row, {k: row[k] for k in row if k != "customer"}]))
    assert with_id.pop("id") == row["customer"]
    assert without == with_id


def test_unseen_categories_are_counted_over_all_batches() -> None:
    scoring, rows = scorer(UNSEEN), as_json(new_rows(UNSEEN).slice(0, 3))
    for row in rows:
        row["country"] = "DE"
    for _ in range(2):
        rows[1]["country"] = "Atlantis"
        scoring.score(as_lines(rows))
    item = scoring.unseen["country"]
    assert (item.first_row, item.n_rows, item.value) == (2, 2, "Atlantis")


def test_a_long_value_is_not_written_again() -> None:
    row = {**as_json(new_rows("plain").slice(0, 1))[0], "spend": "x" * 1_000_000}
    written = scorer("plain").score(as_lines([row]))
    assert len(written) < 1000


# Lines of a stream.


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def read_all(pipe: tuple[int, int], *pieces: bytes) -> list[list[bytes]]:
    """Read pieces that another thread writes and then closes the pipe."""
    reader, writer = pipe

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as stream:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[stream.write(view) :]

    thread = threading.Thread(target=write)
    thread.start()
    batches = list(read_line_batches(reader))
    thread.join()
    return batches


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"\n\na\r\nb", [b"", b"", b"a\r", b"b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", [b"a", b"\xef\xbb\xbfb"]),
        (b"\xef\xbb\xbf", [b""]),
        (b"ab\n" * 2_000_000, [b"ab"] * 2_000_000),
    ],
)
def test_lines_of_a_stream(pipe: tuple[int, int], content: bytes, lines: list[bytes]) -> None:
    batches = read_all(pipe, content)
    assert [line for batch in batches for line in batch] == lines


def test_bytes_one_at_a_time(pipe: tuple[int, int]) -> None:
    content = b"\xef\xbb\xbf" + "größe\nb\n".encode()
    batches = read_all(pipe, *(content[i : i + 1] for i in range(len(content))))
    assert [line.decode() for batch in batches for line in batch] == ["größe", "b"]


def test_lines_are_taken_before_others_come(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    batches = read_line_batches(reader)
    os.write(writer, b"a\nb\nc")
    assert next(batches) == [b"a", b"b"]
    os.write(writer, b"d\n")
    assert next(batches) == [b"cd"]
    os.close(writer)
    assert list(batches) == []


def test_a_stream_that_does_not_block(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(reader, False)
    later = threading.Timer(0.05, lambda: (os.write(writer, b"a\n"), os.close(writer)))
    later.start()
    assert list(read_line_batches(reader)) == [[b"a"]]


def test_a_line_without_end_does_not_fill_the_memory(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_batches, "MAX_LINE", 1000)
    monkeypatch.setattr(line_batches, "_BATCH", 1000)
    batches = read_all(pipe, b"a\n" + b"x" * 9_000_000 + b"\nb\n")
    first, long, last = (len(line) for batch in batches for line in batch)
    assert (first, last) == (1, 1)
    assert 1000 < long <= 1001 + 2**20


def test_a_line_that_is_too_long_is_refused() -> None:
    line = b'{"a": 1}' + b" " * MAX_LINE
    (written,) = scored("plain", [line])
    assert written["error"]["column"] is None
