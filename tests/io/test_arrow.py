"""Arrow to NumPy and back: the values of pyarrow's own methods, without pandas."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gpuseg.arrow import decimals_to_numpy, from_numpy, to_numpy
from gpuseg.synthetic.customers import write_customers

COLUMNS = [
    pa.array([1, -2, 2**40, 7]),
    pa.array([1, 2, 3, 255], pa.uint8()),
    pa.array([0.5, None, float("nan"), -1.0]),
    pa.array([0.5, 2.0, float("inf"), -1.0], pa.float32()),
    pa.array([0.5, None, 3.0, -1.0], pa.float16()),
    pa.array([True, False, True, True]),
    pa.array([True, None, True, True]),
    pa.array([1, None, 3, 4]),
    pa.array(["a", None, "b", "c"]),
    pa.array([], pa.float64()),
    pa.array([], pa.bool_()),
]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c.type}-{c.null_count}-{len(c)}")
@pytest.mark.parametrize("start", [0, 1, 3])
def test_column_becomes_the_values_of_pyarrow(column: pa.Array, start: int) -> None:
    part = column[start:]
    values, expected = to_numpy(part), part.to_numpy(zero_copy_only=False)
    assert values.dtype == expected.dtype
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "float32", "float64", "bool"])
@pytest.mark.parametrize("size", [0, 1, 8, 13])
def test_array_becomes_the_column_of_pyarrow(dtype: str, size: int) -> None:
    values = (np.arange(2 * size) % 3).astype(dtype)[::2]
    column = from_numpy(values)
    column.validate(full=True)
    assert column.equals(pa.array(values))


@pytest.mark.parametrize("kind", [
    pa.decimal32(9, 2), pa.decimal64(18, 4), pa.decimal128(12, 2), pa.decimal128(38, 30),
    pa.decimal128(20, 0), pa.decimal128(9, -3), pa.decimal256(76, 20), pa.decimal256(30, 25),
], ids=str)  # fmt: skip
def test_decimals_become_the_nearest_floats(kind: pa.DataType) -> None:
    rng = np.random.default_rng(kind.precision)
    digits = [int(rng.integers(1, kind.precision + 1)) for _ in range(200)]
    wholes = [int("".join(map(str, rng.integers(0, 10, n)))) * (-1) ** n for n in digits]
    with localcontext(prec=100):
        values = [None, *(Decimal(whole).scaleb(-kind.scale) for whole in wholes), Decimal(0)]
    column = pa.array(values, kind)
    for part, expected in ((column, values), (column[3:7], values[3:7]), (column[:0], [])):
        floats = [float("nan" if value is None else value) for value in expected]
        np.testing.assert_array_equal(decimals_to_numpy(part), floats)


@pytest.mark.parametrize("kind", [pa.decimal128(38, 18), pa.decimal256(76, 20)], ids=str)
def test_decimals_of_few_and_of_many_digits(kind: pa.DataType) -> None:
    texts = ["10.95", "-123456789.123456", "0.1234567", "9007199254740993.5", "1e-18", "-0.0000005"]
    column = pa.array([None, *map(Decimal, texts)], kind)
    floats = [float("nan"), *map(float, texts)]
    for rows in (slice(0, 7), slice(1, 3), slice(3, 7)):
        np.testing.assert_array_equal(decimals_to_numpy(column[rows]), floats[rows])


def test_job_of_numbers_imports_neither_pandas_nor_scikit_learn(tmp_path: Path) -> None:
    write_customers(tmp_path / "in", rows=300, features=3)
    code = (
        "import sys, gpuseg; gpuseg.run({'input': {'path': sys.argv[1], 'id': 'customer_id'}, "
        "'segment': {'n_clusters': 2}, 'output': {'path': sys.argv[2]}}); "
        "print([m for m in ('pandas', 'sklearn', 'dask') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "in", tmp_path / "out"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
