"""Is drift that is planted reported, and nothing else? 16 features, two of them of categories.

Undrifted pairs draw both data sets from one distribution. In drifted pairs one thing is changed in
the second data set:

    shift 0.1, 0.3, 1    one feature moves by so many standard deviations
    category             5 % of the rows have a category that was not in the data of the fit
    gaps                 the rows without a value of a feature double, from 5 % to 10 %

Features are normal, lognormal, Student's t with 3 degrees of freedom, counts, and with two modes.
A job fits the first data set, and `gpuseg.drift` compares the second one. A drifted pair is right
if all its alarms are of the feature that was changed, or of the segments.

    python benchmarks/drift.py                            the counts below, a few minutes
    python benchmarks/drift.py --rows 1000 --pairs 50     one number of rows
    python benchmarks/drift.py --many                     200 undrifted pairs of every size

Writes drift.json to benchmarks/results if no other number of rows or pairs is given.
"""

import argparse
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import save

import gpuseg

N_NUMBERS = 14
PAIRS = {1_000: 100, 10_000: 60, 100_000: 30, 1_000_000: 10}
"""Undrifted pairs by rows: 200 together."""

DRIFTED = {1_000: 10, 10_000: 10, 200_000: 4}
"""Drifted pairs of each kind by rows."""

KINDS = ("shift 0.1", "shift 0.3", "shift 1", "category", "gaps")
PLANS = ("basic", "plus", "pro")


def draw(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Return columns of customers."""
    columns: dict[str, Any] = {}
    group = rng.integers(0, 4, n)
    for i in range(N_NUMBERS):
        normal = rng.normal(size=n)
        columns[f"x{i}"] = (
            normal, np.exp(normal), rng.standard_t(3, n), rng.poisson(4, n).astype(float),
            normal + 6 * (group % 2), normal + 4 * group, np.round(10 * normal),
        )[i % 7]  # fmt: skip
    columns["x0"][rng.random(n) < 0.05] = np.nan
    columns["plan"] = rng.choice(PLANS, n, p=[0.6, 0.3, 0.1])
    columns["city"] = rng.choice([f"city {i}" for i in range(20)], n)
    return columns


def change(rng: np.random.Generator, columns: dict[str, Any], kind: str) -> str:
    """Plant drift in a column, and return its name."""
    n = len(columns["plan"])
    if kind == "category":
        name = str(rng.choice(["plan", "city"]))
        columns[name] = np.where(rng.random(n) < 0.05, "a new one", columns[name])
        return name
    if kind == "gaps":
        gap = rng.random(n) < 0.05 / 0.95
        columns["x0"] = np.where(gap, np.nan, columns["x0"])
        return "x0"
    name = f"x{rng.integers(N_NUMBERS)}"
    sigma = float(np.nanstd(columns[name]))
    columns[name] = columns[name] + float(kind.split()[1]) * sigma
    return name


class Pairs:
    """Draws pairs, and measures their drift.

    Parameters
    ----------
    folder : Path
    random_state : int
    """

    def __init__(self, folder: Path, random_state: int) -> None:
        self._folder, self._rng = folder, np.random.default_rng(random_state)

    def alarms(self, rows: int, kind: str | None) -> tuple[str | None, list[tuple[str, Any]]]:
        """Return the name of the column that was changed, and the alarms."""
        before, now = draw(self._rng, rows), draw(self._rng, rows)
        changed = None if kind is None else change(self._rng, now, kind)
        for name, columns in (("before", before), ("now", now)):
            pq.write_table(pa.table(columns), self._folder / f"{name}.parquet")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gpuseg.run(self._job(list(before)))
            result = gpuseg.drift(self._folder / "out", self._folder / "now.parquet")
        return changed, [(alarm.measure, alarm.name) for alarm in result.record.alarms]

    def _job(self, features: list[str]) -> dict[str, Any]:
        return {
            "input": {"path": str(self._folder / "before.parquet"), "id": None,
                      "features": features},
            "prepare": {
                "missing": "median",
                "categorical": {"plan": "onehot", "city": "frequency"},
            },
            "segment": {"n_clusters": 6, "max_iter": 20},
            "output": {"path": str(self._folder / "out"), "overwrite": True},
        }  # fmt: skip


def undrifted(pairs: Pairs, rows: int, n_pairs: int) -> dict[str, Any]:
    """Count the false alarms of pairs without drift."""
    of_measures: Counter[str] = Counter()
    n_false = 0
    for _ in range(n_pairs):
        _, alarms = pairs.alarms(rows, None)
        of_measures.update(measure for measure, _ in alarms)
        n_false += bool(alarms)
    row = {"kind": "none", "rows": rows, "pairs": n_pairs, "with_alarm": n_false,
           "other_alarms": sum(of_measures.values())}  # fmt: skip
    print(row, dict(of_measures), flush=True)
    return row


def drifted(pairs: Pairs, rows: int, n_pairs: int, kind: str) -> dict[str, Any]:
    """Count the pairs with an alarm on the changed column, and alarms on others."""
    n_right = n_others = 0
    for _ in range(n_pairs):
        changed, alarms = pairs.alarms(rows, kind)
        n_right += any(name == changed for _, name in alarms)
        n_others += sum(name not in (changed, None) for _, name in alarms)
    row = {"kind": kind, "rows": rows, "pairs": n_pairs, "with_alarm": n_right,
           "other_alarms": n_others}  # fmt: skip
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--many", action="store_true")
    parser.add_argument("--random-state", type=int, default=0)
    arguments = parser.parse_args()
    is_default = arguments.rows is None and arguments.pairs is None
    plain, planted = PAIRS, DRIFTED
    if arguments.many:
        plain = dict.fromkeys(PAIRS, 200)
    if arguments.rows is not None:
        n_pairs = arguments.pairs or 20
        plain, planted = {arguments.rows: n_pairs}, {arguments.rows: n_pairs}
    elif arguments.pairs is not None:
        plain, planted = (dict.fromkeys(each, arguments.pairs) for each in (PAIRS, DRIFTED))
    with tempfile.TemporaryDirectory() as folder:
        pairs = Pairs(Path(folder), arguments.random_state)
        results = [undrifted(pairs, rows, n) for rows, n in plain.items()]
        results += [drifted(pairs, rows, n, kind) for rows, n in planted.items() for kind in KINDS]
    if is_default:
        save("drift", {"results": results})


if __name__ == "__main__":
    main()
