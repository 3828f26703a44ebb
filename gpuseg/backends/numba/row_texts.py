"""Kernels that write rows as text, such as JSON or CSV."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import uncounted
from gpuseg.backends.numba.kernel import kernel

TEXT, CHOICE, INTEGER, FLOAT = range(4)
"""Kinds of fields: a text, the text that a row chooses, and numbers."""

FIELD_BYTES = 20
"""Most bytes of a number."""

_POWERS_OF_5 = 5 ** np.arange(16, dtype=np.int64)

_POWERS_OF_10 = 10 ** np.arange(16, dtype=np.int64)

_TEN, _ZERO, _MINUS, _POINT = np.uint64(10), np.uint8(ord("0")), ord("-"), ord(".")

_MANTISSA, _HIDDEN_BIT, _MANTISSA_BITS = 2**23 - 1, 2**23, 23

_SMALLEST, _LARGEST = 1e-6, float(2**24)
"""Between them a float32 is written without an exponent, and whole numbers with all digits."""


@kernel
def write_rows(
    out: NDArray[np.uint8],
    texts: NDArray[np.uint8],
    ends: NDArray[np.int64],
    fields: NDArray[np.int64],
    choices: NDArray[np.int64],
    integers: NDArray[np.int32],
    floats: NDArray[np.float32],
) -> int:
    """Write rows of fields; return the number of bytes, or -1 if a number is out of bounds.

    Text number t is `texts[ends[t] : ends[t + 1]]`. A field (kind, index) is a text, the text
    `choices[row]`, or a row of `integers` (i, n) or `floats` (f, n).
    """
    at = 0
    bits = floats.view(np.int32)
    for row in range(choices.size):
        for field in range(fields.shape[0]):
            kind, index = fields[field, 0], fields[field, 1]
            if kind == INTEGER:
                # The negative of the smallest int32 is none.
                at = _write_integer(out, at, int(np.int64(integers[index, row])))
            elif kind == FLOAT:
                at = _write_float(out, at, floats[index, row], bits[index, row])
                if at < 0:
                    return -1
            else:
                text = choices[row] if kind == CHOICE else index
                for i in range(ends[text], ends[text + 1]):
                    out[at] = texts[i]
                    at += 1
    return at


@uncounted
def _write_integer(out: NDArray[np.uint8], at: int, value: int) -> int:
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    n_digits = 1
    while n_digits < 10 and value >= _POWERS_OF_10[n_digits]:
        n_digits += 1
    return _write_digits(out, at, value, n_digits)


@uncounted
def _write_digits(out: NDArray[np.uint8], at: int, value: int, n_digits: int) -> int:
    left = np.uint64(value)  # without a sign it is divided by a multiplication
    for i in range(n_digits - 1, -1, -1):
        rest = left // _TEN
        out[at + i] = _ZERO + np.uint8(left - _TEN * rest)
        left = rest
    return at + n_digits


@uncounted
def _write_float(out: NDArray[np.uint8], at: int, value: float, bits: int) -> int:
    """Write the shortest decimal that reads back to a float32, and of these the nearest one.

    It is found with whole numbers, so that nothing is rounded: value·10^k and the bounds of what
    is rounded to the value are m·5^k·2^(k + exponent), and have less than 63 bits.
    """
    if bits < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    if value == 0.0:
        out[at] = _ZERO
        return at + 1
    if not (_SMALLEST <= value < _LARGEST):
        return -1
    mantissa = np.int64(bits & _MANTISSA)
    exponent = np.int64((bits >> _MANTISSA_BITS) & 255) - 150
    is_even = mantissa % 2 == 0
    four = 4 * (mantissa + _HIDDEN_BIT)
    low, high = four - (2 if mantissa else 1), four + 2
    for k in range(_POWERS_OF_5.size):
        power, shift = _POWERS_OF_5[k], 2 - k - exponent
        below = (four * power) >> shift
        rest = four * power - (below << shift)
        if rest == 0:
            return _write_decimal(out, at, below, k)
        low_rest, high_rest = low * power - (below << shift), high * power - (below + 1 << shift)
        is_below = low_rest < 0 or (low_rest == 0 and is_even)
        is_above = high_rest > 0 or (high_rest == 0 and is_even)
        if is_below or is_above:
            twice = 2 * rest - (1 << shift)
            is_nearer = twice > 0 or (twice == 0 and below % 2 == 1)
            is_up = is_above and (is_nearer or not is_below)
            return _write_decimal(out, at, below + is_up, k)
    return -1


@uncounted
def _write_decimal(out: NDArray[np.uint8], at: int, value: int, n_decimals: int) -> int:
    """Write value / 10^n_decimals."""
    whole = value // _POWERS_OF_10[n_decimals]
    at = _write_integer(out, at, whole)
    if n_decimals == 0:
        return at
    out[at] = _POINT
    return _write_digits(out, at + 1, value - whole * _POWERS_OF_10[n_decimals], n_decimals)
