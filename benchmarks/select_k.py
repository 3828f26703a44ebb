"""How long a choice of k takes: 2 to 15 with all criteria against one scikit-learn fit at 15.

    python benchmarks/select_k.py            1,000,000 × 16; three interleaved repeats
    python benchmarks/select_k.py --quick    a tenth of the rows

The fit has n_clusters = 15 and n_init = 4, and measures nothing. Silhouettes of 10,000,000 × 16 at
k = 8, in rows that are there already, are timed alone, with the memory that they add. Both engines
use every processor. What is chosen for data of known classes is shown beside their number. Writes
select_k.json to benchmarks/results.
"""

import argparse
import resource
import time
from typing import Any

import numpy as np
from measure import save, spread
from numpy.typing import NDArray
from sklearn.cluster import KMeans as Peer
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.preprocessing import StandardScaler

from gpuseg import select_k
from gpuseg.algorithms.data_statistics import measure
from gpuseg.algorithms.kmeans.fit import sweep_kmeans
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.model_selection.quality import measure_fits
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.sharding.shard import Shard

REPEATS, FEATURES, CLUSTERS, MAX = 3, 16, 8, 15


def blobs(rows: int) -> NDArray[np.float32]:
    """Eight Gaussians of one spread, in float32."""
    rng = np.random.default_rng(0)
    centers = (rng.normal(size=(CLUSTERS, FEATURES)) * 2).astype(np.float32)
    x = rng.standard_normal((rows, FEATURES), dtype=np.float32)
    x += centers[rng.integers(CLUSTERS, size=rows)]
    return x


def against_a_fit(rows: int) -> dict[str, Any]:
    """Time choices and fits in turn, after one of each on few rows."""
    x = blobs(rows)
    select_k(x[:5000], [2, 3])
    Peer(3, n_init=1).fit(x[:5000])
    choices, fits = [], []
    for turn in range(1, REPEATS + 1):
        started = time.perf_counter()
        choice = select_k(x, range(2, MAX + 1), random_state=0)
        between = time.perf_counter()
        Peer(MAX, n_init=4, random_state=0).fit(x)
        choices.append(between - started)
        fits.append(time.perf_counter() - between)
        print(f"{turn}: choice {choices[-1]:.2f} s, fit {fits[-1]:.2f} s", flush=True)
    return {
        "rows": rows,
        "chosen": choice.n_clusters,
        "choice": spread(choices),
        "fit": spread(fits),
    }


def silhouettes(rows: int) -> dict[str, Any]:
    """Time the criteria of one segmentation of many rows, and the memory that they add."""
    executor = LocalExecutor()
    executor.load(lambda shard, env: shard, [Shard(blobs(rows))])
    measured = measure(executor, "numba")
    fits = sweep_kmeans(executor, [KMeansParams(n_clusters=CLUSTERS)], "numba", statistics=measured)
    before, started = _peak_mb(), time.perf_counter()
    (quality,) = measure_fits(executor, "numba", fits, measured)
    seconds = time.perf_counter() - started
    print(f"silhouettes of {rows:,} rows {seconds:.2f} s", flush=True)
    return {
        "rows": rows, "seconds": round(seconds, 3), "more_mb": round(_peak_mb() - before),
        "silhouette": quality.silhouette, "error": quality.silhouette_error,
    }  # fmt: skip


def known_classes() -> list[dict[str, Any]]:
    """Tell what is chosen for scikit-learn's data of known classes, standardized."""
    answers = []
    for load in (load_iris, load_wine, load_digits):
        data = load()
        choice = select_k(StandardScaler().fit_transform(data.data), range(2, 16), random_state=0)
        name, classes = load.__name__.removeprefix("load_"), len(data.target_names)
        answers.append(
            {"data": name, "classes": classes, "why": choice.reason, "elbow": choice.elbow}
        )
        print(f"{name}, {classes} classes: {choice.reason}; elbow {choice.elbow}", flush=True)
    return answers


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    """Run all, and save what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows; saves nothing")
    part = 10 if parser.parse_args().quick else 1
    result = {
        "choice_against_fit": against_a_fit(1_000_000 // part),
        "silhouettes": silhouettes(10_000_000 // part),
        "known_classes": known_classes(),
    }
    if part == 1:
        print(save("select_k", result))


if __name__ == "__main__":
    main()
