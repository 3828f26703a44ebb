"""Where the seconds of a job go: by stage, and by cause.

A job of a table and a job of transactions run in processes of their own, in one process and on two
Dask workers; first with an empty cache of compiled kernels, then again. The causes are measured in
the main thread of the caller's process:

- import: importing modules;
- kernels: compiling kernels, and loading compiled ones; those that other threads load are waited
  for, and count as calls on the shards;
- shards: calls on the shards, by function: decoding, passes over rows, writing;
- rest: everything else of the stage.

    python benchmarks/job_profile.py                 1,000,000 × 16; 100,000 lines
    python benchmarks/job_profile.py --quick         100,000 × 16; 10,000 lines
"""

import argparse
import builtins
import functools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Causes:
    """Seconds of the present stage by cause, without those of causes inside a cause."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._open: list[str] = []
        self._since = time.perf_counter()

    def _count(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1] if self._open else "rest"] += now - self._since
        self._since = now

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the time of the block for a cause, in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def take(self) -> dict[str, float]:
        """Return the seconds since the last call."""
        self._count()
        seconds = {name: round(value, 3) for name, value in self.seconds.items() if value > 0.0005}
        self.seconds.clear()
        return seconds


def counted(causes: Causes, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, with its time counted for a cause."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with causes.of(name):
            return function(*args, **kwargs)

    return call


def count_shards(causes: Causes, kind: type) -> None:
    """Count the time of an executor's calls for the function that is called."""

    def method(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
            while isinstance(function, functools.partial):
                function = function.func
            with causes.of(f"shards: {function.__name__}"):
                return original(self, function, *args, **kwargs)

        return call

    for name in ("load", "map", "apply"):
        setattr(kind, name, method(getattr(kind, name)))


def profile(job: str) -> None:
    """Run a job in this process, and print its seconds by stage and cause as JSON."""
    causes, started = Causes(), time.perf_counter()
    builtins.__import__ = counted(causes, "import", builtins.__import__)
    from gpuseg.jobs.run import run
    from gpuseg.progress import Progress
    from gpuseg.runtime import executor

    stages = {"start of the process": causes.take()}
    count_shards(causes, executor.LocalExecutor)
    if '"dask"' in Path(job).read_text():
        from gpuseg.runtime.dask.executor import DaskExecutor

        count_shards(causes, DaskExecutor)
        stages["import of Dask"] = causes.take()

    class ByStage(Progress):
        @contextmanager
        def stage(self, name: str, total: int | None = None, unit: str = "rows") -> Iterator[Any]:
            between = causes.take()
            stages.setdefault("between stages", Counter()).update(between)  # type: ignore[attr-defined]
            with super().stage(name, total, unit) as stage:
                if "numba" in sys.modules:
                    count_kernels(causes)
                yield stage
            stages.setdefault(name, Counter()).update(causes.take())  # type: ignore[attr-defined]

    run(job, progress=ByStage())
    stages["end of the job"] = causes.take()
    print(json.dumps({"wall": round(time.perf_counter() - started, 3), "stages": stages}))


def count_kernels(causes: Causes) -> None:
    """Count compiling and loading kernels."""
    from numba.core.dispatcher import Dispatcher

    if not hasattr(Dispatcher.compile, "__wrapped__"):
        Dispatcher.compile = counted(causes, "kernels", Dispatcher.compile)


def write_jobs(folder: Path, rows: int, lines: int) -> dict[str, Path]:
    """Write the data and the job files; return the files by name."""
    from end_to_end import toml

    from gpuseg.synthetic.customers import write_customers
    from gpuseg.synthetic.transactions import write_transactions

    table, transactions = folder / f"customers-{rows}", folder / f"lines-{lines}"
    if not table.exists():
        write_customers(table, rows=rows, features=16)
    if not transactions.exists():
        write_transactions(transactions, lines=lines, customers=lines // 50)
    roles = {"customer": "customer_id", "time": "time", "quantity": "quantity", "price": "price",
             "order": "order_id", "product": "product"}  # fmt: skip
    inputs = {
        "table": {"input": {"path": str(table), "id": "customer_id"}},
        "transactions": {"transactions": {"path": str(transactions), **roles}},
    }
    files = {}
    for name, source in inputs.items():
        for cluster in ("local", "dask"):
            workers = {"n_workers": 2} if cluster == "dask" else {}
            file = folder / f"{name}-{cluster}.toml"
            sections = {
                **source,
                "segment": {"n_clusters": 8},
                "runtime": {"cluster": cluster, **workers},
                "output": {"path": str(folder / f"{name}-{cluster}"), "overwrite": True},
            }
            file.write_text(toml(sections))
            files[f"{name}, {cluster}"] = file
    return files


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", default="out/benchmarks")
    parser.add_argument("--profile", metavar="JOB.toml")
    arguments = parser.parse_args()
    if arguments.profile:
        profile(arguments.profile)
        return
    from measure import save

    folder = Path(arguments.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows, lines = (100_000, 10_000) if arguments.quick else (1_000_000, 100_000)
    results = {}
    for name, file in write_jobs(folder, rows, lines).items():
        cache = folder / "kernels"
        shutil.rmtree(cache, ignore_errors=True)
        for state in ("kernels compiled", "kernels loaded"):
            done = subprocess.run(
                [sys.executable, __file__, "--profile", str(file)],
                env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            result = results[f"{name}, {state}"] = json.loads(done.stdout)
            print(f"\n{name}, {state}: {result['wall']} s")
            for stage, seconds in result["stages"].items():
                causes = ", ".join(f"{cause} {s:.3f}" for cause, s in sorted(seconds.items()))
                print(f"  {stage:<22} {sum(seconds.values()):7.3f}   {causes}")
    case = {"rows": rows, "features": 16, "lines": lines, "clusters": 8}
    print(save("job_profile", {"case": case, "jobs": results}))


if __name__ == "__main__":
    main()
