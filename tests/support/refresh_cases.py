"""Refreshes of the small jobs in `fitted_outputs`, and what must hold for every refresh."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import gpuseg
from gpuseg.jobs.run import RunResult
from gpuseg.jobs.score.run_score import ScoreResult
from support import fitted_outputs
from support.fitted_outputs import CASES, input_rows, job_of, new_rows
from support.helpers import manifest_of, read_parts, write_files

_GONE = 40
"""Customers of the first run that are not in newer rows."""


def newer_rows(name: str) -> pa.Table:
    """Return most rows of a case, and others that its job has not seen."""
    rows = input_rows(name)
    return pa.concat_tables([rows.slice(_GONE), new_rows(name).cast(rows.schema)])


def refreshed(
    name: str, folder: Path, older: Path, mode: str, **sections: Any
) -> RunResult | ScoreResult:
    """Refresh an output of a case with its newer rows; ``append`` is a mode here."""
    source = write_files(folder / "in", [newer_rows(name)])
    job = {**job_of(name, source, folder / "out"), **sections}
    if mode == "append":
        return gpuseg.refresh(job, older, append=True)
    return gpuseg.refresh(job, older, overrides=[f"refresh.mode={mode}"])


def rows_of_output(name: str, rows: pa.Table) -> pa.Table:
    """Return the rows that the output of a case has of these."""
    case = CASES[name]
    if case.prepare.get("missing") == "drop":
        rows = rows.filter(fitted_outputs.is_complete(rows))
    if case.prepare.get("duplicates") == "first":
        ids = rows[case.id].to_pylist()
        rows = rows.take(sorted({value: i for i, value in reversed([*enumerate(ids)])}.values()))
    return rows


def check_refreshed(out: Path, older: Path, rows: pa.Table, id: str | None) -> None:
    """Check that labels are those of the model, and that the tables add up to the outputs."""
    parts, manifest, model = read_parts(out), manifest_of(out), gpuseg.load_model(out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of categories that the fit has not seen
        frame = model.predict_frame(rows)
    for column in ("segment", "distance", *model.level_columns()):
        assert frame[column].to_pylist() == parts[column].to_pylist(), column
    refresh = manifest["refresh"]
    for definition in refresh["definitions"]:
        overlap = definition["overlap"]
        assert sum(cell[2] for cell in overlap) == parts.num_rows
        now = Counter(parts[definition["column"]].to_pylist())
        assert {s: sum(c[2] for c in overlap if c[1] == s) for s in now} == now
    alive = {
        each["segment"] for each in manifest["lineage"][0]["segments"] if "retired" not in each
    }
    assert {*parts["segment"].to_pylist()} - {-1} <= alive == {*model.segment_ids.tolist()}
    if id is not None:
        _check_migration(refresh, read_parts(older), parts, out, id)


def _check_migration(
    refresh: dict[str, Any], before: pa.Table, now: pa.Table, out: Path, id: str
) -> None:
    olds, news = _labels(before, id), _labels(now, id)
    both = {i: (olds.get(i), news.get(i)) for i in olds.keys() | news.keys()}
    both = {i: pair for i, pair in both.items() if -9 not in pair}
    if refresh["mode"] == "append":  # customers that are not among the new rows have not left
        both = {i: pair for i, pair in both.items() if pair[1] is not None}
    assert {(a, b): n for a, b, n in refresh["migration"]["cells"]} == Counter(both.values())
    changes = pa.concat_tables(map(pq.read_table, sorted((out / "_changes").glob("*"))))
    written = {row[id]: (row["from"], row["to"]) for row in changes.to_pylist()}
    assert written == {i: pair for i, pair in both.items() if pair[0] != pair[1]}
    assert refresh.get("changes", 0) == changes.num_rows == len(written)


def _labels(parts: pa.Table, id: str) -> dict[Any, int]:
    """Return the segment of each id; -9 stands for those of several rows."""
    ids = parts[id].to_pylist()
    count = Counter(ids)
    labels = zip(ids, parts["segment"].to_pylist(), strict=True)
    return {i: label if count[i] == 1 else -9 for i, label in labels if i is not None}
