"""Jobs on ranks over the same few rows, and their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.helpers import bits, customers, cut, job, leftovers, toml, write_files

ROWS = 4_000

KMEANS = {"segment": {"n_clusters": 4, "random_state": 0}}
DBSCAN = {"segment": {"algorithm": "dbscan", "eps": 1.5, "min_samples": 5}}

SLOW = {"segment": {"n_clusters": 30, "n_init": 60, "tol": 0.0, "max_iter": 60, "random_state": 0}}
"""A job that takes some seconds on these few rows."""


def write_rows(folder: Path) -> Path:
    """Write the rows into four files; return their folder."""
    return write_files(folder, cut(customers(ROWS), 1_000, 1_000, 1_000))


def job_of(data: Path, target: Path, **sections: Any) -> dict[str, Any]:
    """Return a job; `[segment]` has only the keys of the case."""
    return {**job(data, target, **sections), "segment": sections["segment"]}


def job_file(folder: Path, data: Path, runtime: dict[str, Any], **sections: Any) -> Path:
    """Write the file of a job on ranks, with one thread each."""
    runtime = {"cluster": "ranks", "threads_per_worker": 1, **runtime}
    file = folder / "job.toml"
    file.write_text(toml(job_of(data, folder / "out", runtime=runtime, **sections)))
    return file


def table_and_model(output: Path) -> tuple[Any, ...]:
    """Return the rows and the model of an output. Its manifest tells how work was shared."""
    return bits(output)[:2]


def nothing_left(folder: Path) -> bool:
    """Whether a run has left neither staged files nor the folder where its ranks met."""
    return not leftovers(folder) and not list(folder.glob(".*._run"))
