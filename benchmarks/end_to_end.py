"""Parquet to Parquet: gpuseg's job against a plain scikit-learn script.

Both read the same files, standardise, run k-means from the same initial centres for the same
number of iterations, and write id and segment. The inertia of both is compared. Whole
processes are timed, imports included, in turn, after a warm-up.

    python benchmarks/end_to_end.py                  5,000,000 × 16, k = 8, 20 iterations
    python benchmarks/end_to_end.py --quick          500,000 × 16
    python benchmarks/end_to_end.py --spark          Spark's MLlib, too: scripts/setup bench,spark
"""

import argparse
import json
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def scikit_learn(data: str, out: str, init: str, iterations: int, dtype: str) -> None:
    """Do what most people would write: read, scale, fit, write.

    In float32 it is faster, but scikit-learn then sums in float32 and reports an inertia that
    is off in the fourth digit.
    """
    import numpy as np
    import pandas as pd
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    frame = pd.read_parquet(data)
    x = frame.drop(columns="customer_id").to_numpy(dtype)
    x = StandardScaler().fit_transform(x)
    centers = np.array(json.loads(Path(init).read_text()), dtype)
    model = KMeans(len(centers), init=centers, n_init=1, max_iter=iterations, tol=0).fit(x)
    result = pd.DataFrame({"customer_id": frame["customer_id"], "segment": model.labels_})
    result.to_parquet(out)
    print(json.dumps({"inertia": float(model.inertia_), "n_iter": int(model.n_iter_)}))


def gpuseg(data: str, out: str, init: str, iterations: int, cluster: str) -> None:
    """Do the same as a job of gpuseg."""
    from gpuseg import run

    centers = json.loads(Path(init).read_text())
    result = run(
        {
            "input": {"path": data, "id": "customer_id"},
            "segment": {
                "n_clusters": len(centers), "init": centers, "max_iter": iterations, "tol": 0.0
            },
            "runtime": {"cluster": cluster, **({"n_workers": 2} if cluster == "dask" else {})},
            "output": {"path": out, "overwrite": True},
        }
    )  # fmt: skip
    facts = result.manifest["result"]
    print(json.dumps({**facts, "seconds": result.manifest["seconds"]}))


def spark(data: str, out: str, init: str, iterations: int) -> None:
    """Do the same with Spark's MLlib, on two threads of this machine.

    Its KMeans takes no initial centres: it seeds by k-means||, and may end in another optimum.
    The inertia is its training cost, of the centres before the last step; its scaler divides by
    n − 1, which moves that by 2e-6 at 500,000 rows. No ``cache()``: KMeans then keeps the rows
    itself, in the form that its iterations need.
    """
    from pyspark.ml.clustering import KMeans
    from pyspark.ml.feature import StandardScaler, VectorAssembler
    from pyspark.sql import SparkSession

    builder = SparkSession.Builder().master("local[2]")
    builder = builder.config("spark.driver.memory", "8g").config("spark.ui.enabled", "false")
    # Without an address of its own Spark looks up the machine's name, which may have none.
    session = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
    frame = session.read.parquet(data)
    features = [name for name in frame.columns if name != "customer_id"]
    rows = VectorAssembler(inputCols=features, outputCol="raw").transform(frame)
    scaler = StandardScaler(inputCol="raw", outputCol="features", withMean=True, withStd=True)
    scaled = scaler.fit(rows).transform(rows).select("customer_id", "features")
    k = len(json.loads(Path(init).read_text()))
    model = KMeans(k=k, maxIter=iterations, tol=0.0, seed=0).fit(scaled)
    result = model.transform(scaled).select("customer_id", "prediction")
    result.write.mode("overwrite").parquet(out)
    facts = {"inertia": model.summary.trainingCost, "n_iter": model.summary.numIter}
    session.stop()
    print(json.dumps(facts))


