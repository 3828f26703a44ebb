"""Hints for a column that a table lacks, which name its columns unless these may be ids."""

from collections.abc import Callable, Sequence

from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.text_files.files import is_text_file
from gpuseg.validation import nearest_known

Hint = Callable[[str, Sequence[str]], str]
"""From the name of the missing column and the names that there are."""


def missing_column_hint(
    name: str,
    columns: Sequence[str],
    file: str,
    id_key: Key | None,
    hint: Hint = nearest_known,
) -> str:
    """Return a hint for a missing column.

    Where ids are hashed it names no column of a text file, whose first line may have ids.
    """
    if id_key is not None and is_text_file(file):
        return f"the first line of the file must be a header; it has {len(columns)} fields"
    return hint(name, columns)
