"""The format of the numbers in the text of some files: named by the user, or evident in the values.

"1,5" has a decimal comma, and "1,234.5" has a comma between thousands. "1,234" may be either. All
columns that are used count, since one program wrote them. If they leave two readings, the user is
asked.
"""

from collections.abc import Mapping

import pyarrow as pa

from gpuseg.errors import DataError, set_keys
from gpuseg.io.text_files.column_types import ColumnTypes, Kind
from gpuseg.io.text_files.number_format import FORMATS, PLAIN, NumberFormat
from gpuseg.io.text_files.options import TextOptions


def named_format(options: TextOptions) -> NumberFormat | None:
    """Return the format that the user names, or None."""
    if options.decimal is None and options.thousands is None:
        return None
    decimal = options.decimal or ("," if options.thousands == "." else ".")
    return NumberFormat(decimal, options.thousands)


def choose_format(
    columns: Mapping[str, ColumnTypes], options: TextOptions, has_semicolons: bool
) -> NumberFormat:
    """Return the format in which the columns that are used have numbers.

    Parameters
    ----------
    columns : mapping
        The types that read the columns, by name.
    has_semicolons : bool
        Whether values are separated by semicolons, as they are where commas are decimal signs.
        Then 1.234 may be a thousand.

    Raises
    ------
    DataError
        If the values leave two readings, or columns differ.
    """
    named = named_format(options)
    if named is not None:
        return named
    numeric = {
        name: types.number_formats()
        for name, types in columns.items()
        if types.has_values and Kind.INTEGER not in types.kinds and types.number_formats()
    }
    marked = [
        name
        for name, formats in numeric.items()
        if PLAIN not in formats or (has_semicolons and any(each.decimal == "," for each in formats))
    ]
    if not marked:
        return PLAIN
    left = list(FORMATS)
    for name, formats in numeric.items():
        fitting = [each for each in left if each in formats]
        if not fitting:
            raise _differ(columns, next(iter(marked)), name)
        left = fitting
    if len({each.decimal for each in left}) > 1:
        raise _ambiguous(columns[marked[0]], marked[0], left)
    return left[0]


def _differ(columns: Mapping[str, ColumnTypes], marked: str, other: str) -> DataError:
    if marked == other:
        marked = next(name for name in columns if name != other)
    values = [(name, columns[name].example) for name in (marked, other)]
    shown = ", ".join(f"'{value}' in '{name}'" for name, value in values if value)
    return DataError(
        "numbers.formats_differ",
        f"no one decimal sign reads the numbers of all columns: '{marked}' and '{other}' differ",
        reason=shown,
        hint="leave one of the columns out of `features`, or name the signs in `decimal` and "
        "`thousands`; columns that have others are text then",
    )


def _ambiguous(types: ColumnTypes, name: str, formats: list[NumberFormat]) -> DataError:
    first = {each.decimal: each for each in reversed(formats)}
    value = types.example or ""
    readings = [
        f"{plain_value(value, each)} if {_SIGNS[each.decimal]}" for each in first.values() if value
    ]
    steps = [f"if {_SIGNS[each.decimal]}, {set_keys(*each.keys())}" for each in first.values()]
    return DataError(
        "numbers.ambiguous",
        f"column '{name}' has numbers that can be read in two ways",
        reason=f"'{value}' is {' or '.join(readings)}" if value else "",
        rule="a sign may be the decimal sign or stand between thousands",
        hint="; ".join(steps),
    )


_SIGNS = {",": "the decimal sign is a comma", ".": "it is a point"}


def plain_value(value: str, format: NumberFormat) -> str:
    """Return a number of a format as programs write it."""
    plain: str = format.to_plain(pa.array([value]))[0].as_py()
    return plain
