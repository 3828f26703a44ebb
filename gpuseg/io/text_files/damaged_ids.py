"""Ids that a spreadsheet has shortened: 1.23E+17 stands for many customers."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.errors import DataError

_PLUS = ord("+")
_SHORTENED = r"\A[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{2,3}\z"


def refuse_damaged_ids(ids: pa.Array, subject: str, describe: Callable[[int], str]) -> None:
    """Refuse ids of text that are large numbers with an exponent.

    Parameters
    ----------
    ids : array of strings (n,)
    subject : str
        The column, for the message.
    describe : function
        Says where a value is.

    Raises
    ------
    DataError
    """
    if not _may_have_plus(ids):
        return
    row = pc.index(pc.match_substring_regex(ids, _SHORTENED), True).as_py()
    if row >= 0:
        raise DataError(
            "id.damaged",
            f"{subject} in {describe(row)}",
            value=ids[row].as_py(),
            rule="Excel has shortened a long number to this, and its last digits are lost, so that "
            "different customers may have the same id",
            hint="export the data again, and do not save it in Excel before it is read; in Excel "
            "use Data > From Text/CSV, and set the column of ids to Text",
        )


def _may_have_plus(ids: pa.Array) -> bool:
    """Return whether a value may have a plus sign; few ids have, and their bytes tell at once."""
    data = ids.buffers()[2]
    return data is not None and bool((np.frombuffer(data, np.uint8) == _PLUS).any())
