"""JSON of strangers: what is not JSON is a ValueError, however it is made."""

import json

import pytest

from gpuseg.strict_json import parse_json


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"{} {}", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b'"\xff"',
        b'"\\ud800"', b'{"\\uDC00": 1}', b'{"a": 1, "a": 2}', b"NaN", b"-Infinity", b"1e999",
        b"9" * 5000, b"9" * 19, b"[" * 100_000,
        b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000,
    ],
)  # fmt: skip
def test_what_is_not_json(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(content)


def test_json() -> None:
    content = b'{"a": [1, -0.5, true, null, "\\ud83d\\ude00", "\xc3\xa9"], "b": {}}'
    assert parse_json(content) == {"a": [1, -0.5, True, None, "\U0001f600", "é"], "b": {}}


def test_a_key_that_is_repeated_among_very_many() -> None:
    content = json.dumps({str(i): i for i in range(200_000)})[:-1] + ', "199999": 0}'
    with pytest.raises(ValueError, match="199999"):
        parse_json(content.encode())


def test_halves_of_characters_where_they_are_allowed() -> None:
    assert parse_json(b'["\\udcff"]', allow_surrogates=True) == ["\udcff"]
