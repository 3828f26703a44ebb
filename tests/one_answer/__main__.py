"""Score many rows in every way, and count those whose segment is not that of the job.

    scripts/one_answer --rows 1_000_000
    scripts/one_answer --retail retail_customers.parquet
    scripts/one_answer --rows 100_000 --jobs "all steps" --doors HTTP SQL

Each line has a door: its rows, those with another segment, those with another distance, and for
exports how many rows lie as near to a second center, where another segment is allowed.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from support.fitted_outputs import customers_of_all_types
from support.helpers import read_parts

import gpuseg
from gpuseg.errors import GpusegError
from gpuseg.exports.center_model import CenterModel
from gpuseg.runtime.executor import TaskContext
from gpuseg.runtime.temporary_folder import temporary_folder
from one_answer.doors import ALL

CLEARLY = 1e-9
"""Relative difference of the two nearest distances from which on exports must agree."""

EXPORTS = ("ONNX", "SQL")
"""How the names of doors begin that compute with other libraries."""

NUMBERS = ["recency", "orders", "spend", "age", "income", "visits", "signup", "balance"]
CATEGORIES = {
    "city": "onehot", "country": "frequency", "plan": ["basic", "plus", "pro"],
    "is_member": "onehot", "store": "onehot",
}  # fmt: skip
SKEWED = dict.fromkeys(["recency", "orders", "spend", "income", "visits"], "yeo-johnson")
ALL_STEPS = {
    "missing": "median", "missing_indicator": True, "clip": [0.01, 0.99],
    "transform": SKEWED, "scale": "robust",
}  # fmt: skip

JOBS: dict[str, dict[str, Any]] = {
    "numbers": {
        "prepare": {"missing": "mean", "transform": {"spend": "log1p"}},
        "segment": {"n_clusters": 8, "max_iter": 30},
    },
    "all steps": {
        "prepare": {**ALL_STEPS, "categorical": CATEGORIES, "max_categories": 5, "pca": 0.95},
        "segment": {"n_clusters": 12, "max_iter": 30},
    },
    "cosine": {
        "prepare": {"missing": "mean", "scale": "minmax"},
        "segment": {"n_clusters": 6, "metric": "cosine", "max_iter": 30},
    },
    "gaps left out": {
        "prepare": {"missing": "drop", "clip": [0.0, 0.98], "drop_near_constant": True},
        "segment": {"n_clusters": 7, "max_iter": 30},
    },
    "zeros": {
        "prepare": {
            "missing": "zero",
            "scale": "none",
            "transform": SKEWED,
            "categorical": CATEGORIES,
            "max_categories": 3,
            "drop_correlated": 0.9,
        },
        "segment": {"n_clusters": 9, "max_iter": 30},
    },
    "hierarchy": {
        "prepare": {"missing": "mean", "transform": SKEWED},
        "segment": {"algorithm": "hierarchical", "levels": [3, 8], "micro_segments": 300},
    },
    "vectors": {
        "input": {"features": ["spend", "embedding", "vector_with_gaps", "spark_vector"]},
        "prepare": {"missing": "mean", "missing_indicator": True, "scale": "robust"},
        "segment": {"n_clusters": 10, "max_iter": 30},
    },
    "weights, types": {
        "input": {
            "features": ["signup", "balance", "small", "unsigned", "single", "decimal"],
            "weight": "households",
        },
        "prepare": {"clip": [0.001, 0.999]},
        "segment": {"n_clusters": 9, "max_iter": 30},
    },
    "DBSCAN": {
        "input": {"features": ["recency", "spend", "visits"]},
        "prepare": {"missing": "median", "transform": "yeo-johnson"},
        "segment": {"algorithm": "dbscan", "eps": 0.1, "min_samples": 500},
    },
}
"""Sections of jobs on synthetic rows; the features are `NUMBERS` without others."""

RETAIL_JOBS: dict[str, dict[str, Any]] = {
    "log1p": {"prepare": {"transform": "log1p"}, "segment": {"n_clusters": 6}},
    "yeo-johnson, PCA": {
        "prepare": {"transform": "yeo-johnson", "clip": [0.01, 0.99], "pca": 0.9},
        "segment": {"n_clusters": 8},
    },
    "hierarchy": {
        "prepare": {"transform": "log1p", "scale": "robust"},
        "segment": {"algorithm": "hierarchical", "levels": [3, 7]},
    },
    "DBSCAN": {
        "prepare": {"transform": "yeo-johnson"},
        "segment": {"algorithm": "dbscan", "eps": 0.8, "min_samples": 8},
    },
}
"""Sections of jobs on the customers of a shop."""

_BLOCK_ROWS = 100_000


class Compared(NamedTuple):
    """What a job wrote, and how near the second center of each row is.

    Attributes
    ----------
    segment : int32 (n,)
    distance : float32 (n,)
    is_clear : bool (n,)
    """

    segment: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float32]
    is_clear: npt.NDArray[np.bool_]


def main() -> int:
    """Print a line for each job and door; return 1 if a segment differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda text: int(text.replace("_", "")), default=0)
    parser.add_argument("--retail", type=Path, help="customers of a shop, as a Parquet file")
    parser.add_argument("--jobs", nargs="*", default=[], help="how the names of jobs begin")
    parser.add_argument("--doors", nargs="*", default=[], help="how the names of doors begin")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    n_wrong = 0
    if options.rows:
        rows = synthetic_rows(options.rows)
        features = [*NUMBERS]
        n_wrong += compare(rows, "customer", features, JOBS, options.jobs, options.doors)
    if options.retail:
        rows = pq.read_table(options.retail)
        features = [name for name in rows.column_names if name != "customer_id"]
        n_wrong += compare(rows, "customer_id", features, RETAIL_JOBS, options.jobs, options.doors)
    return int(n_wrong > 0)


