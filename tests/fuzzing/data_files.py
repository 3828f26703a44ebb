"""Data files with bytes mutated, footers that lie, and hostile types, as inputs of jobs."""

import gzip
import io
import os
import random
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from support.vector_columns import SPARK_VECTOR

import gpuseg
from fuzzing.mutations import HOSTILE_TEXTS, mutated_bytes
from fuzzing.run_cases import Fuzzer

ROWS = 120
_KEY = "GPUSEG_FUZZ_KEY"
_ENVIRONMENT = {_KEY: "a secret of the fuzzer, long enough"}

KINDS: tuple[pa.DataType, ...] = (
    *(pa.int8(), pa.uint8(), pa.int16(), pa.uint32(), pa.int64(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.null()),
    *(pa.string(), pa.large_string(), pa.string_view()),
    *(pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3)),
    *(pa.decimal32(9, 2), pa.decimal64(18, 3), pa.decimal128(38, 0), pa.decimal256(76, 5)),
    *(pa.date32(), pa.date64(), pa.time32("ms"), pa.time64("ns"), pa.duration("us")),
    *(pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "UTC")),
    *(pa.timestamp("us", "Mars/Olympus"), pa.timestamp("ms", "+99:99")),
    *(pa.struct({"a": pa.int8()}), pa.map_(pa.string(), pa.int8()), pa.list_(pa.string())),
    *(pa.list_(pa.int32()), pa.list_(pa.float32(), 2), pa.large_list(pa.bool_()), SPARK_VECTOR),
    *(pa.list_(pa.list_(pa.float64(), 2)), pa.list_(pa.decimal128(5, 1), 0)),
    *(pa.fixed_shape_tensor(pa.float32(), [2, 2]), pa.fixed_shape_tensor(pa.int8(), [])),
    *(pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.int64())),
    *(pa.dictionary(pa.int8(), pa.decimal128(5, 2)), pa.dictionary(pa.int16(), pa.binary())),
    *(pa.uuid(), pa.json_()),
)
"""Types that a Parquet file may have."""


def fuzzer() -> Fuzzer:
    """Make the fuzzer."""
    return _DataFiles()


