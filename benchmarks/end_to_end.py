"""Parquet to Parquet: gpuseg's command against the scripts that people write.

All read the same files, standardize, run k-means from the same initial centers for the same number
of iterations, and write id and segment. gpuseg also describes the segments and compares the ids.
Whole processes are timed, imports included, in turn, after a warm-up.

    python benchmarks/end_to_end.py                  5,000,000 × 16, k = 8, 20 iterations
    python benchmarks/end_to_end.py --quick          500,000 × 16
    python benchmarks/end_to_end.py --spark          Spark's MLlib, too: scripts/setup bench,spark
    python benchmarks/end_to_end.py --rows 50_000_000 --memory-limit 1GiB --repeats 1 \\
        --engines "gpuseg dask"                      more rows than the workers may hold
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CLUSTERS = {"gpuseg local": "local", "gpuseg dask": "dask"}
SCRIPTS = ("scikit-learn", "scikit-learn polars")
"""Engines; the first script is the reference."""


def script(read: Callable[[str], Any], data: str, out: str, init: str, iterations: int) -> None:
    """Do what an experienced user would write: all in float32, without copies, with pyarrow.

    scikit-learn then sums in float32, and its inertia is off in the fourth digit.
    """
    seconds, started = {}, time.perf_counter()

    def end_stage(name: str) -> None:
        nonlocal started
        seconds[name], started = round(time.perf_counter() - started, 3), time.perf_counter()

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    end_stage("import")
    ids, x = read(data)
    end_stage("read")
    scaler = StandardScaler(copy=False)
    x = scaler.fit_transform(x)
    end_stage("scale")
    centers = scaler.transform(np.array(json.loads(Path(init).read_text()), np.float32))
    model = KMeans(
        len(centers), init=centers, n_init=1, max_iter=iterations, tol=0, copy_x=False
    ).fit(x)
    end_stage("fit")
    pq.write_table(pa.table({"customer_id": ids, "segment": model.labels_}), out)
    end_stage("write")
    facts = {"inertia": float(model.inertia_), "n_iter": int(model.n_iter_), "seconds": seconds}
    print(json.dumps(facts))


def read_by_pyarrow(data: str) -> Any:
    """Return ids and float32 rows."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(data)
    ids = table["customer_id"]
    table = table.drop_columns("customer_id")
    return ids, np.column_stack([column.to_numpy().astype(np.float32) for column in table.columns])


def read_by_polars(data: str) -> Any:
    """Return ids and float32 rows."""
    import polars as pl

    frame = pl.read_parquet(data)
    x = frame.drop("customer_id").cast(pl.Float32).to_numpy(writable=True)
    return frame["customer_id"].to_arrow(), x


def toml(sections: dict[str, dict[str, Any]]) -> str:
    """Return a job file."""
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for section, keys in sections.items()
    )


def job(name: str, data: Path, init: Path, out: Path, arguments: argparse.Namespace) -> list[str]:
    """Write the job file of an engine of gpuseg; return its command."""
    centers = json.loads(init.read_text())
    runtime = {"cluster": CLUSTERS[name]}
    if CLUSTERS[name] == "dask":
        runtime["n_workers"] = 2
    if arguments.memory_limit:
        runtime["memory_limit"] = arguments.memory_limit
    sections = {
        "input": {"path": str(data), "id": "customer_id"},
        "segment": {
            "n_clusters": len(centers), "init": centers,
            "max_iter": arguments.iterations, "tol": 0.0,
        },
        "runtime": runtime,
        "output": {"path": str(out), "overwrite": True},
    }  # fmt: skip
    file = out.with_suffix(".toml")
    file.write_text(toml(sections))
    return [sys.executable, "-m", "gpuseg.cli", "run", str(file), "--json"]


