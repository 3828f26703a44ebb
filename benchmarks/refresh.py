"""Refresh an output on next quarter's rows: each mode beside a new job, and beside plain scoring.

Next quarter's customers are those of this one, each value changed by a random 5 %; one in a hundred
has left, and as many have come. The commands are timed in turn, imports included, after a warm-up.

    python benchmarks/refresh.py                     5,000,000 × 16, k = 8
    python benchmarks/refresh.py --quick             500,000 × 16
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from end_to_end import make_inputs, toml
from measure import interleaved, measure, save, summary

_CHANGE = 0.05
"""Standard deviation of the relative change of a value."""

_GROUP_ROWS = 131_072

_LEFT = 100
"""One in so many customers has left."""


def next_quarter(data: Path, out: Path) -> None:
    """Write next quarter's table, with rows in the order of the ids."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, table = np.random.default_rng(0), pq.read_table(data)
    n_left, ids = len(table) // _LEFT, table["customer_id"].to_numpy()
    columns = {"customer_id": pa.array(np.append(ids[n_left:], ids[:n_left] + len(table)))}
    for name in table.column_names[1:]:
        values = np.roll(table[name].to_numpy(), -n_left)
        changed = values * rng.normal(1, _CHANGE, len(values))
        columns[name] = pa.array(changed.astype(values.dtype))
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), out / "customers.parquet", row_group_size=_GROUP_ROWS)


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
        **{f"refresh {mode}": refresh(mode) for mode in ("score", "warm", "fresh", "auto")},
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
