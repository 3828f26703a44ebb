"""Score a table, Parquet to Parquet: the whole command beside the job that fitted the model.

The commands are timed in turn, imports included, after a warm-up. Then a warm process scores the
same table several times, as a service or a notebook does.

    python benchmarks/score.py                       5,000,000 × 16, k = 8, 20 iterations
    python benchmarks/score.py --quick               500,000 × 16
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from end_to_end import job, make_inputs


def warm(model: str, data: str, out: str, repeats: int, options: list[str]) -> None:
    """Score the table in this process; print the seconds of each time but the first."""
    import gpuseg

    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        gpuseg.score(model, data, out, overwrite=True, overrides=options)
        seconds.append(round(time.perf_counter() - started, 3))
    print(json.dumps(seconds[1:]))


def score_options(arguments: argparse.Namespace) -> list[str]:
    """Return the overrides of the runtime."""
    limit = arguments.memory_limit
    return [f"runtime.memory_limit={limit}"] if limit else []


def commands(data: Path, init: Path, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return the command that fits, and those that score; the fit comes first."""
    folder = Path(arguments.folder)
    model, out = folder / "segments-local", folder / "scored"
    score = [sys.executable, "-m", "gpuseg.cli", "score", str(model), str(data), str(out)]
    score += ["--overwrite", "--json"]
    overrides = [part for option in score_options(arguments) for part in ("--set", option)]
    two_workers = ["--cluster", "dask", "--set", "runtime.n_workers=2"]
    return {
        "fit": job("gpuseg local", data, init, model, arguments),
        "score": [*score, *overrides],
        "score dask": [*score, *two_workers, *overrides],
    }


def compare(arguments: argparse.Namespace) -> None:
    """Run all commands in turn, then a warm process, and write the result."""
    from measure import interleaved, measure, save, spread, summary

    folder = Path(arguments.folder)
    data, init = make_inputs(arguments)
    runs = interleaved(commands(data, init, arguments), arguments.repeats)
    table: dict[str, dict[str, Any]] = {name: summary(repeats) for name, repeats in runs.items()}
    process = measure([
        *(sys.executable, __file__, "--warm", str(folder / "segments-local"), str(data)),
        *(str(folder / "scored"), "--repeats", str(arguments.repeats)),
        *(["--memory-limit", arguments.memory_limit] if arguments.memory_limit else []),
    ])  # fmt: skip
    table["warm process"] = spread(json.loads(process.output))
    for name, row in table.items():
        row["rows_per_second"] = round(arguments.rows / row["median_s"])
        row["share_of_fit"] = round(row["median_s"] / table["fit"]["median_s"], 3)
        print(
            f"{name:<14} {row['median_s']:7.2f} s  {row['rows_per_second']:>12,} rows/s  "
            f"{row['share_of_fit']:.2f} of the fit"
        )
    case = {"rows": arguments.rows, "features": 16, "clusters": arguments.clusters,
            "repeats": arguments.repeats, "memory_limit": arguments.memory_limit}  # fmt: skip
    print(save(arguments.result, {"case": case, "commands": table}))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="500,000 rows")
    parser.add_argument("--memory-limit", help="of each worker")
    parser.add_argument("--result", default="score", help="name of the file below results/")
    parser.add_argument("--folder", default="out/benchmarks")
    parser.add_argument("--warm", nargs=3, metavar=("MODEL", "INPUT", "OUTPUT"))
    arguments = parser.parse_args()
    if arguments.warm:
        warm(*arguments.warm, arguments.repeats, score_options(arguments))
        return
    if arguments.quick:
        arguments.rows, arguments.result = 500_000, f"{arguments.result}-quick"
    Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    compare(arguments)


if __name__ == "__main__":
    main()