def synthetic_rows(n: int) -> pa.Table:
    """Return customers of all types, in blocks from seeds of their own."""
    return pa.concat_tables(
        customers_of_all_types(min(_BLOCK_ROWS, n - start), seed=start, first_id=start)
        for start in range(0, n, _BLOCK_ROWS)
    )


def compare(
    rows: pa.Table,
    id: str,
    features: list[str],
    jobs: dict[str, dict[str, Any]],
    named_jobs: list[str],
    named_doors: list[str],
) -> int:
    """Run jobs on rows, score the rows in every way, and return how many are wrong."""
    n_wrong = 0
    for job, sections in jobs.items():
        if named_jobs and not job.startswith(tuple(named_jobs)):
            continue
        input_of_job = {"id": id, "features": features, **sections.get("input", {})}
        columns = columns_of(input_of_job, sections["prepare"])
        with temporary_folder() as name:
            folder = Path(name)
            pq.write_table(rows.select(columns), folder / "rows.parquet", row_group_size=65_536)
            gpuseg.run(
                {
                    **sections,
                    "input": {"path": str(folder / "rows.parquet"), **input_of_job},
                    "output": {"path": str(folder / "out")},
                }
            )
            scored_rows = rows.select(columns)
            if sections["prepare"].get("missing") == "drop":
                scored_rows = without_gaps(scored_rows, input_of_job["features"])
            wanted = expected(folder / "out", scored_rows)
            for door, scored in ALL.items():
                if not named_doors or door.startswith(tuple(named_doors)):
                    n_wrong += one_line(job, door, scored, folder, scored_rows, wanted)
    return n_wrong


def columns_of(inputs: dict[str, Any], prepare: dict[str, Any]) -> list[str]:
    """Return the columns that a job reads."""
    weight = [inputs["weight"]] if "weight" in inputs else []
    return [inputs["id"], *inputs["features"], *prepare.get("categorical", {}), *weight]


def without_gaps(rows: pa.Table, features: list[str]) -> pa.Table:
    """Return the rows that have each feature, which are those of a job that drops the others."""
    is_complete = np.logical_and.reduce([rows[name].is_valid().to_numpy() for name in features])
    return rows.filter(pa.array(is_complete))


def expected(output: Path, rows: pa.Table) -> Compared:
    """Return what the job wrote, and which rows are clearly nearer to one center."""
    parts, model = read_parts(output), gpuseg.load_model(output)
    is_clear = np.ones(len(rows), bool)
    if model.name != "dbscan":
        centers, raw = CenterModel.of(model, "").centers, model.pipeline.open(rows)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, min(start + _BLOCK_ROWS, len(rows)))
            z = raw.transform(block, "numba", TaskContext()).astype(np.float64)
            near = far = np.full(len(z), np.inf)
            for center in centers:
                distance = np.sqrt(np.square(z - center).sum(axis=1))
                near, far = np.minimum(near, distance), np.minimum(far, np.maximum(near, distance))
            is_clear[block] = far - near > CLEARLY * near
    return Compared(parts["segment"].to_numpy(), parts["distance"].to_numpy(), is_clear)


def one_line(
    job: str,
    door: str,
    scored: Callable[..., Any],
    folder: Path,
    rows: pa.Table,
    wanted: Compared,
) -> int:
    """Print the line of a door, and return how many rows are wrong."""
    place = folder / door
    place.mkdir()
    started = time.perf_counter()
    try:
        segment, distance = scored(folder / "out", rows, place)
    except (GpusegError, ImportError) as error:
        text = getattr(error, "code", None) or str(error)
        print(f"{job:<18} {door:<40} not compared: {text}", flush=True)
        return 0
    seconds = time.perf_counter() - started
    differs = segment != wanted.segment
    allowed = ~wanted.is_clear if door.startswith(EXPORTS) else np.zeros(len(rows), bool)
    n_wrong = int(np.count_nonzero(differs & ~allowed))
    text = f"{len(segment):>9,} rows, {int(differs.sum()):,} with another segment"
    if distance is not None:
        n_other = int(np.count_nonzero(distance != wanted.distance))
        text += f", {n_other:,} with another distance"
        n_wrong += n_other
    else:
        text += f", {int(allowed.sum()):,} between two centers"
    print(f"{job:<18} {door:<40} {text}, {seconds:.1f} s", flush=True)
    return n_wrong


if __name__ == "__main__":
    sys.exit(main())
