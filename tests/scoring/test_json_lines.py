"""Lines of JSON: the same rows whatever parser there is, and what is wrong with other lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gpuseg.scoring import json_lines
from gpuseg.scoring.json_lines import parse_lines, raw_value


@pytest.fixture(params=["orjson", "json"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Parse with each of the parsers."""
    if request.param == "json":
        monkeypatch.setattr(json_lines, "_parser", lambda: json_lines._loads)
    yield


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b'{"a": 1, "b": "x"}', {"a": 1, "b": "x"}),
        (b'{"a": 1}\r', {"a": 1}),
        (b' \t{"a" : 1.5 } ', {"a": 1.5}),
        (b"{}", {}),
        (b'{"a": "b:c", "d": "2026-01-01T10:00:00", "e": "\\":"}',
         {"a": "b:c", "d": "2026-01-01T10:00:00", "e": '":'}),
        (b'{"a": {"b": 1}, "c": [{"b": 2}, {"b": 3}]}',
         {"a": {"b": 1}, "c": [{"b": 2}, {"b": 3}]}),
        (b'{"a": 1e400, "b": -1e400}', {"a": float("inf"), "b": float("-inf")}),
        (b'{"a": ' + b"9" * 5000 + b"}", {"a": float("inf")}),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
        (b'{"a": "' + b"x" * 1_000_000 + b'"}', {"a": "x" * 1_000_000}),
        ('{"größe": "\u2028"}'.encode(), {"größe": "\u2028"}),
    ],
)  # fmt: skip
def test_rows(line: bytes, row: dict[str, Any]) -> None:
    parsed = parse_lines([line])
    assert (parsed.rows, parsed.positions.tolist(), parsed.problems) == ([row], [0], [])


@pytest.mark.parametrize(
    "line",
    [
        b"x", b'{"a": 1', b'{"a": 1}}', b'{"a": 1} {"a": 1}', b"{'a': 1}", b'{"a": 01}',
        b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1,}', b'{"a": "\n"}',
        b"1", b"[1]", b'"a"', b"null", b"true", b'[{"a": 1}]',
        b'{"a": 1, "a": 2}', b'{"a": 1, "\\u0061": 1}', b'{"a" :1,"a":2}', b'{"a":1, "a"\t:1}',
        b'{"b": {"a": 1, "a": 1}}', b'{"a":"x:y","a":"x"}', b'{"a" :"\\":","a":2}',
        b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}', b"\xef\xbb\xbf" b'{"a": 1}',
        '{"a": 1}'.encode("utf-16"), b"\x00", b"[" * 100_000, b'{"a":' * 100_000,
    ],
)  # fmt: skip
def test_lines_that_are_no_rows(line: bytes) -> None:
    good = b'{"a": 1}'
    parsed = parse_lines([good, line, b"", b" \r", good])
    assert parsed.positions.tolist() == [0, 4]
    assert parsed.rows == [{"a": 1}] * 2
    (problem,) = parsed.problems
    assert (problem.row, problem.column) == (1, "")
    assert problem.rule.startswith("must")
    assert line.decode(errors="replace").startswith(problem.value)


@pytest.mark.parametrize(
    "value",
    ["1", "-0", "1.50", "1e400", "123456789012345678901234567890", '"\\ud800"', '"a\\u0301"',
     "[1, {\"id\": 2}]", "null", '"id"', "[]", '"\\\\"'],
)  # fmt: skip
def test_the_text_of_a_value(value: str) -> None:
    line = f' {{ "other" : {{"id": [3, "}}"]}} ,"\\u0069d"\t: {value}\r, "z": 1}} '.encode()
    assert raw_value(line, "id") == value
    assert json.dumps(parse_lines([line]).rows[0]["id"]) == json.dumps(json.loads(value))


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 1020 + "]" * 1020], ids=["digits", "lists"])
def test_the_text_of_a_value_that_only_orjson_takes(value: str) -> None:
    assert raw_value(f'{{"a": {value}, "id": {value}}}'.encode(), "id") == value


def test_no_lines() -> None:
    assert parse_lines([]).rows == []
