"""Amounts of money in text are read as numbers, and what only looks like one is not."""

from __future__ import annotations

import pyarrow as pa
import pytest

from gpuseg.io.text_files.amounts import without_signs_of_amounts

AMOUNTS = {
    "$1,234.50": "1,234.50", "($35.00)": "-35.00", "$(5.00)": "-5.00", "(1,234)": "-1,234",
    "-$5": "-5", "$-5.00": "-5.00", "US$5": "5", "R$ 1.234,50": "1.234,50", "-R$ 35,00": "-35,00",
    "€5": "5", "1 234,50 €": "1 234,50", "1\u202f234,50\u00a0€": "1\u202f234,50",
    "CHF 1'234.50": "1'234.50", "Fr. .5": ".5", "1.234,50 EUR": "1.234,50", "kr 5": "5",
    "5 kr.": "5", "12,00 zł": "12,00", "¥1,234": "1,234", "35,00-": "-35,00", "−5.5": "-5.5",
    "( 5 )": "-5", "$0": "0",
}  # fmt: skip
"""Amounts, and their numbers."""

OTHERS = [
    *("5", "-5", "1e-5", "", "$", "()", "(", "5%", "12-34", "2010-12-01", "USD5", "ABC5", "5EUR"),
    *("$5 and $6", "--5", "(5", "-5-", "$ 5 kg", None),
]
"""Text that is no amount, or a plain number."""


@pytest.mark.parametrize("amount", AMOUNTS)
def test_an_amount_becomes_a_number(amount: str) -> None:
    assert without_signs_of_amounts(pa.array([amount])).to_pylist() == [AMOUNTS[amount]]


def test_other_text_is_unchanged() -> None:
    for column in (OTHERS, [*OTHERS, "$5"]):
        text = without_signs_of_amounts(pa.array(column)).to_pylist()
        assert text[: len(OTHERS)] == OTHERS
