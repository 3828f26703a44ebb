"""Refresh an output on next quarter's rows: each mode beside a new job, and beside plain scoring.

Next quarter's customers are those of this one, each value moved by a small random amount; one in a
hundred is new. The commands are timed in turn, imports included, after a warm-up.

    python benchmarks/refresh.py                     5,000,000 × 16, k = 8
    python benchmarks/refresh.py --quick             500,000 × 16
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from end_to_end import make_inputs, toml
from measure import interleaved, measure, save, summary

_MOVED = 0.05
"""Standard deviation of what a value moves by, in those of the feature."""


def next_quarter(data: Path, out: Path) -> None:
    """Write next quarter's table, in one file for each of this quarter's."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(data.glob("*.parquet")):
        table = pq.read_table(file)
        ids = table["customer_id"].to_numpy().copy()
        is_new = rng.random(len(ids)) < 0.01
        ids[is_new] += 10**12
        columns: dict[str, Any] = {"customer_id": pa.array(ids)}
        for name in table.column_names[1:]:
            values = table[name].to_numpy()
            moved = values + rng.normal(0, _MOVED * values.std(), len(values))
            columns[name] = pa.array(moved.astype(values.dtype))
        groups = pq.ParquetFile(file).metadata.row_group(0).num_rows
        pq.write_table(pa.table(columns), out / file.name, row_group_size=groups)


def write_job(name: str, data: Path, folder: Path, arguments: argparse.Namespace) -> Path:
    """Write a job file; return its path."""
    file = folder / f"{name}.toml"
    sections: dict[str, dict[str, Any]] = {
        "input": {"path": str(data), "id": "customer_id"},
        "segment": {"n_clusters": arguments.clusters},
        "output": {"path": str(folder / name), "overwrite": True},
    }
    if arguments.memory_limit:
        sections["runtime"] = {"memory_limit": arguments.memory_limit}
    file.write_text(toml(sections))
    return file


def commands(data: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return the commands by name; this quarter's output is there already."""
    gpuseg = [sys.executable, "-m", "gpuseg.cli"]
    older = str(folder / "quarter-1")

    def refresh(mode: str) -> list[str]:
        file = write_job(f"quarter-2-{mode}", data, folder, arguments)
        return [*gpuseg, "refresh", str(file), "--from", older, "--mode", mode, "--json"]

    new_job = write_job("quarter-2-run", data, folder, arguments)
    scored = [str(data), str(folder / "quarter-2-scored"), "--overwrite", "--json"]
    return {
        "new job": [*gpuseg, "run", str(new_job), "--json"],
        "gpuseg score": [*gpuseg, "score", older, *scored],
        **{f"refresh {mode}": refresh(mode) for mode in ("score", "warm", "auto")},
    }


def main() -> None:
    """Parse the command line, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="500,000 rows")
    parser.add_argument("--memory-limit", help="of each worker")
    parser.add_argument("--result", default="refresh", help="name of the file below results/")
    parser.add_argument("--folder", default="out/benchmarks")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.result = 500_000, f"{arguments.result}-quick"
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    data, _ = make_inputs(arguments)
    later = folder / f"next-quarter-{arguments.rows}"
    if not later.exists():
        next_quarter(data, later)
    first = write_job("quarter-1", data, folder, arguments)
    measure([sys.executable, "-m", "gpuseg.cli", "run", str(first), "--json"])
    runs = interleaved(commands(later, folder, arguments), arguments.repeats)
    table: dict[str, dict[str, Any]] = {name: summary(repeats) for name, repeats in runs.items()}
    for name, row in table.items():
        row["share_of_new_job"] = round(row["median_s"] / table["new job"]["median_s"], 3)
        row["share_of_score"] = round(row["median_s"] / table["gpuseg score"]["median_s"], 3)
        print(
            f"{name:<16} {row['median_s']:7.2f} s  {row['share_of_new_job']:.2f} of a new job  "
            f"{row['share_of_score']:.2f} of gpuseg score"
        )
    case = {"rows": arguments.rows, "features": 16, "clusters": arguments.clusters,
            "repeats": arguments.repeats, "memory_limit": arguments.memory_limit}  # fmt: skip
    print(save(arguments.result, {"case": case, "commands": table}))


if __name__ == "__main__":
    main()
