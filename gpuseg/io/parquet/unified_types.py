"""One type for a column of which the files have several types; no value may be lost.

A set of types has one unified type, whatever their order. Some values may not fit it, such as an
integer beyond 2^53 that would become a float. `as_type` refuses these.
"""

from collections.abc import Callable, Collection

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.arrow import decimals_to_numpy, from_numpy, plain

MAX_EXACT = 2**53
"""Largest number up to which float64 holds all integers."""

_FLOAT64_DIGITS = 15
"""Decimal digits that a float64 always keeps."""

_INTEGER_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
"""Decimal digits of integers by their bits; those of int64 have 19, but Arrow wants the most."""

_MAX_INT64_DIGITS = 18
_MAX_DECIMAL128_DIGITS, _MAX_DECIMAL256_DIGITS = 38, 76
_EXACT_IN_FLOAT32 = 16
"""Bits of integers that float32 holds."""

_UNITS = ("s", "ms", "us", "ns")
_UTC = ("UTC", "utc", "Etc/UTC", "Z", "+00:00", "-00:00", "GMT", "Etc/GMT", "+00")
"""Names of one time zone; each program writes another."""

t = pa.types


def unified_type(kinds: Collection[pa.DataType], is_key: bool) -> pa.DataType | None:
    """Return a type for the values of all these types, or None if there is none.

    Parameters
    ----------
    kinds : collection of DataType
        Not empty.
    is_key : bool
        Whether values are compared with each other, as ids and categories are. Such integers stay
        integers beside floats, and booleans are no numbers.
    """
    if len(set(kinds)) == 1:
        return next(iter(kinds))
    different = {kind for kind in map(_value_type, kinds) if not t.is_null(kind)}
    if len(different) <= 1:
        return next(iter(different), pa.null())
    number = _number_key if is_key else _number
    unified = (join(different) for join in (number, _text, _bytes, _time, _vector))
    return next((kind for kind in unified if kind is not None), None)


def may_lose(kinds: Collection[pa.DataType], unified: pa.DataType) -> bool:
    """Return whether a value of these types may be none of the unified type."""
    return any(_may_lose(_value_type(kind), unified) for kind in kinds)


