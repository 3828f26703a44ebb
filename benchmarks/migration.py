"""Customers of two outputs joined by id: 5 and 50 million in each, ids that rise and shuffled ones.

Each output has parts as a job writes them: ids, segments, distances. A tenth of the customers has
another segment in the newer one, 3 in 100 left, and as many came. `seconds` and the peak of memory
are of whole processes, imports included; `join` is only the join.

    python benchmarks/migration.py                   5 and 50 million
    python benchmarks/migration.py --quick           5 million
    python benchmarks/migration.py --threads 2       on two threads

Writes migration.json to benchmarks/results.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from measure import measure, save

QUICK, ALL = (5_000_000,), (5_000_000, 50_000_000)
PART_ROWS, GROUP_ROWS = 1_048_576, 131_072
ORDERS = ("rising", "shuffled")


def write(folder: str, rows: int, order: str, which: str) -> None:
    """Write an output; rows are shuffled by a multiplication, so that none are held in memory."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gpuseg.numerics.hashing import splitmix64

    Path(folder).mkdir()
    first = 0 if which == "older" else rows * 3 // 100
    odd = 2_654_435_761 if which == "older" else 2_246_822_519
    for part, start in enumerate(range(0, rows, PART_ROWS)):
        place = np.arange(start, min(start + PART_ROWS, rows), dtype=np.int64)
        if order == "shuffled":
            place = place * odd % rows
        ids = first + place
        draws = splitmix64(ids.astype(np.uint64))
        segments = draws % np.uint64(12)
        if which == "newer":
            segments = np.where(draws >> np.uint64(32) < 2**32 // 10, segments // 2, segments)
        columns = {"customer_id": ids * 7 + 10**9, "segment": segments.astype(np.int32)}
        columns["distance"] = (draws >> np.uint64(11)) * 2.0**-53
        pq.write_table(
            pa.table(columns),
            f"{folder}/part-{part:05d}.parquet",
            row_group_size=GROUP_ROWS,
            use_dictionary=["segment"],
        )


def join(older: str, newer: str, target: str, threads: int) -> None:
    """Join two outputs; print seconds, processor seconds and counts."""
    from gpuseg.io.output.base import Staging
    from gpuseg.io.storage import Storage
    from gpuseg.lineage.labeled_parts import LabeledParts
    from gpuseg.lineage.migration import join_segments
    from gpuseg.runtime.executor import TaskContext

    def parts(folder: str) -> LabeledParts:
        paths = tuple(str(path) for path in sorted(Path(folder).glob("*.parquet")))
        return LabeledParts(Storage.from_url(folder, {}, "path"), paths, "customer_id")

    staging = Staging(Storage.from_url(target, {}, "path"), target, "")
    started, used = time.perf_counter(), time.process_time()
    joined = join_segments(parts(older), parts(newer), staging, TaskContext(threads))
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    if joined.migration is None:
        raise RuntimeError(joined.no_migration)
    counts = joined.migration.model_dump(exclude={"cells", "column"})
    print(json.dumps({"join": round(seconds, 2), "processor": round(processor, 2), **counts}))


def main() -> None:
    """Measure each number of customers in each order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    for rows in QUICK if options.quick else ALL:
        for order in ORDERS:
            with TemporaryDirectory() as folder:
                outputs = [f"{folder}/{which}" for which in ("older", "newer")]
                for which, path in zip(("older", "newer"), outputs, strict=True):
                    _call("write", path, str(rows), order, which)
                done = _call("join", *outputs, f"{folder}/target", str(options.threads))
                peak = round(done.peak_bytes / 1e6)
                results.append({
                    "rows": rows, "order": order, "threads": options.threads,
                    "seconds": round(done.seconds, 2), "peak_mb": peak, **json.loads(done.output),
                })  # fmt: skip
                print(results[-1], flush=True)
    counts = {(r["rows"], r["stayed"], r["moved"], r["came"], r["left"]) for r in results}
    if len(counts) != len({r["rows"] for r in results}):
        raise RuntimeError("the orders of the rows give other counts")
    save("migration", {"runs": results})


def _call(*arguments: str) -> Any:
    return measure([sys.executable, __file__, *arguments])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", folder, rows, order, which]:
            write(folder, int(rows), order, which)
        case ["join", older, newer, target, threads]:
            join(older, newer, target, int(threads))
        case _:
            main()
