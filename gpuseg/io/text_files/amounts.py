"""Amounts of money in text: currencies, and the ways in which accountants write less than zero.

An amount is "$1,234.50", "1.234,50 €", "($35.00)", "35.00-" or "−5". Its number keeps its own
decimal sign and signs between thousands.
"""

from collections.abc import Collection

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.errors import DataError

_BLANKS = " \u00a0\u2009\u202f"
_BLANK = f"[{_BLANKS}]?"
_MINUS = "[-−–]"
_CODES = (
    *("AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HUF", "INR", "JPY", "KRW"),
    *("MXN", "NOK", "NZD", "PLN", "RUB", "SEK", "TRY", "USD", "ZAR"),
)
_WORDS = (r"kr\.?", "zł", "Kč", "Ft", r"Fr\.", r"Rs\.?")
_NAMES = "|".join((*_CODES, *_WORDS))
_SYMBOL = r"[A-Z]{0,3}\p{Sc}"
_BEFORE = rf"(?:{_SYMBOL}{_BLANK}|(?:{_NAMES})[{_BLANKS}])"
"""A currency before a number. USD123 may be the code of a product, so that a name needs a blank."""

_AFTER = rf"(?:{_BLANK}(?:\p{{Sc}}|円|元)|[{_BLANKS}](?:{_NAMES}))"
_NUMBER = f"(?:[0-9](?:[0-9.,'’]|[{_BLANKS}][0-9])*|[.,][0-9]+)"

_AMOUNTS = (
    rf"{_MINUS}{_BLANK}{_BEFORE}{_NUMBER}",
    rf"{_BEFORE}(?:{_MINUS}|\+)?{_NUMBER}",
    rf"(?:{_MINUS}|\+)?{_NUMBER}{_AFTER}",
    rf"(?:−|–){_NUMBER}",
    rf"{_NUMBER}{_MINUS}",
    rf"\({_BLANK}{_BEFORE}?{_NUMBER}{_AFTER}?{_BLANK}\)",
    rf"{_BEFORE}\({_NUMBER}\)",
)
_OF_NO_NUMBER = "[^0-9.,' +-]|.-"
"""What every amount has, and few numbers. The patterns above take a millisecond to compile."""

_AMOUNT = rf"\A(?:{'|'.join(_AMOUNTS)})\z"
_BELOW_ZERO = rf"\A[^0-9]*(?:{_MINUS}|\()|{_MINUS}\z"
_SIGNS = rf"{_SYMBOL}|{_NAMES}|円|元|[-−–+()]"
_OUTER_BLANKS = rf"\A[{_BLANKS}]+|[{_BLANKS}]+\z"


_CURRENCIES = rf"(?P<currency>{_SYMBOL}|{_NAMES}|円|元)"


def currencies_of(text: pa.Array) -> frozenset[str]:
    """Return the signs and codes of currencies in amounts (n,)."""
    amounts = text.filter(pc.match_substring_regex(text, _AMOUNT))
    signs = pc.extract_regex(amounts, _CURRENCIES).drop_null()
    return frozenset(pc.unique(pc.struct_field(signs, 0)).to_pylist())


def refuse_mixed_currencies(currencies: Collection[str], subject: str) -> None:
    """Refuse several currencies of all amounts of a column, whose sum would mean nothing.

    `subject` is the column, for the message.

    Raises
    ------
    DataError
    """
    if len(currencies) > 1:
        raise DataError(
            "numbers.mixed_currencies",
            f"{subject} has amounts in {', '.join(map(repr, sorted(currencies)[:5]))}",
            rule="the amounts of a column must have one currency",
            hint="convert them to one currency where they are made, or leave the column out",
        )


def without_signs_of_amounts(text: pa.Array) -> pa.Array:
    """Return amounts as numbers with a minus sign where they are below zero; others unchanged."""
    if not pc.any(pc.match_substring_regex(text, _OF_NO_NUMBER)).as_py():
        return text
    is_amount = pc.match_substring_regex(text, _AMOUNT)
    if not pc.any(is_amount).as_py():
        return text
    number = pc.replace_substring_regex(text, _SIGNS, "")
    number = pc.replace_substring_regex(number, _OUTER_BLANKS, "")
    is_below_zero = pc.match_substring_regex(text, _BELOW_ZERO)
    sign = pc.if_else(is_below_zero, "-", "")
    return pc.if_else(is_amount, pc.binary_join_element_wise(sign, number, ""), text)
