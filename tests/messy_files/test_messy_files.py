"""Files as other people have them are read right, or the message says which key reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import THOROUGH, read_parts

import gpuseg
from messy_files import damaged, exports, folders, libraries, spreadsheets, tables
from messy_files.messy_file import Job, MessyFile, Refusal, Table

FILES = [
    *spreadsheets.FILES, *exports.FILES, *libraries.FILES, *tables.FILES, *folders.FILES,
    *damaged.FILES,
]  # fmt: skip


@pytest.mark.parametrize("write", FILES, ids=lambda write: write.__name__)
def test_a_messy_file_is_read_right_or_refused_with_what_repairs_it(
    tmp_path: Path, write: Callable[[Path], MessyFile]
) -> None:
    check(write(tmp_path), tmp_path / "out")


@pytest.mark.skipif(not THOROUGH, reason="Spark takes long to start; --thorough")
@pytest.mark.parametrize("write", libraries.FILES_OF_SPARK, ids=lambda write: write.__name__)
def test_a_messy_file_of_spark(
    tmp_path: Path, spark: Any, write: Callable[[Path, Any], MessyFile]
) -> None:
    check(write(tmp_path, spark), tmp_path / "out")


def check(file: MessyFile, output: Path) -> None:
    """Run the first job of a file, and the repaired jobs as long as one is refused."""
    job = with_keys(file.job, {section: {"path": str(file.path)} for section in file.job})
    for refusal in file.refusals:
        with raises(refusal.code) as caught:
            table_of(job, output, len(file.expected))
        assert_repairable(str(caught.value), refusal)
        assert not output.exists()
        job = with_keys(job, refusal.keys)
        if refusal.repair_file is not None:
            refusal.repair_file(file.path)
    assert table_of(job, output, len(file.expected)) == rounded(file.expected, "input" in job)


def assert_repairable(message: str, refusal: Refusal) -> None:
    """Check that a message has all that a newcomer needs for the repair."""
    for section, keys in refusal.keys.items():
        for key, value in keys.items():
            assert all(word in message for word in words_of(section, key, value)), message
    assert all(value in message for value in refusal.first_line), message


def words_of(section: str, key: str, value: Any) -> list[str]:
    """Return what a message must say for a key; names of columns are the newcomer's own."""
    if key == "path":
        return [f'path = "{value}"']
    given = {"header": [], "null_values": value}.get(key, [str(value)])
    return [f"[{section}]", key, *given]


def with_keys(job: Job, others: Job) -> dict[str, dict[str, Any]]:
    """Return a job with more keys."""
    return {name: {**job.get(name, {}), **others.get(name, {})} for name in {**job, **others}}


def table_of(job: Mapping[str, Any], output: Path, n_customers: int) -> Table:
    """Run a job, and return the features that it has read.

    Each customer is a segment, so that the centers are the customers.
    """
    sections = {
        "prepare": {"scale": "none"},
        "segment": {"n_clusters": n_customers},
        "output": {"path": str(output)},
    }
    segments = gpuseg.run(with_keys(sections, job)).manifest["segments"]
    if "transactions" in job:
        files = sorted(output.glob("_features/*"))
        features = pa.concat_tables(map(pq.read_table, files)).to_pylist()
        names = ("recency_days", "orders", "spend")
        return {next(iter(row.values())): {name: row[name] for name in names} for row in features}
    parts = read_parts(output).to_pydict()
    pairs = zip(parts[job["input"]["id"]], parts["segment"], strict=True)
    centers = {segment["segment"]: segment["center"] for segment in segments}
    return {id: centers[segment] for id, segment in pairs}


def rounded(table: Table, is_float32: bool) -> Table:
    """Return a table with the precision of clustered features."""
    if not is_float32:
        return table
    return {
        id: {name: float(np.float32(value)) for name, value in row.items()}
        for id, row in table.items()
    }
