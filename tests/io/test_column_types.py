"""Types of columns of text: those that read all values, however these are cut."""

from __future__ import annotations

import itertools
from functools import reduce

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.errors import raises

from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.text_files.choose_format import choose_format
from gpuseg.io.text_files.column_types import (
    ColumnTypes,
    TextValues,
    column_type,
    converted,
    observe,
)
from gpuseg.io.text_files.number_format import FORMATS, PLAIN, NumberFormat
from gpuseg.io.text_files.options import TextOptions

VALUES = TextValues(NULL_VALUES)


def types_of(*texts: str | None, values: TextValues = VALUES) -> ColumnTypes:
    return observe(ColumnTypes(), pa.array(texts, pa.string()), values)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "-5", " 7 ", "+3", "NA", None], [1, -5, 7, 3, None, None]),
        (["999999999999999999", "0"], [999999999999999999, 0]),
        (["1", "2.5", "1e3", ".5", "7."], [1.0, 2.5, 1000.0, 0.5, 7.0]),
        (["true", "FALSE", "True", ""], [True, False, True, None]),
        (["007", "8"], ["007", "8"]),
        (["1", "1000000000000000000"], ["1", "1000000000000000000"]),
        (["9007199254740993", "1.5"], ["9007199254740993", "1.5"]),
        (["0x1F", "7"], ["0x1F", "7"]),
        (["1", "x", "NULL"], ["1", "x", None]),
        (["NA", "", None], [None, None, None]),
        (["0.5", "-0.25", "0"], [0.5, -0.25, 0.0]),
    ],
)
def test_types(texts: list[str | None], expected: list[object]) -> None:
    kind = column_type(types_of(*texts), PLAIN, is_id=False)
    result = converted(pa.array(texts, pa.string()), kind, VALUES)
    assert result.type == kind.type and result.to_pylist() == expected


def test_ids_with_decimals_of_zero_are_whole() -> None:
    types = types_of("17850.0", None, "13047.0")
    kind = column_type(types, PLAIN, is_id=True)
    assert converted(pa.array(["17850.0", "5"]), kind, VALUES).to_pylist() == [17850, 5]
    assert column_type(types, PLAIN, is_id=False).type == pa.float64()
    assert column_type(types_of("17850.5"), PLAIN, is_id=True).type == pa.string()


def test_null_values_may_be_numbers() -> None:
    values = TextValues(("-1", "999"))
    texts = ["5", "-1", "999.5", "999"]
    kind = column_type(types_of(*texts, values=values), PLAIN, is_id=False)
    assert converted(pa.array(texts), kind, values).to_pylist() == [5.0, None, 999.5, None]


TEXTS = st.sampled_from(
    [
        "9007199254740993",
        "1",
        "2.5",
        "1,5",
        "1,234",
        "1.234",
        "1.234,5",
        "007",
        "x",
        "",
        "NA",
        "true",
        "2020-01-01",
    ]
)


@settings(deadline=None, max_examples=25)
@given(st.lists(TEXTS, min_size=1, max_size=8), st.data())
def test_any_cut_gives_the_same_types(texts: list[str], data: st.DataObject) -> None:
    whole = types_of(*texts)
    ends = sorted(data.draw(st.sets(st.integers(1, len(texts)))) | {len(texts)})
    parts = [texts[a:b] for a, b in itertools.pairwise([0, *ends])]
    in_turn = reduce(
        lambda types, part: observe(types, pa.array(part), VALUES), parts, ColumnTypes()
    )
    apart = reduce(lambda a, b: a & b, (types_of(*part) for part in parts))
    for types in (in_turn, apart):
        assert (types.kinds, set(types.formats)) == (whole.kinds, set(whole.formats))
        assert types.has_values == whole.has_values


@pytest.mark.parametrize("other", ["1.5", "1,5", "$1.5"])
def test_long_digits_are_not_rounded_where_other_files_have_decimals(other: str) -> None:
    types = types_of("9007199254740993") & types_of(other)
    assert types.is_text
    assert column_type(types, PLAIN).type == pa.string()


def chosen(
    *columns: list[str], semicolons: bool = False, options: TextOptions | None = None
) -> NumberFormat:
    types = {f"c{i}": types_of(*texts) for i, texts in enumerate(columns)}
    return choose_format(types, options or TextOptions(), semicolons)


@pytest.mark.parametrize(
    ("columns", "decimal", "thousands"),
    [
        ((["1,5", "2"],), ",", None),
        ((["1,5"], ["1.234"]), ",", "."),
        ((["1,234"], ["2.50"]), ".", ","),
        ((["1,234.5"],), ".", ","),
        ((["1,234,567"],), ".", ","),
        ((["1 234,5", "1 234"],), ",", " "),
        ((["1\u00a0234,5"],), ",", " "),
        ((["1’234.5", "1'234"],), ".", "'"),
        ((["1.234", "5"],), ".", None),
        ((["0,125"],), ",", None),
        ((["a,b"], ["1.5"]), ".", None),
        ((["12,34,567"],), ".", ","),
    ],
)
def test_evident_signs(columns: tuple[list[str], ...], decimal: str, thousands: str | None) -> None:
    assert chosen(*columns) == NumberFormat(decimal, thousands)


@pytest.mark.parametrize(
    ("columns", "semicolons"),
    [((["1,234"],), False), ((["1,234", "5"], ["7"]), False), ((["1.234"],), True)],
)
def test_two_readings_are_refused_with_both(
    columns: tuple[list[str], ...], semicolons: bool
) -> None:
    with raises("numbers.ambiguous") as caught:
        chosen(*columns, semicolons=semicolons)
    assert "1.234" in caught.value.reason and "1234" in caught.value.reason
    for decimal in ",.":
        assert chosen(*columns, semicolons=semicolons, options=TextOptions(decimal=decimal))


def test_columns_that_differ_are_refused() -> None:
    with raises("numbers.formats_differ"):
        chosen(["1,5"], ["2.5"])


DECIMALS = st.sampled_from(["", "5", "25", "125"])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(FORMATS), st.integers(-(10**12), 10**12), DECIMALS)
def test_numbers_are_read_as_they_were_written(
    format: NumberFormat, whole: int, decimals: str
) -> None:
    grouped = f"{whole:,}".replace(",", format.thousands or "")
    text = pa.array([f"{grouped}{format.decimal * bool(decimals)}{decimals}"])
    assert format.reads(text)
    expected = float(f"{whole}.{decimals or 0}")
    assert float(format.to_plain(text)[0].as_py()) == expected
