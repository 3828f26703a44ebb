"""Further next steps for errors of values and names: how a text file was read may explain them."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from gpuseg.errors import DataError
from gpuseg.io.text_files.encodings import OTHER_ENCODING
from gpuseg.io.text_files.text_format import WORKBOOK, TextFormat


@contextmanager
def checking_names(format: TextFormat | None, codes: Collection[str]) -> Iterator[None]:
    """Let errors of these codes name `header`, if the names of the columns are not in the file."""
    try:
        yield
    except DataError as error:
        if format is not None and error.code in codes:
            error.hint += names_step(format)
        raise


@contextmanager
def checking_encoding(formats: Iterable[TextFormat]) -> Iterator[None]:
    """Let the error of a column that does not exist name the encoding, if it may be wrong."""
    try:
        yield
    except DataError as error:
        if error.code.endswith(".missing_column"):
            error.hint += next(filter(None, map(_encoding_step, formats)), "")
        raise


def names_step(format: TextFormat) -> str:
    """Return the step to check names that are not in the file, for the end of a hint."""
    if format.has_header:
        return ""
    return "; or check that the names in `header` have the order of the values"


def _encoding_step(format: TextFormat) -> str:
    """Return the step to check the encoding of the names.

    An encoding that is not Unicode reads what another one wrote, with other letters beyond ASCII.
    """
    is_sure = format.kind == WORKBOOK or format.encoding.startswith("utf")
    if is_sure or not format.has_header or all(name.isascii() for name in format.columns):
        return ""
    return (
        f"; the file was read with the encoding {format.encoding}: if its names look wrong, "
        f"{OTHER_ENCODING}"
    )
