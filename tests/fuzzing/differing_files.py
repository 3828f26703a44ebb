"""Files of one table that differ in their types and columns, named by folders, globs and lists."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import gpuseg
from fuzzing.data_files import KINDS
from fuzzing.run_cases import Fuzzer

ROWS = 90
_PATTERNS = ("*", "*.parquet", "**", "[a-c]*", "?*", "**/*.parquet", "[!_]*", "p-*", "[", "***")
_HOSTILE_FOLDERS = (
    *("", "", "x=1", "x=007", "x=__HIVE_DEFAULT_PARTITION__", "x=%2F%00", "[a]", "*", "a b"),
    *("_h", "é"),
)  # fmt: skip


def fuzzer() -> Fuzzer:
    """Make the fuzzer."""
    return _DifferingFiles()


class _DifferingFiles:
    """Draws the files of one job, and runs it; if it runs, the rows are those of the files."""

    seconds = 60.0

    def prepare(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self._table = pa.table({
            "id": rng.permutation(ROWS), "spend": rng.integers(0, 99, ROWS).astype(float),
            "orders": rng.integers(0, 9, ROWS), "group": [str(i % 5) for i in range(ROWS)],
        })  # fmt: skip

    def try_case(self, draw: random.Random, folder: Path) -> None:
        files = self._write(draw, folder / "in")
        section: dict[str, Any] = {"path": _path(draw, folder / "in", files), "id": "id"}
        if draw.random() < 0.7:
            section["features"] = draw.sample(["spend", "orders"], 2)
        prepare: dict[str, Any] = {"missing": draw.choice(("error", "mean"))}
        if draw.random() < 0.4:
            prepare["categorical"] = {draw.choice(("group", "x")): "onehot"}
        result = gpuseg.run({
            "input": section, "prepare": prepare,
            "segment": {"n_clusters": 2, "max_iter": 3, "n_init": 1},
            "runtime": {"backend": "numpy", "threads_per_worker": 1},
            "output": {"path": str(folder / "out")},
        })  # fmt: skip
        self._check(folder / "out", result)

    def _check(self, output: Path, result: Any) -> None:
        """Compare the ids of the output with those that the files were made from."""
        parts = [pq.read_table(path) for path in sorted(output.glob("part-*"))]
        assert len({str(part.schema) for part in parts}) == 1
        if not pa.types.is_integer(parts[0].schema.field("id").type):
            return  # no file has the ids as they were
        ids = [str(value) for part in parts for value in part["id"].to_pylist()]
        expected = {str(value) for value in self._table["id"].to_pylist()}
        assert set(ids) <= {*expected, "None"}, sorted(set(ids) - expected)[:3]
        repeated = [name for name, n in Counter(ids).items() if n > 1 and name != "None"]
        assert not repeated, repeated[:3]

    def _write(self, draw: random.Random, folder: Path) -> list[Path]:
        ends = sorted(draw.sample(range(ROWS), draw.choice((1, 2, 3))))
        files = []
        for i, (start, end) in enumerate(zip([0, *ends], [*ends, ROWS], strict=True)):
            table = self._table.slice(start, end - start)
            for _ in range(draw.choice((0, 1, 1, 2))):
                table = _changed(draw, table)
            below = draw.choice(_HOSTILE_FOLDERS)
            path = folder / below / f"{'abp'[i % 3]}-{i}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                pq.write_table(
                    table, path, row_group_size=draw.choice((7, ROWS)),
                    write_statistics=draw.random() < 0.7, store_schema=draw.random() < 0.7,
                )  # fmt: skip
            except pa.ArrowException:  # types that Parquet does not have
                pq.write_table(self._table.slice(start, end - start), path)
            files.append(path)
        return files


def _changed(draw: random.Random, table: pa.Table) -> pa.Table:
    """Cast a column to another type, drop it, or change the order of the columns."""
    i, names = draw.randrange(table.num_columns), table.column_names
    match draw.randrange(8):
        case 0:
            return table.select(draw.sample(names, len(names)))
        case 1 if len(names) > 1:
            return table.drop_columns([names[i]])
        case 2:
            return table.set_column(i, names[i], pa.nulls(len(table), draw.choice(KINDS)))
        case 3:
            return table.slice(0, 0)
    try:
        return table.set_column(i, names[i], table.column(i).cast(draw.choice(KINDS)))
    except (pa.ArrowException, TypeError):
        return table


def _path(draw: random.Random, folder: Path, files: list[Path]) -> str | list[str]:
    """Return a folder, a glob, or a list of files and globs."""
    some = [
        str(folder),
        f"{folder}/{draw.choice(_PATTERNS)}",
        f"{folder}/{draw.choice(_PATTERNS)}/{draw.choice(_PATTERNS)}",
        *(str(path) for path in draw.sample(files, len(files))),
    ]
    if draw.random() < 0.4:
        return draw.choice(some)
    return draw.choice((some[-len(files) :], draw.sample(some, draw.randint(1, 3))))
