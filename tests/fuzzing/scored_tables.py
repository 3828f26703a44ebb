"""`gpuseg score` with damaged outputs, spoilt tables, and tables of other types and columns."""

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.fitted_outputs import ID_KEY, ID_KEY_VARIABLE, fitted, new_rows

import gpuseg
from fuzzing.command_line import call_command
from fuzzing.damaged_outputs import damage_output, read_output, write_output
from fuzzing.data_files import spoilt_file
from fuzzing.mutations import HOSTILE_TEXTS
from fuzzing.run_cases import Fuzzer
from gpuseg.record import NOISE

_OUTPUTS = ("all_steps", "hierarchy", "dbscan", "hashed_ids", "vectors", "drop")
"""Cases of `support.fitted_outputs` whose models score."""

_LINES = "lines"
"""A model of transaction lines."""


def fuzzer() -> Fuzzer:
    """Make the fuzzer."""
    return _ScoredTables()


class _ScoredTables:
    """Damages an output or the table, and scores the table."""

    seconds = 60.0

    @patch.dict(os.environ, {ID_KEY_VARIABLE: ID_KEY})
    def prepare(self, folder: Path) -> None:
        self._tables = {name: new_rows(name) for name in _OUTPUTS} | {_LINES: _lines()}
        self._outputs: dict[str, dict[str, bytes]] = {}
        for name, table in self._tables.items():
            source, target = folder / f"{name}.parquet", folder / f"scored-{name}"
            pq.write_table(table, source)
            output = fitted(name) if name != _LINES else _fit_lines(source, folder / name)
            gpuseg.score(output, source, target)
            self._outputs |= {name: read_output(output), target.name: read_output(target)}

    @patch.dict(os.environ, {ID_KEY_VARIABLE: ID_KEY})
    def try_case(self, draw: random.Random, folder: Path) -> None:
        name = draw.choice((*_OUTPUTS, _LINES))
        output, source, target = folder / "fitted", folder / "in", folder / "out"
        write_output(self._outputs[draw.choice((name, name, f"scored-{name}"))], output)
        source.mkdir()
        table, is_whole = self._tables[name], True
        if is_damaged := draw.random() < 0.5:
            pq.write_table(table, source / "a.parquet")
            damage_output(draw, output)
        else:
            if draw.random() < 0.3:
                table = _with_other_columns(draw, table)
            suffix = draw.choice((".parquet", ".parquet", ".parquet", ".csv"))
            is_whole = spoilt_file(draw, source, table, suffix)
        options = _options(draw, self._tables[name].column_names)
        if name == _LINES and draw.random() < 0.5:
            options += [f"--snapshot={draw.choice(('2025-06-01', '1900-01-01', '9999-12-31'))}"]
        outcome = call_command(folder, ["score", str(output), str(source), str(target), *options])
        if outcome.code:
            assert not target.exists(), "an output of a command that failed"
            return
        manifest = json.loads((target / "_manifest.json").read_bytes())
        rows = manifest["input"]["rows"] + manifest["input"]["rows_dropped"]
        is_known = (is_damaged or is_whole) and name != _LINES
        assert not is_known or rows == len(table), f"{rows} rows"
        parts = [pq.read_table(path) for path in sorted(target.glob("part-*.parquet"))]
        n_written = sum(map(len, parts))
        is_all = not any(option.startswith("--like") for option in options)
        assert not is_all or n_written == manifest["input"]["rows"], f"{n_written} rows"
        n_clusters = manifest["scored_with"]["n_clusters"]
        for segment in {value for part in parts for value in part["segment"].to_pylist()}:
            assert NOISE <= segment < n_clusters, segment


def _lines() -> pa.Table:
    rng = np.random.default_rng(0)
    moments = np.datetime64("2025-01-01", "us") + rng.integers(0, 10**13, 300)
    return pa.table({
        "who": rng.integers(0, 60, 300), "at": moments, "paid": rng.lognormal(2, 1, 300),
        "what": [f"p{i % 7}" for i in range(300)],
    })  # fmt: skip


def _fit_lines(source: Path, output: Path) -> Path:
    section = {"path": str(source), "customer": "who", "time": "at", "amount": "paid", "rfm": True}
    gpuseg.run({
        "transactions": {**section, "product": "what"}, "prepare": {"missing": "mean"},
        "segment": {"n_clusters": 3}, "output": {"path": str(output)},
    })  # fmt: skip
    return output


def _options(draw: random.Random, columns: Sequence[str]) -> list[str]:
    backend = draw.choice(("numpy", "numba"))
    options = ["--set", "runtime.threads_per_worker=1", "--set", f"runtime.backend={backend}"]
    if draw.random() < 0.2:
        options.append("--confidence")
    if draw.random() < 0.2:
        segment = draw.choice(("0", "1", "-1", "99", "x", *HOSTILE_TEXTS[1:2]))
        options += [f"--like={segment}", f"--top={draw.choice((1, 7, 10**6))}"]
        options += ["--exclude-members"] * draw.randrange(2)
    if draw.random() < 0.3:
        options += [f"--id={draw.choice(('', 'x', *columns))}"]
    if draw.random() < 0.1:
        options += ["--set", "input.null_values=" + draw.choice(('["a", "b"]', '[""]', '["nan"]'))]
    return [*options, *["--json"] * draw.randrange(2)]


def _with_other_columns(draw: random.Random, table: pa.Table) -> pa.Table:
    names = table.column_names
    i = draw.randrange(len(names))
    match draw.randrange(4):
        case 0:
            return table.drop_columns([names[i]])
        case 1:
            return table.append_column(names[i], table.column(draw.randrange(len(names))))
        case 2:
            texts = [text for text in HOSTILE_TEXTS if "\ud800" not in text]
            return table.rename_columns([*names[:i], draw.choice(texts), *names[i + 1 :]])
    return table.slice(0, draw.choice((0, 0, 1)))
