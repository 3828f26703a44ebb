"""What a user says of CSV files and workbooks; the rest is found in the files."""

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gpuseg.errors import ConfigError
from gpuseg.io.text_files.number_format import BLANK, DECIMALS, THOUSANDS

_ENCODINGS_OF_NAMES = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape")
"""Codecs of Python that no file is written in."""

_MAX_SKIPPED_ROWS = 10_000


@dataclass(frozen=True)
class TextOptions:
    """Keys of CSV files and workbooks; None is not given.

    Attributes
    ----------
    encoding : str or None
        Name of the encoding, as Python has it.
    delimiter, quote : str or None
        One ASCII character; with an empty `quote`, quotes have no meaning. The delimiter " " is
        any number of blanks and tabs.
    decimal, thousands : str or None
        The signs of numbers in text.
    header : bool, tuple of str or None
        Whether there is a header; the names of the columns of files without one.
    skip_rows : int or None
        Lines, or rows of a sheet, above the header.
    skip_footer : int or None
        Rows below the table, such as totals.
    sheet : str or None
        Name of the sheet of a workbook.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    header: bool | tuple[str, ...] | None = None
    skip_rows: int | None = None
    skip_footer: int | None = None
    sheet: str | None = None

    def given(self, but: Sequence[str] = ()) -> list[str]:
        """Return the names of the keys that are given, without some."""
        names = [field.name for field in fields(self) if field.name not in but]
        return [name for name in names if getattr(self, name) is not None]


OPTIONS = tuple(field.name for field in fields(TextOptions))
"""Names of the keys."""

NUMBER_OPTIONS = ("decimal", "thousands")
"""Keys of numbers in text, which Parquet files may have too."""

_ONLY_CSV = ("encoding", "delimiter", "quote")
_ONLY_WORKBOOKS = ("sheet",)


def refuse_unused(
    options: TextOptions, n_csv: int, n_workbooks: int, parameter: str, reads_numbers: bool
) -> None:
    """Refuse keys that concern none of the files.

    Parameters
    ----------
    n_csv, n_workbooks : int
        Number of CSV files and of workbooks.
    parameter : str
        The section that has the keys, for messages.
    reads_numbers : bool
        Whether numbers in the text of Parquet files are read.

    Raises
    ------
    ConfigError
    """
    unused = unused_options(options, n_csv, n_workbooks, reads_numbers)
    if unused:
        kinds = "workbooks of Excel" if unused[0] in _ONLY_WORKBOOKS else "CSV files"
        raise ConfigError(
            "text_options.not_used",
            f"is a key of {kinds}, and the input has none",
            parameter=f"{parameter}.{unused[0]}",
            hint="leave the key out",
        )


def unused_options(
    options: TextOptions, n_csv: int, n_workbooks: int, reads_numbers: bool = False
) -> list[str]:
    """Return the names of the keys that are given and concern none of the files.

    The parameters are those of `refuse_unused`.
    """
    unused: list[str] = []
    if not n_csv:
        unused += [name for name in options.given() if name in _ONLY_CSV]
    if not n_workbooks:
        unused += [name for name in options.given() if name in _ONLY_WORKBOOKS]
    if not n_csv + n_workbooks:
        unused += options.given((*_ONLY_CSV, *_ONLY_WORKBOOKS))
        unused = [name for name in unused if not (reads_numbers and name in NUMBER_OPTIONS)]
    return unused


def checked_options(**keys: Any) -> TextOptions:
    """Return options that a caller gives by name.

    Raises
    ------
    ConfigError
    """
    for name, value in keys.items():
        if value is None:
            continue
        kind, check = _CHECKS[name]
        try:
            if kind is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                raise ValueError(f"must be {'a text' if kind is str else 'a number'}")
            keys[name] = check(value)
        except ValueError as error:
            raise ConfigError(
                f"{name}.invalid", rule=str(error), value=value, parameter=name
            ) from None
    options = TextOptions(**keys)
    if pair := same_signs(options):
        one, other = pair
        raise ConfigError(
            f"{one}.{other}",
            f"must be another sign than {other}",
            value=keys[one],
            parameter=one,
            hint=_NAME_BOTH,
        )
    return options


_NAME_BOTH = "name the two signs that the files have"


def same_signs(options: TextOptions) -> tuple[str, str] | None:
    """Return the names of two keys that have the same sign and must not, or None."""
    for one, other in (("thousands", "decimal"), ("quote", "delimiter")):
        sign = getattr(options, one)
        if sign is not None and sign == getattr(options, other):
            return one, other
    return None


def checked_encoding(value: str) -> str:
    """Return the name that Python gives to an encoding: UTF-8 and utf8 are utf-8.

    Raises
    ------
    ValueError
        With the rule.
    """
    try:
        codec = codecs.lookup(value)
        is_known = codec._is_text_encoding and codec.incrementaldecoder is not None
    except (LookupError, ValueError):  # a NUL in the name is a ValueError
        is_known = False
    if not is_known or codec.name.replace("-", "_") in _ENCODINGS_OF_NAMES:
        raise ValueError("must be an encoding that Python knows, such as 'utf-8' or 'cp1252'")
    return codec.name


def checked_delimiter(value: str) -> str:
    """Return a delimiter.

    Raises
    ------
    ValueError
        With the rule.
    """
    if not _is_sign(value) or value == '"':
        raise ValueError(
            "must be one ASCII character that is no letter, digit, quote or line break, such as "
            "';' or a tab"
        )
    return value


def checked_quote(value: str) -> str:
    """Return a sign of quotes, or an empty text for none.

    Raises
    ------
    ValueError
        With the rule.
    """
    if value and (not _is_sign(value) or value.isspace()):
        raise ValueError("must be one ASCII sign such as '\"', or empty if there are no quotes")
    return value


def _is_sign(value: str) -> bool:
    return len(value) == 1 and value.isascii() and not value.isalnum() and value not in "\r\n\0"


def checked_decimal(value: str) -> str:
    """Return a decimal sign.

    Raises
    ------
    ValueError
        With the rule.
    """
    if value not in DECIMALS:
        raise ValueError("must be '.' or ','")
    return value


def checked_thousands(value: str) -> str:
    """Return a sign between thousands; all kinds of blanks are the blank.

    Raises
    ------
    ValueError
        With the rule.
    """
    sign = BLANK if len(value) == 1 and value.isspace() else value
    if sign not in THOUSANDS:
        raise ValueError("must be one of ',', '.', a blank or an apostrophe")
    return sign


def checked_header(value: Any) -> Any:
    """Return whether there is a header, or the names of the columns as a tuple.

    Raises
    ------
    ValueError
        With the rule.
    """
    if isinstance(value, bool):
        return value
    is_list = isinstance(value, list | tuple)
    if not is_list or not value or not all(isinstance(name, str) and name for name in value):
        raise ValueError("must be true, false, or a list with the names of the columns")
    if len(set(value)) < len(value):
        raise ValueError("must name each column once")
    return tuple(value)


def checked_skip_rows(value: int) -> int:
    """Return a number of lines above the header, or below the table.

    Raises
    ------
    ValueError
        With the rule.
    """
    if isinstance(value, bool) or not 0 <= value <= _MAX_SKIPPED_ROWS:
        raise ValueError(f"must be a number from 0 to {_MAX_SKIPPED_ROWS:,}")
    return value


_CHECKS: dict[str, tuple[type | None, Callable[[Any], Any]]] = {
    "encoding": (str, checked_encoding),
    "delimiter": (str, checked_delimiter),
    "quote": (str, checked_quote),
    "decimal": (str, checked_decimal),
    "thousands": (str, checked_thousands),
    "header": (None, checked_header),
    "skip_rows": (int, checked_skip_rows),
    "skip_footer": (int, checked_skip_rows),
    "sheet": (str, str),
}
"""Type and check of each key."""
