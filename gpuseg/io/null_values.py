"""Text that stands for no value, as programs write it where they have no null."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import to_numpy
from gpuseg.errors import ConfigError

NULL_VALUES = (
    *("#N/A", "#N/A N/A", "#NA", "#NULL!"),  # spreadsheets
    *("nan", "NaN", "-nan", "-NaN", "NaT", "<NA>", "None"),  # Python and pandas
    *("NULL", "null", "(null)", "(NULL)", "<null>", "\\N"),  # databases
    *("NA", "N/A", "n/a", "undefined"),  # R, people, JavaScript
)  # fmt: skip
"""Texts that are read as missing by default; upper and lower case matter."""


def check_null_values(null_values: Any, parameter: str) -> tuple[str, ...]:
    """Return the null values that a caller gives.

    Raises
    ------
    ConfigError
        For anything but a sequence of texts without halves of characters.
    """
    is_list = isinstance(null_values, Collection) and not isinstance(null_values, str | bytes)
    if not is_list or not all(map(_is_text, null_values)):
        raise ConfigError(
            "null_values.text", rule="must be a list of texts", value=null_values,
            parameter=parameter,
        )  # fmt: skip
    return tuple(null_values)


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


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
