"""Text that stands for no value, as programs write it where they have no null."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import to_numpy

NULL_VALUES = (
    *("#N/A", "#N/A N/A", "#NA", "#NULL!"),  # spreadsheets
    *("nan", "NaN", "-nan", "-NaN", "NaT", "<NA>", "None"),  # Python and pandas
    *("NULL", "null", "(null)", "(NULL)", "<null>", "\\N"),  # databases
    *("NA", "N/A", "n/a", "undefined"),  # R, people, JavaScript
)  # fmt: skip
"""Texts that are read as missing by default; upper and lower case matter."""


def null_values_of(value: Any) -> list[str]:
    """Return null values that a user gives as a list.

    Raises
    ------
    ValueError
        With the rule, for what is no sequence of texts, or has half of a character.
    """
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)
    if not is_list or not all(isinstance(word, str) for word in value):
        raise ValueError('must be a list of texts, such as ["NULL", "?"]')
    try:
        "".join(value).encode()
    except UnicodeEncodeError:
        raise ValueError("must have no half of a character") from None
    return list(value)


def is_null_value(text: pa.Array, null_values: Sequence[str]) -> NDArray[np.bool_]:
    """Return where text is one of the null values, apart from white space around it.

    The value "" is blank text. A null is none of them.

    Parameters
    ----------
    text : array of strings (n,)

    Returns
    -------
    bool (n,)
    """
    words = pa.array([word.strip() for word in null_values], text.type)
    flags: NDArray[np.bool_] = to_numpy(pc.is_in(pc.utf8_trim_whitespace(text), value_set=words))
    return flags
