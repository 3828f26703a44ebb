"""Text and values of others are shown on one line, without control characters, and short."""

from typing import Any

import pytest
from fuzzing.mutations import HOSTILE_NUMBERS, HOSTILE_TEXTS

from gpuseg.errors import ConfigError, ConfigErrors
from gpuseg.printable import printable, printable_text, printable_value, shortened

DEEP: list[Any] = []
for _ in range(50_000):
    DEEP = [DEEP]

ITSELF: list[Any] = []
ITSELF.append(ITSELF)

VALUES: list[Any] = [
    *HOSTILE_NUMBERS, *HOSTILE_TEXTS, 10**5000, -(10**5000), DEEP, ITSELF,
    ["a" * 500] * 500, {"key": {"key": "\x1b[2J"}}, {"\u202e" * 9000: 1}, {10**5000}, b"\0" * 9000,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=ascii)
def test_text_is_escaped(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert shown == text or not text.isprintable()
    assert printable("é 名前 ✓") == "é 名前 ✓"


def test_long_text_keeps_its_ends() -> None:
    text = "a" * 5000 + "z"
    assert shortened("abc", 3) == "abc"
    assert shortened(text, 90).startswith("a" * 60 + "…a")
    assert shortened(text, 90).endswith("z (5,001 characters)")


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_messages_are_safe_to_show(value: Any) -> None:
    data = value if isinstance(value, str) else printable_value(value)
    error = ConfigError(
        "key.wrong", f"problem with {data}", value=value, parameter=f"a.{data}", rule=f"not {data}",
        hint=f"change {data}",
    )  # fmt: skip
    assert str(error).isprintable()
    assert len(str(error)) < 3000
    assert len(printable_value(value)) < 300
    assert str(ConfigErrors("several", [error, error])).splitlines() == [str(error)] * 2


def test_words_are_shortened_before_sentences() -> None:
    name = "b" * 20_000
    assert printable_text(f"no column {name} here").endswith("b (20,000 characters) here")
    assert len(printable_text("many words " * 1000)) < 1100
