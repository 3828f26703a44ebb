"""Columns that look like personal data, by their names and by their first values.

The names are in `personal_terms.toml`. The values are card numbers as numbers or text (thirteen to
nineteen digits with a check digit by Luhn's rule, ISO/IEC 7812-1), IBANs (ISO 13616, with the check
digits of ISO 7064), e-mail addresses, and telephone numbers in international form (E.164).
"""

import re
import tomllib
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import is_text, to_numpy

LOCATION = "a location"
"""The kind of latitudes and longitudes, which some distances are made for."""

_CONTACTS = ("an e-mail address", "a telephone number")
"""Kinds that reach a person."""

MIN_CARD_NUMBER = 10**12
"""No card number is smaller."""

_MAX_DIGITS = 19
_SAMPLE, _TEXT_SAMPLE, _SHARE = 10_000, 1_000, 0.9

PERSONAL_DATA_PAGE = "what is looked for: docs/guide/audit-and-privacy.md"
"""For messages: where the names and values are listed."""

_WORD = re.compile(r"[^\W\d_]+|\d+")
_CARD = re.compile(r"\d(?:[ .\-]?\d){12,18}")
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]{2,}")
_PHONE = re.compile(r"(?:\+|00)[1-9](?:[ ./()\-]{0,2}\d){7,14}")

_LONG_NUMBER = re.compile(r"\d{6,15}")


@cache
def _terms() -> tuple[dict[str, str], frozenset[str], frozenset[str]]:
    """Return the kind of each term, and the words before and after terms."""
    content = tomllib.loads(Path(__file__).with_name("personal_terms.toml").read_text("utf-8"))
    owners = frozenset(content.pop("owner")["words"].split())
    forms = frozenset(content.pop("form")["words"].split())
    kinds = {
        term: kind
        for kind, languages in content.items()
        for words in languages.values()
        for term in words.split()
    }
    return kinds, owners, forms


def personal(name: str) -> str | None:
    """Return the kind of personal data that a column name suggests, or None."""
    return _kind_of(tuple(_words(name)))


def _words(name: str) -> list[str]:
    """Return the words of a name, in lower case and without accents: "E-Mail", "emailAddress1"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    letters = spaced.casefold()
    if not letters.isascii():
        plain = unicodedata.normalize("NFKD", letters)
        letters = "".join(c for c in plain if not unicodedata.combining(c) or ord(c) > 0x3000)
        letters = unicodedata.normalize("NFC", letters)
    # Long numbers are alike: a table may have a thousand columns that differ in nothing else.
    return [
        word if len(word) == 1 or not word.isdigit() else "0" for word in _WORD.findall(letters)
    ]


@cache
def _kind_of(words: tuple[str, ...]) -> str | None:
    """Return the kind of some words, without those before and after that change no meaning."""
    terms, owners, forms = _terms()
    for start in range(len(words)):
        if start and words[start - 1] not in owners:
            break
        for end in range(len(words), start, -1):
            if end < len(words) and words[end] not in forms and not words[end].isdigit():
                break
            joined = "".join(words[start:end])
            if kind := terms.get(joined) or _kind_of_compound(joined):
                return kind
    return None


def _kind_of_compound(word: str) -> str | None:
    """Return the kind of a word such as "customeremail" or "phoneno"."""
    terms, owners, forms = _terms()
    for start in range(len(word)):
        if start and word[:start] not in owners:
            continue
        for end in range(len(word), start + 2, -1):
            if end == len(word) or word[end:] in forms:
                kind = terms.get(word[start:end])
                if kind and (
                    start == 0 or end - start > 3
                ):  # "ip" and "tel" are too short for that
                    return kind
    return None


def personal_values(column: pa.Array) -> str | None:
    """Return the kind of personal data that the first values of a column are, or None."""
    values = _present(column)[:_SAMPLE]
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_decimal(values.type):
        return _kind_of_texts([str(value).partition(".")[0] for value in values.to_pylist()])
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return "a card or account number" if are_card_numbers(values) else None
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _kind_of_texts(values[:_TEXT_SAMPLE].to_pylist())
    if pa.types.is_string_view(values.type):
        return _kind_of_texts(pc.cast(values[:_TEXT_SAMPLE], pa.string()).to_pylist())
    return None


def _present(column: pa.Array) -> pa.Array:
    """Return the values that are not null: the column itself if numbers have no null."""
    is_complete = pa.types.is_primitive(column.type) and not column.null_count
    return column if is_complete else column.drop_null()  # this imports pyarrow.compute


def contact(name: str, column: pa.Array) -> str | None:
    """Return which of `_CONTACTS` the first values of a column are, or None.

    A name counts only for values that can be telephone numbers without a country code: it may be
    that of a hash, or of a telephone that is not somebody's.
    """
    kind = personal_values(column)
    if kind is None and _are_long_numbers(column):
        kind = personal(name)
    return kind if kind in _CONTACTS else None


def _are_long_numbers(column: pa.Array) -> bool:
    """Return whether the first values are whole numbers of six to fifteen digits, also as text."""
    first = _present(column)[:_TEXT_SAMPLE]
    if pa.types.is_dictionary(first.type):
        first = first.dictionary_decode()
    if not (pa.types.is_integer(first.type) or is_text(first.type)):
        return False
    return len(first) > 0 and all(_LONG_NUMBER.fullmatch(str(value)) for value in first.to_pylist())


def are_card_numbers(column: pa.Array) -> bool:
    """Return whether numbers are card numbers.

    Almost all card numbers obey Luhn's rule; one in ten other numbers does.
    """
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return False
    values = to_numpy(_present(column)[:_SAMPLE])
    if values.dtype.kind == "f":
        values = values.astype(np.float64)  # a smaller type cannot have the bounds
    if not len(values) or not (values >= MIN_CARD_NUMBER).all() or (values >= 1e19).any():
        return False
    whole = values.astype(np.uint64)
    return bool((whole == values).all() and _luhn(whole).mean() > _SHARE)


def _kind_of_texts(texts: Sequence[str]) -> str | None:
    checks: dict[str, Callable[[str], bool]] = {
        "a card or account number": lambda text: _is_card(text) or _is_iban(text),
        "an e-mail address": lambda text: bool(_EMAIL.fullmatch(text)),
        "a telephone number": lambda text: bool(_PHONE.fullmatch(text)),
    }
    filled = [text.strip() for text in texts if text.strip()]
    for kind, check in checks.items():
        if filled and sum(map(check, filled)) > _SHARE * len(filled):
            return kind
    return None


def _is_card(text: str) -> bool:
    if not text.isascii() or not _CARD.fullmatch(text):
        return False
    number = np.array([int(re.sub(r"\D", "", text))], np.uint64)
    return bool(_luhn(number)[0])


def _is_iban(text: str) -> bool:
    compact = text.replace(" ", "").replace("-", "").upper()
    if not _IBAN.fullmatch(compact):
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _luhn(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    total, rest = np.zeros(len(values), np.uint64), values.copy()
    for position in range(_MAX_DIGITS):
        digit = rest % np.uint64(10) * np.uint64(1 + position % 2)
        total += digit // np.uint64(10) + digit % np.uint64(10)
        rest //= np.uint64(10)
    valid: NDArray[np.bool_] = total % np.uint64(10) == 0
    return valid