def can_run_spark() -> bool:
    """Return whether pyspark and a Java are there; say what is missing."""
    there = {
        "pyspark (scripts/setup bench,spark)": find_spec("pyspark"),
        "Java 17 or newer": os.environ.get("JAVA_HOME") or shutil.which("java"),
    }
    missing = [name for name, module in there.items() if not module]
    if missing:
        print(f"spark is left out, for want of {' and of '.join(missing)}")
    return not missing


def initial_centers(data: Path, k: int) -> list[list[float]]:
    """Return k rows of the first file, standardised by that file: near enough to start from."""
    import pyarrow.parquet as pq
    from sklearn.preprocessing import StandardScaler

    frame = pq.read_table(sorted(data.glob("*.parquet"))[0]).drop(["customer_id"]).to_pandas()
    scaled = StandardScaler().fit_transform(frame.to_numpy("float32"))
    rows: list[list[float]] = scaled[:: len(scaled) // k][:k].tolist()
    return rows


def compare(arguments: argparse.Namespace) -> None:
    """Run all engines in turn and write the result."""
    from measure import interleaved, save, summary

    from gpuseg.synthetic.customers import write_customers

    folder = Path(arguments.folder)
    data = folder / f"customers-{arguments.rows}"
    if not data.exists():
        write_customers(data, rows=arguments.rows, features=16)
    init = folder / "init.json"
    init.write_text(json.dumps(initial_centers(data, arguments.clusters)))
    names = ["scikit-learn", "scikit-learn float32", "gpuseg local", "gpuseg dask"]
    if arguments.spark and can_run_spark():
        names.append("spark")
    commands = {
        name: [
            *(sys.executable, __file__, "--engine", name, "--data", str(data), "--init", str(init)),
            *("--folder", str(folder), "--iterations", str(arguments.iterations)),
        ]
        for name in names
    }
    runs = interleaved(commands, arguments.repeats)
    facts: dict[str, Any] = {name: json.loads(repeats[-1].output) for name, repeats in runs.items()}
    table = {name: {**summary(repeats), **facts[name]} for name, repeats in runs.items()}
    matrix_mb = arguments.rows * 16 * 4 / 1e6
    reference = table["scikit-learn"]
    for name, row in table.items():
        row["times_faster"] = round(reference["median_s"] / row["median_s"], 2)
        row["inertia_ratio"] = row["inertia"] / reference["inertia"]
        row["peak_limit_mb"] = round(3 * matrix_mb + 600)
        print(
            f"{name:<20} {row['median_s']:7.2f} s  ×{row['times_faster']:<5} "
            f"peak {row['peak_mb']:,} MB (limit {row['peak_limit_mb']:,})  "
            f"{row['n_iter']} iterations  inertia ÷ scikit-learn's {row['inertia_ratio']:.7f}"
        )
    case = {"rows": arguments.rows, "features": 16, "clusters": arguments.clusters,
            "repeats": arguments.repeats}  # fmt: skip
    name = "end_to_end_spark" if "spark" in table else "end_to_end"
    print(save(name, {"case": case, "engines": table}))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="500,000 rows")
    parser.add_argument("--spark", action="store_true", help="Spark's MLlib, too")
    parser.add_argument("--folder", default="out/benchmarks")
    parser.add_argument("--engine")
    parser.add_argument("--data")
    parser.add_argument("--init")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows = 500_000
    Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    common = (arguments.data, f"{arguments.folder}/result", arguments.init, arguments.iterations)
    if arguments.engine in ("scikit-learn", "scikit-learn float32"):
        dtype = "float32" if arguments.engine.endswith("float32") else "float64"
        scikit_learn(*(common[0], f"{common[1]}.parquet", *common[2:]), dtype)
    elif arguments.engine == "spark":
        spark(*(common[0], f"{common[1]}-spark", *common[2:]))
    elif arguments.engine:
        gpuseg(*common, cluster=arguments.engine.split()[1])
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
