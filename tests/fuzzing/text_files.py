"""CSV files and workbooks with hostile values, signs, encodings and bytes, as inputs of jobs."""

import bz2
import gzip
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.text_files import xlsx_bytes

import gpuseg
from fuzzing.mutations import HOSTILE_TEXTS, mutated_bytes
from fuzzing.run_cases import Fuzzer
from gpuseg.errors import DataError

ROWS = 40
_NAMES = ("id", "spend", "orders", "group")

_NUMBERS = (
    *("1", "-7", "0", "2.5", "1,5", "1.234", "1,234", "1.234,5", "1'234", "1 234", "1e5", "1E400"),
    *("007", "+3", "-0", " 4 ", "inf", "nan", "0x1F", "12345678901234567890", "9007199254740993.5"),
)
_TEXTS = (
    *("a", "é", "", "NA", "NULL", "true", "FALSE", "2020-01-01", "2020-01-01 10:20", "x y"),
    *("4111111111111111", 'a"b', "a\nb", "a,b", "a;b", "\0", "'", "=1+1", "Łódź", "東京"),
)
_ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1", "cp1251", "utf-32")
_KEYS: dict[str, Sequence[Any]] = {
    "encoding": ("utf-8", "latin-1", "utf-16", "cp037", "hex", "utf-7", "shift_jis"),
    "delimiter": (",", ";", "\t", " ", "|", "\x01", "é"),
    "quote": ('"', "'", ""),
    "decimal": (",", "."),
    "thousands": (",", ".", " ", "'"),
    "header": (True, False, list(_NAMES), ["id"]),
    "skip_rows": (0, 1, 5, 1000),
    "sheet": ("Data", "Other 0", "None"),
}


def fuzzer() -> Fuzzer:
    """Make the fuzzer."""
    return _TextFiles()


class _TextFiles:
    """Draws the text files of one job, and runs it."""

    seconds = 60.0

    def prepare(self, folder: Path) -> None:
        (folder / "a.csv").write_text("id,x\n1,1\n2,2\n3,5\n")
        section = {"path": str(folder / "a.csv"), "id": "id"}
        gpuseg.run(_job(random.Random(0), folder, {"input": section}))

    def try_case(self, draw: random.Random, folder: Path) -> None:
        source = folder / "in"
        source.mkdir()
        rows = 0
        for number in range(draw.choice((1, 1, 2))):
            table = _table(draw, number)
            rows += table.num_rows
            name, content = _file(draw, table)
            (source / f"{number}{name}").write_bytes(content)
        keys = {name: draw.choice(_KEYS[name]) for name in _KEYS if draw.random() < 0.04}
        if draw.random() < 0.7:
            self._try_input(draw, folder, source, keys)
            return
        section = {"path": str(source), "customer": "id", "time": "day", "amount": "spend"}
        gpuseg.run(_job(draw, folder, {"transactions": {**section, **keys}}))

    def _try_input(
        self, draw: random.Random, folder: Path, source: Path, keys: dict[str, Any]
    ) -> None:
        section: dict[str, Any] = {"path": str(source), **keys}
        if draw.random() < 0.8:
            section["id"] = "id"
        if draw.random() < 0.5:
            section["features"] = ["spend", "orders"]
        sections: dict[str, Any] = {
            "input": section, "prepare": {"missing": draw.choice(("mean", "drop", "error"))}
        }  # fmt: skip
        if draw.random() < 0.2:
            sections["prepare"]["categorical"] = {"group": "onehot"}
        try:
            result = gpuseg.run(_job(draw, folder, sections))
        except DataError as error:
            assert str(folder) not in error.problem, f"a path of its own: {error}"
            raise
        written = pq.read_table(folder / "out")
        rows = result.record.input.rows + result.record.input.rows_dropped
        kept = sections["prepare"]["missing"] == "drop" or len(written) == rows
        assert kept, f"{len(written)} of {rows} rows"


def _table(draw: random.Random, number: int) -> pa.Table:
    rows = draw.choice((0, 1, *(ROWS,) * 8))
    hostile = draw.choice((0.0, 0.0, 0.02, 0.1))
    ids = [f"{number * 1000 + i}" for i in range(rows)]
    if draw.random() < 0.2:
        ids = [f"{id}.0" if draw.random() < 0.9 else "" for id in ids]
    columns = {
        "id": ids,
        "spend": [_drawn(draw, hostile, f"{draw.randrange(10**4) / 100}") for _ in range(rows)],
        "orders": [_drawn(draw, hostile, f"{draw.randrange(99)}") for _ in range(rows)],
        "group": [draw.choice(_TEXTS) if draw.random() < hostile else "b" for _ in range(rows)],
    }
    columns["day"] = ["2020-01-01 10:20"] * rows
    if draw.random() < 0.1:
        columns[draw.choice([text for text in HOSTILE_TEXTS if "\ud800" not in text])] = ids
    return pa.table(columns)


def _drawn(draw: random.Random, hostile: float, usual: str) -> str:
    if draw.random() >= hostile:
        return usual
    return draw.choice(_NUMBERS if draw.random() < 0.7 else _TEXTS)


def _file(draw: random.Random, table: pa.Table) -> tuple[str, bytes]:
    if draw.random() < 0.15:
        clean = pa.table({
            "".join(c for c in name if c.isprintable()): [
                "".join(c for c in text if c.isprintable()) for text in column.to_pylist()
            ]
            for name, column in zip(table.column_names, table.columns, strict=True)
        })  # fmt: skip
        content = xlsx_bytes(clean, others=draw.choice((0, 2)))
        return ".xlsx", mutated_bytes(draw, content) if draw.random() < 0.3 else content
    delimiter, line_end = draw.choice(",,;\t| "), draw.choice(("\n", "\n", "\r\n", "\r"))
    rows = [table.column_names, *(list(row.values()) for row in table.to_pylist())]
    if draw.random() < 0.05:
        rows = rows[1:]
    quoted = draw.random() < 0.7
    lines = [delimiter.join(_quoted(text, delimiter) if quoted else text for text in row)
             for row in rows]  # fmt: skip
    if draw.random() < 0.05:
        lines.insert(0, draw.choice((f"sep={delimiter}", "Title", "", "sep=")))
    text = line_end.join([*lines, ""][: draw.choice((None, -1))])
    content = text.encode(draw.choice(_ENCODINGS), "replace")
    if draw.random() < 0.15:
        content = mutated_bytes(draw, content)
    suffix = draw.choice((".csv", ".csv", ".txt", ".tsv", ".csv.gz", ".csv.bz2", ".csv.zst"))
    if suffix.endswith(".gz"):
        content = gzip.compress(content)
    if suffix.endswith(".bz2"):
        content = bz2.compress(content)
    if suffix.endswith(".zst"):
        content = pa.Codec("zstd").compress(content, asbytes=True)
    compressed = suffix.count(".") > 1
    return suffix, mutated_bytes(draw, content) if compressed and draw.random() < 0.2 else content


def _quoted(text: str, delimiter: str) -> str:
    special = any(sign in text for sign in (delimiter, '"', "\n", "\r"))
    return '"' + text.replace('"', '""') + '"' if special else text


def _job(draw: random.Random, folder: Path, sections: dict[str, Any]) -> dict[str, Any]:
    return {
        **sections,
        "segment": {"n_clusters": 2, "max_iter": 3, "n_init": 1},
        "runtime": {"backend": draw.choice(("numpy", "numba")), "threads_per_worker": 1},
        "output": {"path": str(folder / "out"), "overwrite": True},
    }