class _DataFiles:
    """Draws the files of one job, and runs it."""

    seconds = 60.0
    _lies_only = False
    """Whether the pages of the file of the case are as they were written."""

    @patch.dict(os.environ, _ENVIRONMENT)
    def prepare(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        ids = rng.permutation(ROWS)
        self._customers = pa.table({
            "id": ids, "spend": rng.normal(size=ROWS), "orders": rng.integers(0, 9, ROWS),
            "group": [f"g{i % 5}" for i in range(ROWS)], "w": rng.random(ROWS),
            "vector": rng.normal(size=(ROWS, 2)).tolist(),
        })  # fmt: skip
        moments = np.datetime64("2025-01-01", "us") + rng.integers(0, 10**13, ROWS)
        self._lines = pa.table({
            "who": rng.integers(0, 30, ROWS), "at": moments, "paid": rng.lognormal(2, 1, ROWS),
            "what": [f"p{i % 7}" for i in range(ROWS)], "basket": ids // 3,
        })  # fmt: skip
        self._ages = pa.table({
            "who": np.arange(30), "age": rng.integers(20, 60, 30), "city": ["a", "b", "c"] * 10,
        })  # fmt: skip
        gpuseg.run(_input_job(random.Random(0), _written(self._customers, folder / "in.parquet")))

    @patch.dict(os.environ, _ENVIRONMENT)
    def try_case(self, draw: random.Random, folder: Path) -> None:
        if draw.random() < 0.5:
            path = self._file(draw, folder, "in", self._customers, ".parquet")
            job = _input_job(draw, path)
            result = gpuseg.run(job)
            if self._lies_only and job["prepare"]["duplicates"] == "keep":
                rows = sum(part.rows for part in result.record.parts)
                assert rows == ROWS or job["prepare"]["missing"] == "drop", f"{rows} rows"
            return
        suffix = draw.choice((".parquet", ".parquet", ".csv", ".csv.gz"))
        spoilt = draw.choice(("lines", "ages"))
        paths = {}
        for name, table in {"lines": self._lines, "ages": self._ages}.items():
            if name == spoilt:
                paths[name] = self._file(draw, folder, name, table, suffix)
            else:
                paths[name] = _written(table, folder / f"{name}.parquet")
        job = _lines_job(draw, paths["lines"])
        if spoilt == "ages" or draw.random() < 0.3:
            job["join"] = [{"path": str(paths["ages"]), "id": "who"}]
        gpuseg.run(job)

    def _file(
        self, draw: random.Random, folder: Path, name: str, table: pa.Table, suffix: str
    ) -> Path:
        """Write a spoilt file into a folder of its own."""
        parent = folder / name
        parent.mkdir()
        self._lies_only = spoilt_file(draw, parent, table, suffix)
        return parent


def spoilt_file(draw: random.Random, folder: Path, table: pa.Table, suffix: str) -> bool:
    """Write a file with hostile columns or changed bytes; return whether its pages are unchanged.

    Parameters
    ----------
    suffix : str
        `.parquet`, `.csv` or `.csv.gz`.
    """
    good = table
    for _ in range(draw.choice((0, 1, 1, 2))):
        table = _with_hostile_column(draw, table)
    spoil = None
    if suffix == ".parquet":
        try:
            content = _parquet(draw, table)
        except pa.ArrowException:  # times that Parquet has no unit for
            content = _parquet(draw, good)
        spoil = draw.choice(_SPOIL)
        content = spoil(draw, content)
    else:
        content = _csv(draw, table, suffix)
    (folder / f"a{suffix}").write_bytes(content)
    return spoil in (_unchanged, _with_lying_footer)


def _input_job(draw: random.Random, path: Path) -> dict[str, Any]:
    section: dict[str, Any] = {"path": str(path), "id": draw.choice(("id", "id", "group"))}
    if draw.random() < 0.7:
        some = (["spend", "orders"], ["vector"], ["vector", "spend"])
        section["features"] = draw.choice(some)
    if draw.random() < 0.3:
        section["weight"] = "w"
    if draw.random() < 0.3:
        section["id_hash_key_env"] = _KEY
    prepare: dict[str, Any] = {
        "missing": draw.choice(("error", "drop", "mean")),
        "duplicates": draw.choice(("keep", "first")),
    }
    if prepare["missing"] == "mean":
        prepare["missing_indicator"] = draw.random() < 0.5
    if section["id"] == "id" and draw.random() < 0.4:
        prepare["categorical"] = {"group": draw.choice(("onehot", "frequency"))}
    job = _job(draw, path, {"input": section, "prepare": prepare})
    if section["id"] == "id" and draw.random() < 0.2 and "categorical" not in prepare:
        job["audit"] = {"columns": ["group"]}
    return job


def _lines_job(draw: random.Random, path: Path) -> dict[str, Any]:
    section = {"path": str(path), "customer": "who", "time": "at", "amount": "paid"}
    if draw.random() < 0.6:
        section |= {"product": "what", "order": "basket"}
    if draw.random() < 0.2:
        section["category"] = "what"
    if draw.random() < 0.3:
        section["id_hash_key_env"] = _KEY
    prepare: dict[str, Any] = {"missing": draw.choice(("error", "mean"))}
    return _job(draw, path, {"transactions": section, "prepare": prepare})


def _job(draw: random.Random, path: Path, sections: dict[str, Any]) -> dict[str, Any]:
    return {
        **sections,
        "segment": {"n_clusters": 2, "max_iter": 3, "n_init": 1},
        "runtime": {"backend": draw.choice(("numpy", "numba")), "threads_per_worker": 1},
        "output": {"path": str(path.parent / f"out-{path.stem}"), "overwrite": True},
    }


def _written(table: pa.Table, path: Path) -> Path:
    pq.write_table(table, path)
    return path


def _parquet(draw: random.Random, table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        table, sink,
        row_group_size=draw.choice((17, 60, ROWS)),
        use_dictionary=draw.random() < 0.5,
        compression=draw.choice(("none", "snappy", "zstd", "gzip")),
        data_page_version=draw.choice(("1.0", "2.0")),
        write_page_checksum=draw.random() < 0.5,
        write_statistics=draw.random() < 0.5,
        store_schema=draw.random() < 0.8,
    )  # fmt: skip
    return sink.getvalue()


def _csv(draw: random.Random, table: pa.Table, suffix: str) -> bytes:
    sink = io.BytesIO()
    columns = [
        column if _fits_csv(column.type) else pa.nulls(len(column)) for column in table.columns
    ]
    table = pa.table(columns, names=table.column_names)
    pyarrow.csv.write_csv(table, sink)
    content = sink.getvalue()
    spoil = draw.randrange(5)
    if spoil == 1:
        content = content.decode("utf-8", "replace").encode(draw.choice(("utf-16", "utf-32")))
    if spoil == 2:
        at = draw.randrange(len(content))
        content = content[:at] + draw.choice((b"\xe9", b"\0", b'"', b"\r", b",,")) + content[at:]
    if suffix == ".csv.gz":
        content = gzip.compress(content)
    return mutated_bytes(draw, content) if spoil >= 3 else content


def _fits_csv(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_integer(kind) or t.is_string(kind) or t.is_float64(kind) or t.is_date32(kind))


def _with_hostile_column(draw: random.Random, table: pa.Table) -> pa.Table:
    """Replace a column by one of another type, or with hostile values."""
    i, kind = draw.randrange(table.num_columns), draw.choice(KINDS)
    column = _values(draw, kind, table.num_rows)
    name = table.column_names[i]
    if draw.random() < 0.05:
        name = draw.choice([text for text in HOSTILE_TEXTS if "\ud800" not in text])
    return table.set_column(i, name, column)


def _values(draw: random.Random, kind: pa.DataType, rows: int) -> pa.Array:
    """Return values of a type, some of them null."""
    share = draw.choice((0.0, 0.0, 0.1, 1.0))
    nulls = [draw.random() < share for _ in range(rows)]
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _values(draw, kind.storage_type, rows))
    if t.is_dictionary(kind):
        codes = pa.array([0] * rows, kind.index_type)
        value = _values(draw, kind.value_type, 50).drop_null()[:1]
        if not len(value):
            return pa.nulls(rows, kind)
        return pa.DictionaryArray.from_arrays(codes, value)
    if t.is_null(kind) or t.is_map(kind):
        return pa.nulls(rows, kind)
    if t.is_nested(kind):
        values = [None if n else _nested(draw, kind) for n in nulls]
        try:
            return pa.array(values, kind)
        except pa.ArrowException:  # lists of the wrong length for their type
            return pa.nulls(rows, kind)
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        words = [draw.choice(("a", "b", "é", "", "nan", "4111111111111111")) for _ in range(rows)]
        return pa.array([None if n else w for n, w in zip(nulls, words, strict=True)], kind)
    if "binary" in str(kind):
        words = [draw.randbytes(max(_bits(kind) // 8, 3)) for _ in range(rows)]
        return pa.array([None if n else w for n, w in zip(nulls, words, strict=True)], kind)
    if t.is_decimal(kind):
        tops = [Decimal(draw.randrange(-99, 99)) for _ in range(rows)]
        return pa.array([None if n else w for n, w in zip(nulls, tops, strict=True)], kind)
    if t.is_boolean(kind):
        return pa.array([None if n else draw.random() < 0.5 for n in nulls], kind)
    if t.is_floating(kind):
        odd = (1.5, -1.0, 0.0, float("nan"), float("inf"), 3e4)
        return pa.array([None if n else draw.choice(odd) for n in nulls]).cast(kind)
    bits = kind.bit_width
    top = 2 ** (bits - 1) - 1 if draw.random() < 0.3 else 100
    if t.is_time(kind) or t.is_date(kind):
        top = 86_399
    low = 0 if t.is_unsigned_integer(kind) or t.is_time(kind) else -top
    numbers = [None if n else draw.randint(low, top) for n in nulls]
    if t.is_integer(kind):
        return pa.array(numbers, kind)
    stored = pa.array(numbers, pa.int32() if bits == 32 else pa.int64())
    if t.is_date64(kind):
        stored = pa.array([n and n // 1000 * 86_400_000 for n in numbers], pa.int64())
    return pa.Array.from_buffers(kind, rows, stored.buffers(), stored.null_count)


def _nested(draw: random.Random, kind: pa.DataType) -> Any:
    """Return a list or a struct; some lists have another length than most."""
    if isinstance(kind, pa.StructType):
        fields = {field.name: field.type for field in kind}
        values = {name: _nested(draw, of) for name, of in fields.items()}
        if "indices" in fields and draw.random() < 0.9:
            values |= {
                "type": draw.choice((0, 1)),
                "size": 2,
                "indices": draw.choice(([0], [0, 1])),
            }
        return values
    if not pa.types.is_nested(kind):
        return _values(draw, kind, 1)[0].as_py()
    length = getattr(kind, "list_size", draw.choice((2,) * 200 + (0, 1, 3)))
    return [_nested(draw, kind.value_type) for _ in range(length)]


def _bits(kind: pa.DataType) -> int:
    return kind.bit_width if pa.types.is_fixed_size_binary(kind) else 0


def _unchanged(draw: random.Random, content: bytes) -> bytes:
    return content


def _with_mutated_pages(draw: random.Random, content: bytes) -> bytes:
    """Overwrite bytes of pages, which stay where the footer says."""
    data, (end, _) = bytearray(content), _footer(content)
    for _ in range(draw.randint(1, 3) if end > 4 else 0):
        at = draw.randrange(4, end)
        length = min(draw.choice((1, 1, 2, 8)), end - at)
        data[at : at + length] = draw.randbytes(length)
    return bytes(data)


def _footer(content: bytes) -> tuple[int, int]:
    """Return where the footer of a Parquet file starts and ends."""
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little"), len(content) - 8


def _mutated_footer(draw: random.Random, content: bytes) -> bytes:
    """Mutate the bytes of the footer, and say its new length."""
    start, end = _footer(content)
    footer = mutated_bytes(draw, content[start:end])
    return content[:start] + footer + len(footer).to_bytes(4, "little") + content[-4:]


def _with_lying_footer(draw: random.Random, content: bytes) -> bytes:
    """Replace some of the numbers that equal a count of rows: 120, 60, 17 or 1."""
    start, end = _footer(content)
    data, counts = bytearray(content), (varint(ROWS), varint(60), varint(17))
    places = [
        (at, len(count))
        for count in counts
        for at in range(start, end)
        if data[at : at + len(count)] == count
    ]
    some = draw.random()
    lie = draw.choice((0, 1, 16, 59, 61, 119, 121, 240, 63, 8000, -1, 2**31, 2**40, 2**62))
    for at, length in sorted(places, reverse=True):
        if draw.random() < some:
            data[at : at + length] = varint(lie)
    footer = bytes(data[start:-8])
    return bytes(data[:start]) + footer + len(footer).to_bytes(4, "little") + content[-4:]


def varint(number: int) -> bytes:
    """Return an integer as Thrift's compact protocol writes it."""
    value, out = (number << 1) ^ (number >> 63), bytearray()
    value %= 2**64
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


_SPOIL = (
    *(_unchanged, _unchanged, _with_mutated_pages, _with_mutated_pages),
    *(_with_lying_footer, _mutated_footer, mutated_bytes),
)