def spark(data: str, out: str, init: str, iterations: int) -> None:
    """Do the same with Spark's MLlib, on two threads of this machine.

    Its KMeans takes no initial centers: it seeds by k-means||, and may end in another optimum.
    The inertia is its training cost, of the centers before the last step; its scaler divides by
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
    """Return k rows of the first file; each engine standardizes them as all others."""
    import pyarrow.parquet as pq

    frame = pq.read_table(sorted(data.glob("*.parquet"))[0]).drop(["customer_id"]).to_pandas()
    rows: list[list[float]] = frame.to_numpy("float32")[:: len(frame) // k][:k].tolist()
    return rows


def commands(data: Path, init: Path, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return the command of each engine that is compared."""
    names = arguments.engines or [*SCRIPTS, *CLUSTERS]
    if arguments.spark and can_run_spark():
        names.append("spark")
    folder = Path(arguments.folder)
    return {
        name: job(name, data, init, folder / f"segments-{CLUSTERS[name]}", arguments)
        if name in CLUSTERS
        else [
            *(sys.executable, __file__, "--engine", name, "--data", str(data), "--init", str(init)),
            *("--folder", str(folder), "--iterations", str(arguments.iterations)),
        ]
        for name in names
    }


def facts_of(output: str, wall: float) -> dict[str, Any]:
    """Return inertia, iterations and seconds by stage from an engine's output."""
    printed = json.loads(output)
    facts = printed.get("result", printed)  # gpuseg prints its manifest
    stages = {name: s for name, s in printed.get("seconds", {}).items() if name != "total"}
    if stages:
        stages["publish, start and end"] = round(wall - sum(stages.values()), 3)
    return {"inertia": facts["inertia"], "n_iter": facts["n_iter"], "seconds": stages}


def make_inputs(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Return the folder of the customers and the file of the initial centers; make them."""
    from gpuseg.synthetic.customers import write_customers

    folder = Path(arguments.folder)
    data = folder / f"customers-{arguments.rows}"
    if not data.exists():
        write_customers(data, rows=arguments.rows, features=16)
    init = folder / "init.json"
    init.write_text(json.dumps(initial_centers(data, arguments.clusters)))
    return data, init


def compare(arguments: argparse.Namespace) -> None:
    """Run all engines in turn and write the result."""
    from measure import interleaved, save, summary

    data, init = make_inputs(arguments)
    runs = interleaved(commands(data, init, arguments), arguments.repeats)
    table = {}
    for name, repeats in runs.items():
        middle = sorted(repeats, key=lambda run: run.seconds)[len(repeats) // 2]
        table[name] = {**summary(repeats), **facts_of(middle.output, middle.seconds)}
    reference = table[next(iter(table))]
    exact = next((row for name, row in table.items() if name in CLUSTERS), reference)
    for name, row in table.items():
        row["times_faster"] = round(reference["median_s"] / row["median_s"], 2)
        row["inertia_ratio"] = row["inertia"] / exact["inertia"]
        row["seconds_per_million_rows"] = round(row["median_s"] / arguments.rows * 1e6, 3)
        print(
            f"{name:<20} {row['median_s']:7.2f} s  ×{row['times_faster']:<5} "
            f"peak {row['peak_mb']:,} MB  {row['n_iter']} iterations  "
            f"inertia ÷ gpuseg's {row['inertia_ratio']:.7f}  "
            + "  ".join(f"{stage} {seconds}" for stage, seconds in row["seconds"].items())
        )
    case = {"rows": arguments.rows, "features": 16, "clusters": arguments.clusters,
            "repeats": arguments.repeats, "memory_limit": arguments.memory_limit}  # fmt: skip
    name = arguments.result or ("end_to_end_spark" if "spark" in table else "end_to_end")
    print(save(name, {"case": case, "engines": table}))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="500,000 rows")
    parser.add_argument("--spark", action="store_true", help="Spark's MLlib, too")
    parser.add_argument("--engines", nargs="+", help="only these; the first is the reference")
    parser.add_argument("--memory-limit", help="of each worker of gpuseg")
    parser.add_argument("--result", help="name of the file below results/")
    parser.add_argument("--folder", default="out/benchmarks")
    parser.add_argument("--engine")
    parser.add_argument("--data")
    parser.add_argument("--init")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows = 500_000
    Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    common = (arguments.data, f"{arguments.folder}/result", arguments.init, arguments.iterations)
    if arguments.engine in SCRIPTS:
        read = read_by_polars if arguments.engine.endswith("polars") else read_by_pyarrow
        script(read, common[0], f"{common[1]}.parquet", *common[2:])
    elif arguments.engine == "spark":
        spark(*(common[0], f"{common[1]}-spark", *common[2:]))
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