def as_type(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column with the unified type of its files.

    Raises
    ------
    pyarrow.ArrowInvalid
        For a value that the type does not hold.
    """
    if column.type == kind:
        return column
    if column.null_count == len(column):
        return pa.nulls(len(column), kind)
    if unified_type([column.type, kind], is_key=False) is None:
        raise pa.ArrowInvalid("a value of a column that should be null")
    column = plain(column)
    if t.is_dictionary(column.type):
        column = column.dictionary_decode()
    if t.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    if t.is_floating(column.type) and t.is_integer(kind):
        return _as_whole_numbers(column, kind)
    if t.is_decimal(column.type) and t.is_floating(kind):
        return _decimals_as_floats(column, kind)
    try:
        return pc.cast(column, kind)
    except pa.ArrowNotImplementedError as error:
        raise pa.ArrowInvalid(str(error)) from None


def _value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values, without how they are stored."""
    if isinstance(kind, pa.FixedShapeTensorType):  # its elements may be stored in another order
        return kind
    if isinstance(kind, pa.BaseExtensionType):
        return _value_type(kind.storage_type)
    if t.is_dictionary(kind) or t.is_run_end_encoded(kind):
        return _value_type(kind.value_type)
    if t.is_large_string(kind) or t.is_string_view(kind):
        return pa.string()
    if t.is_large_binary(kind) or t.is_binary_view(kind):
        return pa.binary()
    if t.is_decimal32(kind) or t.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    return pa.timestamp(kind.unit, same_zone(kind.tz)) if t.is_timestamp(kind) else kind


def same_zone(zone: str | None) -> str | None:
    """Return a time zone, of the many names of UTC one."""
    return "UTC" if zone in _UTC else zone


def _may_lose(kind: pa.DataType, unified: pa.DataType) -> bool:
    if t.is_integer(kind):
        is_wide = kind.bit_width == 64
        becomes_signed = t.is_uint64(kind) and t.is_int64(unified)
        return bool((is_wide and t.is_floating(unified)) or becomes_signed)
    if t.is_floating(kind):
        return bool(t.is_integer(unified))
    return bool(t.is_decimal(kind) and t.is_floating(unified))


def _all(kinds: Collection[pa.DataType], *are: Callable[[pa.DataType], bool]) -> bool:
    return all(any(is_kind(kind) for is_kind in are) for kind in kinds)


def _number(kinds: set[pa.DataType]) -> pa.DataType | None:
    """Return a type of numbers; booleans are 0 and 1."""
    if not _all(kinds, t.is_integer, t.is_floating, t.is_decimal, t.is_boolean):
        return None
    kinds = {pa.int8() if t.is_boolean(kind) else kind for kind in kinds}
    floats = [kind for kind in kinds if t.is_floating(kind)]
    if not floats:
        return _exact_number(kinds)
    others = [kind for kind in kinds if not t.is_floating(kind)]
    width = max(kind.bit_width for kind in floats)
    small = all(t.is_integer(kind) and kind.bit_width <= _EXACT_IN_FLOAT32 for kind in others)
    if width == 64 or not small:
        return pa.float64()
    return pa.float32() if others or width == 32 else pa.float16()


def _number_key(kinds: set[pa.DataType]) -> pa.DataType | None:
    """Return a type of numbers that are compared: whole ones stay whole."""
    if _all(kinds, t.is_floating):
        return _number(kinds)
    if not _all(kinds, t.is_integer, t.is_floating, t.is_decimal):
        return None
    exact = _exact_number({kind for kind in kinds if not t.is_floating(kind)})
    has_floats = any(map(t.is_floating, kinds))
    if has_floats and exact is not None:
        return pa.int64() if t.is_integer(exact) else None
    return exact


def _exact_number(kinds: set[pa.DataType]) -> pa.DataType | None:
    """Return a type of integers or decimals."""
    decimals = [kind for kind in kinds if t.is_decimal(kind)]
    integers = {kind for kind in kinds if t.is_integer(kind)}
    scale = max((kind.scale for kind in decimals), default=0)
    digits = max((kind.precision - kind.scale for kind in decimals), default=0)
    if not decimals or (integers and scale == 0 and digits <= _MAX_INT64_DIGITS):
        return pa.int64() if decimals else _integer(integers)
    digits = max([digits, *(_INTEGER_DIGITS[kind.bit_width] for kind in integers)])
    precision, scale = digits + max(scale, 0), max(scale, 0)
    if precision > _MAX_DECIMAL256_DIGITS:
        return None
    is_short = precision <= _MAX_DECIMAL128_DIGITS and all(map(t.is_decimal128, decimals))
    return (pa.decimal128 if is_short else pa.decimal256)(precision, scale)


def _integer(kinds: set[pa.DataType]) -> pa.DataType:
    """Return the smallest type of integers that holds all; of uint64 and signed ones int64."""
    unsigned = max((kind.bit_width for kind in kinds if t.is_unsigned_integer(kind)), default=0)
    signed = max((kind.bit_width for kind in kinds if t.is_signed_integer(kind)), default=0)
    if not signed:
        return {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[unsigned]
    width = min(max(signed, 2 * unsigned), 64)
    return {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[width]


def _text(kinds: set[pa.DataType]) -> pa.DataType | None:
    """Return text for text and bytes: some programs do not mark their text as such."""
    return pa.string() if _all(kinds, t.is_string, t.is_binary) else None


def _bytes(kinds: set[pa.DataType]) -> pa.DataType | None:
    return pa.binary() if _all(kinds, t.is_binary, t.is_fixed_size_binary) else None


def _time(kinds: set[pa.DataType]) -> pa.DataType | None:
    """Return dates or times of the finest unit; times of two zones are not unified."""
    if _all(kinds, t.is_date):
        return pa.date64()
    if not _all(kinds, t.is_timestamp, t.is_date):
        return None
    times = [kind for kind in kinds if t.is_timestamp(kind)]
    zones = {kind.tz for kind in times}
    if len(zones) > 1 or (len(times) < len(kinds) and zones != {None}):
        return None
    units = [kind.unit for kind in times] + ["ms"] * any(map(t.is_date64, kinds))
    return pa.timestamp(max(units, key=_UNITS.index), next(iter(zones)))


def _vector(kinds: set[pa.DataType]) -> pa.DataType | None:
    """Return a type of lists of numbers."""
    if not _all(kinds, t.is_list, t.is_large_list, t.is_fixed_size_list):
        return None
    value = unified_type([kind.value_type for kind in kinds], is_key=False)
    if value is None:
        return None
    sizes = {kind.list_size if t.is_fixed_size_list(kind) else None for kind in kinds}
    size = next(iter(sizes)) if len(sizes) == 1 else None
    return pa.list_(value) if size is None else pa.list_(value, size)


def _as_whole_numbers(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return floats as integers, NaN as null; a float beyond 2^53 has lost digits already."""
    column = pc.cast(column, pa.float64())
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if pc.any(pc.greater(pc.abs(column), float(MAX_EXACT))).as_py():
        raise pa.ArrowInvalid("float beyond 2^53")
    return pc.cast(column, kind)


def _decimals_as_floats(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return decimals as the nearest float64; it keeps all digits of those let in."""
    floats = from_numpy(decimals_to_numpy(column))
    if column.type.precision > _FLOAT64_DIGITS:
        limit = 10.0 ** (_FLOAT64_DIGITS - column.type.scale)
        if pc.any(pc.greater_equal(pc.abs(floats), limit)).as_py():
            raise pa.ArrowInvalid(f"decimal of more than {_FLOAT64_DIGITS} digits")
    return pc.if_else(column.is_valid(), floats, pa.scalar(None, kind))
