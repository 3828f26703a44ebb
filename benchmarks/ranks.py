"""The same job on two ranks and on two Dask workers of this machine, as whole commands in turn.

    python benchmarks/ranks.py               2,000,000 × 16 k-means, 200,000 × 4 DBSCAN, 5 repeats
    python benchmarks/ranks.py --repeats 3

Writes ranks.json to benchmarks/results.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import interleaved, save, summary

RANKS = 2

JOBS = {
    "k-means": (2_000_000, 16, "n_clusters = 40\nn_init = 3\nmax_iter = 60\ntol = 0.0\n"),
    "DBSCAN": (200_000, 4, "algorithm = 'dbscan'\neps = 0.5\nmin_samples = 10\n"),
}

GPUSEG = [sys.executable, "-m", "gpuseg"]


def launch(job: str) -> int:
    """Start the ranks of a job; return the highest exit code."""
    processes = [
        subprocess.Popen(
            [*GPUSEG, "run", job, "--overwrite", "--set", "runtime.cluster=ranks"],
            env={
                **os.environ,
                "GPUSEG_RANK": str(rank),
                "GPUSEG_SIZE": str(RANKS),
                "GPUSEG_LOCAL_RANK": str(rank),
                "GPUSEG_LOCAL_SIZE": str(RANKS),
            },
        )
        for rank in range(RANKS)
    ]
    return max(process.wait() for process in processes)


def main() -> None:
    """Compare whole commands."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--launch", metavar="JOB")
    options = parser.parse_args()
    if options.launch:
        sys.exit(launch(options.launch))
    result = {}
    with TemporaryDirectory() as folder:
        for name, (rows, features, segment) in JOBS.items():
            data, job = f"{folder}/{name}", Path(folder, f"{name}.toml")
            subprocess.run(
                [*GPUSEG, "synth", data, "--rows", str(rows), "--features", str(features),
                 "--files", "4"],
                check=True,
            )  # fmt: skip
            job.write_text(
                f"[input]\npath = '{data}'\nid = 'customer_id'\n[segment]\n{segment}"
                f"[runtime]\nthreads_per_worker = 1\n"
                f"[output]\npath = '{folder}/out {name}'\n"
            )
            on_dask = ["run", str(job), "--overwrite", "--set", "runtime.cluster=dask"]
            on_dask += ["--set", f"runtime.n_workers={RANKS}"]
            runs = interleaved(
                {
                    "dask": [*GPUSEG, *on_dask],
                    "ranks": [sys.executable, __file__, "--launch", str(job)],
                },
                options.repeats,
            )
            result[name] = {cluster: summary(measured) for cluster, measured in runs.items()}
            medians = [result[name][cluster]["median_s"] for cluster in ("ranks", "dask")]
            result[name]["ratio"] = round(medians[0] / medians[1], 3)
            print(name, result[name], flush=True)
    save("ranks", result)


if __name__ == "__main__":
    main()
