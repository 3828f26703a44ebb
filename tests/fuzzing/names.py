"""Hostile names: of columns, categories, ids, files and folders, from the job to all it shows."""

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuzzing.mutations import HOSTILE_TEXTS
from fuzzing.pages import check_page, check_text, shown_table
from gpuseg.jobs.run import RunResult, run
from gpuseg.reporting.terminal_table import segment_table

_ROWS = 90

_TEXTS = (
    *HOSTILE_TEXTS, 'a"b', "a'b", "''", '"', "`", "\\", "\\x1b", "ä", "A", "a", "ß", "SS", "select",
    "segment", "a.b", "a=b", "a=", "%s", "{}", "{0}", "$x", "--", "/*", "*/", ";", "</title>", "<",
    "<!--", "]]>", "&amp;", "&lt;", ":smile:", "[link=https://example.org]x[/link]", "[[", "\t",
    "\u200b", "\ufeff", "\r", "\r\n", "\u2028", "a,b", "(other)", "(missing)", "is missing", "\x9b",
    "a is missing", "1", "1.5", "-0", "true", "null", "NaN", "\x7f", "\x85", "🙂", "e\u0301",
    "javascript:alert(1)", "onload=x", "'\"><svg onload=alert(1)>", "__index_level_0__", "../../x",
)  # fmt: skip

_UTF8 = (b"part", b"a b", b"new\nline", b"'quote\"", b"[x]", b"%41", b"#x", b"\x1b[31m",
         "名前\u202e".encode(), b"a=b", b"{x}", b"*", b"?", b"$HOME", b"-rf", b"~")  # fmt: skip
"""Beginnings of names of folders; a job file, which is UTF-8, can name no others."""

_FILES = (*_UTF8, b"\xff\xfe", b"caf\xe9")


class NameFuzzer:
    """Runs a small job in which everything that can be named has a hostile name."""

    seconds = 60.0

    def prepare(self, folder: Path) -> None:
        """Run a first job, which compiles the kernels."""
        self.try_case(random.Random("names"), folder)

    def try_case(self, draw: random.Random, folder: Path) -> None:
        """Draw names, write the files, run the job, and check all that it shows."""
        table, categorical = _drawn_table(draw)
        source = folder / _file_name(draw, _UTF8)
        source.mkdir()
        name = os.fsdecode(os.fsencode(source / _file_name(draw, _FILES)) + b".parquet")
        with open(name, "wb") as file:  # noqa: PTH123 - the name may not be UTF-8
            pq.write_table(table, file)
        output = folder / _file_name(draw, _UTF8) / _file_name(draw, _UTF8)
        result = run({
            "input": {"path": str(source), "id": table.column_names[0]},
            "prepare": {"categorical": categorical, "missing": "mean"},
            "segment": {"n_clusters": draw.choice((2, 3))},
            "output": {"path": str(output), "plots": True, "confidence": draw.random() < 0.3},
        })  # fmt: skip
        _check_shown(result, output)
        _check_examples(output, table)
        _check_rules(result, table)


def _drawn_table(draw: random.Random) -> tuple[pa.Table, dict[str, str]]:
    """Return customers in blobs under hostile names, and the encoding of their categories."""
    rng = np.random.default_rng(draw.randrange(2**32))
    names = draw.sample([text for text in _TEXTS if text != "\ud800"], draw.randint(3, 6))
    blob = rng.integers(3, size=_ROWS)
    columns: dict[str, Any] = {names[0]: _ids(draw)}
    categorical = {}
    for position, name in enumerate(names[1:]):
        if position == 0 or draw.random() < 0.6:
            values = blob * 9.0 + rng.normal(size=_ROWS)
            if draw.random() < 0.3:
                values[::7] = np.nan
            columns[name] = pa.array(values, from_pandas=draw.random() < 0.5)
        else:
            texts = draw.sample([text for text in _TEXTS if text != "\ud800"], 3)
            columns[name] = pa.array([texts[i] for i in blob])
            categorical[name] = draw.choice(("onehot", "frequency"))
    return pa.table(columns), categorical


def _ids(draw: random.Random) -> list[str]:
    texts = [text for text in _TEXTS if text and text != "\ud800"]
    return [f"{draw.choice(texts)[:40]}{i}" for i in range(_ROWS)]


def _file_name(draw: random.Random, starts: Sequence[bytes]) -> str:
    return os.fsdecode(draw.choice(starts) + b"%d" % draw.randrange(1000))


def _check_shown(result: RunResult, output: Path) -> None:
    """Check the page, the terminal table, and that the manifest is what was returned."""
    check_page((output / "_report.html").read_text(encoding="utf-8"))
    check_text(shown_table(segment_table(result.record), 80))
    assert json.loads((output / "_manifest.json").read_bytes()) == result.manifest
    assert not [text for text in result.record.warnings if "could not be made" in text]


def _check_examples(output: Path, table: pa.Table) -> None:
    """Check that examples have the ids of their rows."""
    ids = table.column(0).to_pylist()
    for example in json.loads((output / "_examples.json").read_bytes()):
        assert example["id"] == ids[example["row"]]


def _check_rules(result: RunResult, table: pa.Table) -> None:
    """Run all rules in DuckDB; the tree must be right for as many rows as it says."""
    profile = result.record.profile
    if profile is None or profile.rules is None:
        return
    parts = [pq.read_table(part) for part in sorted(Path(result.path).glob("part-*.parquet"))]
    segments = pa.concat_tables(parts).column("segment").to_numpy()
    with duckdb.connect() as database:
        database.register("customers", table)
        sql = profile.rules.sql
        labels = database.sql(f"SELECT {sql} FROM customers").fetchnumpy()
        agreement = float((next(iter(labels.values())) == segments).mean())
        assert abs(agreement - profile.rules.fidelity) < 1e-6, (agreement, profile.rules.fidelity)
        for segment in result.record.segments:
            if segment.rule is not None:
                database.sql(f"SELECT count(*) FROM customers WHERE {segment.rule.sql}").fetchall()


def fuzzer() -> NameFuzzer:
    """Make the fuzzer."""
    return NameFuzzer()
