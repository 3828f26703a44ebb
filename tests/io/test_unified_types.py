"""The type of a column of which the files have several: which one it is, and what it keeps."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from itertools import permutations
from typing import Any

import pyarrow as pa
import pytest

from gpuseg.io.parquet.unified_types import as_type, unified_type

TEXT = pa.string()
UTC = pa.timestamp("us", "UTC")

PAIRS: list[tuple[pa.DataType, pa.DataType, pa.DataType | None, pa.DataType | None]] = [
    (pa.null(), pa.int64(), pa.int64(), pa.int64()),
    (pa.null(), pa.string(), TEXT, TEXT),
    (pa.null(), pa.list_(pa.float32()), pa.list_(pa.float32()), pa.list_(pa.float32())),
    (pa.int8(), pa.int64(), pa.int64(), pa.int64()),
    (pa.uint8(), pa.int8(), pa.int16(), pa.int16()),
    (pa.uint32(), pa.int32(), pa.int64(), pa.int64()),
    (pa.uint32(), pa.uint64(), pa.uint64(), pa.uint64()),
    (pa.uint64(), pa.int64(), pa.int64(), pa.int64()),
    (pa.int16(), pa.float32(), pa.float32(), pa.int64()),
    (pa.int8(), pa.float16(), pa.float32(), pa.int64()),
    (pa.int32(), pa.float32(), pa.float64(), pa.int64()),
    (pa.int64(), pa.float64(), pa.float64(), pa.int64()),
    (pa.float16(), pa.float32(), pa.float32(), pa.float32()),
    (pa.float32(), pa.float64(), pa.float64(), pa.float64()),
    (pa.decimal128(9, 2), pa.decimal128(12, 4), pa.decimal128(12, 4), pa.decimal128(12, 4)),
    (pa.decimal128(38, 2), pa.decimal128(38, 10), pa.decimal256(46, 10), pa.decimal256(46, 10)),
    (pa.decimal256(76, 0), pa.decimal256(76, 9), None, None),
    (pa.decimal128(10, 0), pa.int64(), pa.int64(), pa.int64()),
    (pa.decimal128(10, 2), pa.int32(), pa.decimal128(12, 2), pa.decimal128(12, 2)),
    (pa.decimal128(9, 2), pa.float64(), pa.float64(), None),
    (pa.decimal128(9, 0), pa.float64(), pa.float64(), None),
    (pa.decimal32(5, 2), pa.decimal64(9, 2), pa.decimal128(9, 2), pa.decimal128(9, 2)),
    (pa.bool_(), pa.int64(), pa.int64(), None),
    (pa.bool_(), pa.float32(), pa.float32(), None),
    (pa.string(), pa.large_string(), TEXT, TEXT),
    (pa.string_view(), pa.large_string(), TEXT, TEXT),
    (pa.dictionary(pa.int8(), pa.string()), pa.string(), TEXT, TEXT),
    (pa.dictionary(pa.int8(), TEXT), pa.dictionary(pa.int32(), pa.large_string()), TEXT, TEXT),
    (pa.dictionary(pa.int8(), pa.int32()), pa.int64(), pa.int64(), pa.int64()),
    (pa.json_(), pa.string(), TEXT, TEXT),
    (pa.binary(), pa.string(), TEXT, TEXT),
    (pa.large_binary(), pa.binary_view(), pa.binary(), pa.binary()),
    (pa.binary(3), pa.binary(), pa.binary(), pa.binary()),
    (pa.binary(3), pa.string(), None, None),
    (pa.string(), pa.int64(), None, None),
    (pa.string(), pa.float64(), None, None),
    (pa.string(), pa.bool_(), None, None),
    (pa.string(), pa.date32(), None, None),
    (pa.date32(), pa.date64(), pa.date64(), pa.date64()),
    (pa.date32(), pa.timestamp("us"), pa.timestamp("us"), pa.timestamp("us")),
    (pa.date64(), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("ms")),
    (pa.date32(), UTC, None, None),
    (pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("ns"), pa.timestamp("ns")),
    (pa.timestamp("us"), UTC, None, None),
    (pa.timestamp("ms", "+00:00"), UTC, UTC, UTC),
    (pa.timestamp("us", "Europe/Paris"), UTC, None, None),
    (pa.int64(), pa.timestamp("us"), None, None),
    (pa.list_(pa.float32()), pa.list_(pa.float64()), pa.list_(pa.float64()),
     pa.list_(pa.float64())),
    (pa.list_(pa.float32(), 3), pa.list_(pa.float32(), 4), pa.list_(pa.float32()),
     pa.list_(pa.float32())),
    (pa.list_(pa.float32()), pa.float32(), None, None),
    (pa.struct({"x": pa.int8()}), pa.struct({"y": pa.int8()}), None, None),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "as_number", "as_key"), PAIRS, ids=str)
def test_pair_of_types(
    one: pa.DataType, other: pa.DataType, as_number: pa.DataType | None, as_key: pa.DataType | None
) -> None:
    for pair in ((one, other), (other, one)):
        assert unified_type(pair, is_key=False) == as_number
        assert unified_type(pair, is_key=True) == as_key


@pytest.mark.parametrize(
    "kinds",
    [
        (pa.int64(), pa.decimal128(10, 0), pa.decimal128(10, 2)),
        (pa.uint8(), pa.float32(), pa.int32(), pa.bool_()),
        (pa.null(), pa.int8(), pa.uint64(), pa.float16()),
        (pa.date32(), pa.timestamp("s"), pa.timestamp("ns")),
        (pa.binary(), pa.large_string(), pa.dictionary(pa.int8(), TEXT), pa.null()),
    ],
    ids=str,
)
def test_order_of_the_files_does_not_matter(kinds: tuple[pa.DataType, ...]) -> None:
    for is_key in (False, True):
        types = {str(unified_type(order, is_key)) for order in permutations(kinds)}
        assert len(types) == 1


def test_one_type_stays_as_it_is() -> None:
    kind = pa.dictionary(pa.int8(), pa.large_string())
    assert unified_type([kind, kind], is_key=True) == kind


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pa.array([1, None, 2**53]), pa.float64(), [1.0, None, 2.0**53]),
        (pa.array([2**53 + 1]), pa.float64(), None),
        (pa.array([-(2**53) - 2]), pa.float64(), None),
        (pa.array([7.0, float("nan"), None]), pa.int64(), [7, None, None]),
        (pa.array([7.5]), pa.int64(), None),
        (pa.array([2.0**53 + 2]), pa.int64(), None),
        (pa.array([3.0], pa.float16()), pa.int16(), [3]),
        (pa.array([300.0]), pa.int8(), None),
        (pa.array([2**63], pa.uint64()), pa.int64(), None),
        (pa.array([True, None]), pa.float32(), [1.0, None]),
        (pa.array([True]), pa.decimal128(5, 2), [Decimal("1.00")]),
        (pa.array([5]), pa.decimal128(22, 2), [Decimal("5.00")]),
        (pa.array([Decimal("1.25")]), pa.float64(), [1.25]),
        (pa.array([Decimal(10) ** 15], pa.decimal128(30, 2)), pa.float64(), None),
        (pa.array([Decimal("123.45")], pa.decimal128(30, 2)), pa.float64(), [123.45]),
        (pa.array([b"\xc3\xa9"]), TEXT, ["é"]),
        (pa.array([b"\xff"]), TEXT, None),
        (pa.array(["a", None], pa.string_view()).dictionary_encode(), TEXT, ["a", None]),
        (pa.array([None, None], TEXT), pa.int64(), [None, None]),
        (pa.array(["7"]), pa.int64(), None),
        (pa.array([date(2024, 2, 29)]), pa.timestamp("us"), [datetime(2024, 2, 29)]),
        (pa.array([2**40], pa.timestamp("s")), pa.timestamp("ns"), None),
    ],
    ids=str,
)
def test_values_are_kept_or_refused(
    values: pa.Array, kind: pa.DataType, expected: list[Any] | None
) -> None:
    if expected is None:
        with pytest.raises(pa.ArrowInvalid):
            as_type(values, kind)
    else:
        assert as_type(values, kind).to_pylist() == expected
        assert as_type(values, kind).type == kind
