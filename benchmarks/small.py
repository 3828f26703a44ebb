"""What small things cost: commands in cold processes, and fits of small data sets.

python benchmarks/small.py                       `gpuseg info`, a job of 100,000 × 16, fits
python benchmarks/small.py --job JOB.toml        a job of yours, too
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from measure import interleaved, save, summary

CALLS = 50


def seconds_of(fit: Callable[[int], Any]) -> float:
    """Return the median of some calls, each with another random state, after one warm-up."""
    times = []
    for call in range(CALLS + 1):
        started = time.perf_counter()
        fit(call)
        times.append(time.perf_counter() - started)
    return median(times[1:])


def fit(kmeans: Any, x: Any, k: int, seed: int) -> None:
    """Fit a new model."""
    kmeans(k, random_state=seed).fit(x)


def predict(model: Any, rows: Any, _: int) -> None:
    """Predict rows."""
    model.predict(rows)


def fits() -> None:
    """Print the milliseconds of fits and predictions of both libraries as JSON."""
    from sklearn import cluster, datasets

    import gpuseg

    warnings.simplefilter("ignore")
    libraries: dict[str, Any] = {"scikit-learn": cluster.KMeans, "gpuseg": gpuseg.KMeans}
    sets = {"iris": (datasets.load_iris().data, 3), "digits": (datasets.load_digits().data, 10)}
    milliseconds: dict[str, dict[str, float]] = {}
    for name, (x, k) in sets.items():
        for library, kmeans in libraries.items():
            model = kmeans(k, random_state=0).fit(x)
            row = x[:1].copy()
            cases = {
                f"KMeans({k}).fit({name})": partial(fit, kmeans, x, k),
                f"predict one row of {name}": partial(predict, model, row),
            }
            for case, call in cases.items():
                milliseconds.setdefault(case, {})[library] = round(seconds_of(call) * 1000, 3)
    print(json.dumps(milliseconds))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--job", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", default="out/benchmarks")
    parser.add_argument("--fits", action="store_true")
    arguments = parser.parse_args()
    if arguments.fits:
        fits()
        return
    from end_to_end import toml

    from gpuseg.synthetic.customers import write_customers

    folder = Path(arguments.folder)
    data, file = folder / "customers-100000", folder / "small.toml"
    if not data.exists():
        write_customers(data, rows=100_000, features=16)
    file.write_text(
        toml({
            "input": {"path": str(data), "id": "customer_id"}, "segment": {"n_clusters": 8},
            "output": {"path": str(folder / "small"), "overwrite": True},
        })
    )  # fmt: skip
    gpuseg = [sys.executable, "-m", "gpuseg.cli"]
    commands = {
        "gpuseg info": [*gpuseg, "info"],
        "gpuseg run, 100,000 × 16": [*gpuseg, "run", str(file)],
    }
    if arguments.job:
        commands[f"gpuseg run {arguments.job.name}"] = [*gpuseg, "run", str(arguments.job)]
    fitting = [sys.executable, __file__, "--fits"]
    runs = interleaved({**commands, "fits": fitting}, arguments.repeats)
    printed = [json.loads(run.output) for run in runs.pop("fits")]
    results: dict[str, Any] = {name: summary(repeats) for name, repeats in runs.items()}
    for name in printed[0]:
        theirs = median([milliseconds[name]["scikit-learn"] for milliseconds in printed])
        ours = median([milliseconds[name]["gpuseg"] for milliseconds in printed])
        times = round(theirs / ours, 2)
        results[name] = {"scikit_learn_ms": theirs, "gpuseg_ms": ours, "times_faster": times}
    for name, result in results.items():
        print(f"{name:<28} {result}")
    print(save("small", {"repeats": arguments.repeats, "results": results}))


if __name__ == "__main__":
    main()
