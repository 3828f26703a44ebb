"""What several test files share: making customers, running jobs, calling the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpuseg
from gpuseg.cli.app import main
from gpuseg.io.parquet.dataset import Dataset, open_dataset
from gpuseg.io.parquet.shard_plan import ShardPlan, load_shard
from gpuseg.io.storage import Storage
from gpuseg.runtime.executor import TaskContext
from gpuseg.runtime.exit_codes import SIGNALS
from gpuseg.sharding.shard import Shard

FEATURES = ("recency", "orders", "spend")

ANY_PORT = "127.0.0.1:0"
"""Of a cluster's dashboard: None would be one certain port."""

THOROUGH = False
"""Whether all is to be tried: tests/conftest.py sets it, before test files are imported."""

ON_GPU = False
"""Whether kernels run on a GPU, not on the emulator; set likewise, also in processes of xdist."""

Array = npt.NDArray[Any]

BACKENDS = ("numpy", "numba", "cuda")
"""Parameters of the fixture `backend`, for tests that try a part of all combinations with them."""


def in_turn(*values: Collection[Any], step: int = 3) -> list[Any]:
    """Return combinations of values, one of each list: a part of them, or all if `THOROUGH`.

    The part is each combination whose places in the lists add up to a multiple of `step`; each
    value is in one of them, at least.
    """
    lists = [list(each) for each in values]
    places = [range(len(each)) for each in lists]
    chosen = [at for at in product(*places) if THOROUGH or sum(at) % step == 0]
    for i, every in enumerate(places):
        assert {at[i] for at in chosen} == set(every), f"list {i} is not tried whole"
    combinations = [tuple(each[i] for each, i in zip(lists, at, strict=True)) for at in chosen]
    return [pytest.param(*one, id="-".join(map(_name, one))) for one in combinations]


def _name(value: Any) -> str:
    return str(getattr(value, "__name__", value))


class Outcome(NamedTuple):
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def customers(rows: int = 600, blobs: int = 3, seed: int = 0, first_id: int = 0) -> pa.Table:
    """Customers around `blobs` well separated places, float64, with an int64 id."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(-20.0, 20.0, (blobs, len(FEATURES)))
    x = places[rng.integers(blobs, size=rows)] + rng.normal(size=(rows, len(FEATURES)))
    columns: dict[str, Array] = {"customer": np.arange(first_id, first_id + rows)}
    columns.update({name: x[:, f] for f, name in enumerate(FEATURES)})
    return pa.table(columns)


def write_files(folder: Path, tables: Iterable[pa.Table], row_group_size: int = 100) -> Path:
    """Write one file for each table, named so that their order is the tables'."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, table in enumerate(tables):
        pq.write_table(table, folder / f"in-{i:03d}.parquet", row_group_size=row_group_size)
    return folder


def cut(table: pa.Table, *sizes: int) -> list[pa.Table]:
    """Cut a table into consecutive pieces of these sizes; the last piece is the rest."""
    starts = np.cumsum([0, *sizes]).tolist()
    ends = [*starts[1:], table.num_rows]
    return [table.slice(a, b - a) for a, b in zip(starts, ends, strict=True)]


def opened(path: Path | str, *columns: str, **options: Any) -> Dataset:
    """Open a dataset as a job does; without columns, all that are numeric are features."""
    storage = Storage.from_url(str(path), {}, "input.path")
    return open_dataset(storage, columns or None, **options)


def load(data: Dataset, plan: ShardPlan, env: TaskContext) -> Shard:
    """Read a shard; the fixture `reader` puts others in the place of this function."""
    return load_shard(plan, env)


def loaded(data: Dataset, n_shards: int = 1, threads: int = 1, drop: bool = False) -> list[Shard]:
    """Read all shards of a dataset."""
    return [load(data, plan, TaskContext(threads)) for plan in data.plan_shards(n_shards, drop)]


def matrix(table: pa.Table, names: Sequence[str] = FEATURES) -> Array:
    """Return columns of a table as what a shard should hold."""
    return np.stack([table[name].to_numpy() for name in names], axis=1).astype(np.float32)


def job(source: Path | str, target: Path | str, **sections: dict[str, Any]) -> dict[str, Any]:
    """A job over `FEATURES` with id `customer` and three segments; `sections` change its keys."""
    base: dict[str, dict[str, Any]] = {
        "input": {"path": str(source), "id": "customer", "features": list(FEATURES)},
        "prepare": {},
        "segment": {"n_clusters": 3},
        "runtime": {},
        "output": {"path": str(target)},
    }
    merged = {name: {**keys, **sections.get(name, {})} for name, keys in base.items()}
    merged["input"] = {k: v for k, v in merged["input"].items() if v is not None}
    return merged


def run(source: Path | str, target: Path | str, **sections: dict[str, Any]) -> gpuseg.RunResult:
    """Run such a job in this process."""
    return gpuseg.run(job(source, target, **sections))


def read_parts(folder: Path) -> pa.Table:
    """Read the parts of an output in the order of their names."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*"))])


def manifest_of(folder: Path) -> dict[str, Any]:
    """Read the manifest of an output."""
    content: dict[str, Any] = json.loads((folder / "_manifest.json").read_text())
    return content


def bits(folder: Path) -> tuple[Any, ...]:
    """Return all of an output that must not depend on where and how it was computed."""
    manifest = manifest_of(folder)
    files = sorted((folder / "_model").glob("*.safetensors"))
    model = [(path.name, path.read_bytes()) for path in files]
    facts = (manifest["result"], manifest["segments"], manifest["input"]["fingerprint"]["content"])
    return read_parts(folder).to_pydict(), model, facts


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of everything below a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def leftovers(folder: Path) -> list[str]:
    """Return the names of staging folders in `folder`."""
    return sorted(path.name for path in folder.iterdir() if ".staging-" in path.name)


def toml(values: dict[str, Any]) -> str:
    """Return a job as TOML, for the few kinds of values that jobs have."""
    lines = []
    for section, content in values.items():
        for keys in content if isinstance(content, list) else [content]:
            lines.append(f"[[{section}]]" if isinstance(content, list) else f"[{section}]")
            lines += [f"{key} = {_toml_value(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{k}" = {_toml_value(v)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return f"'{value}'" if isinstance(value, str) else repr(value)


def call(capfd: pytest.CaptureFixture[str], *arguments: str | os.PathLike[str]) -> Outcome:
    """Call the command line in this process, as its entry point does."""
    before = sys.argv
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    capfd.readouterr()
    sys.argv = ["gpuseg", *map(os.fspath, arguments)]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    captured = capfd.readouterr()
    code = stop.value.code
    return Outcome(code if isinstance(code, int) else int(code is not None), *captured)


def shell(folder: Path, *arguments: str | os.PathLike[str]) -> Outcome:
    """Call the command line in a process of its own, with `folder` as its working directory."""
    command = [sys.executable, "-m", "gpuseg.cli", *map(os.fspath, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)
