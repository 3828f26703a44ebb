"""Columns that look like personal data: names, e-mail addresses, telephone and card numbers.

They are recognised by column names, and card numbers also by their digits: thirteen to nineteen,
with a check digit by Luhn's rule (ISO/IEC 7812-1).
"""

import re

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.arrow import to_numpy

_NO = r"([-_ ]?(no|nr|num|number))?"
_OWNER = (
    r"(?:(customer|client|user|contact|person|holder|home|work|billing|shipping|primary)[-_ ])?"
)
_KINDS = {
    "an e-mail address": r"e[-_ ]?mail([-_ ]?addr(ess)?)?",
    "a telephone number": rf"((tele|cell[-_ ]?)?phone|mobile|tel|fax|msisdn){_NO}",
    "a card or account number": rf"(((credit|debit|payment|bank)[-_ ]?)card{_NO}|iban|pan)"
    r"|(card|account)[-_ ]?(no|nr|num|number)",
    "a person's name": r"((first|last|full|sur|family|given|middle|maiden)[-_ ]?)name",
    "an identity number": rf"(ssn|social[-_ ]?security|passport){_NO}|(national|tax)[-_ ]?id",
}
_PATTERNS = {kind: re.compile(f"{_OWNER}({pattern})", re.I) for kind, pattern in _KINDS.items()}

_MIN_VALUE, _MAX_DIGITS = 10**12, 19
_SAMPLE, _SHARE = 10_000, 0.9


def personal(name: str) -> str | None:
    """Return the kind of personal data that a column name suggests, or None."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.fullmatch(snake)), None)


def are_card_numbers(column: pa.Array) -> bool:
    """Return whether integers are card numbers.

    Almost all card numbers obey Luhn's rule; one in ten other numbers does.
    """
    if not pa.types.is_integer(column.type):
        return False
    values = to_numpy(column.drop_null()[:_SAMPLE])
    return bool(
        len(values)
        and (values >= _MIN_VALUE).all()
        and _luhn(values.astype(np.uint64)).mean() > _SHARE
    )


def _luhn(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    total, rest = np.zeros(len(values), np.uint64), values.copy()
    for position in range(_MAX_DIGITS):
        digit = rest % np.uint64(10) * np.uint64(1 + position % 2)
        total += digit // np.uint64(10) + digit % np.uint64(10)
        rest //= np.uint64(10)
    valid: NDArray[np.bool_] = total % np.uint64(10) == 0
    return valid
