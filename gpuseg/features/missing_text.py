"""Text of lines that stands for no value."""

from functools import cache

import numpy as np
import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, is_text, plain, to_numpy
from gpuseg.io.null_values import is_null_value


class NullValues:
    """Read text that stands for no value as missing; remember the lines that have such text.

    Parameters
    ----------
    words : sequence of str
    n_rows : int
        Rows of the batch.

    Attributes
    ----------
    rows : bool (n_rows,)
        The lines in which text was read as missing.
    """

    def __init__(self, words: tuple[str, ...], n_rows: int) -> None:
        self._words = words
        self.rows = np.zeros(n_rows, bool)

    def removed(self, column: pa.Array) -> pa.Array:
        """Return a column of text as a dictionary, where null values and blank text are null.

        A column of another type is returned without a dictionary.
        """
        is_encoded = pa.types.is_dictionary(column.type)
        if not is_text(column.type):
            return column.dictionary_decode() if is_encoded else column
        encoded = column if is_encoded else column.dictionary_encode()
        values = plain(encoded.dictionary)
        is_missing = is_null_value(values, ("", *self._words)) | to_numpy(values.is_null())
        if not is_missing.any():
            return encoded
        is_word = is_null_value(values, self._words)
        codes = to_numpy(pc.fill_null(encoded.indices, 0))
        present = to_numpy(encoded.indices.is_valid())
        self.rows |= is_word[codes] & present
        kept = from_numpy(present & ~is_missing[codes])
        codes = pc.if_else(kept, encoded.indices, pa.scalar(None, encoded.indices.type))
        return pa.DictionaryArray.from_arrays(codes, values)

    def may_be(self, kind: pa.DataType) -> bool:
        """Return whether a null value can be read as a value of another type, such as "-1"."""
        return any(_can_read(word, kind) for word in self._words)


@cache
def _can_read(word: str, kind: pa.DataType) -> bool:
    try:
        value = pc.cast(pa.scalar(word), kind).as_py()
    except pa.ArrowInvalid:
        return False
    return bool(value == value)  # NaN is missing already
