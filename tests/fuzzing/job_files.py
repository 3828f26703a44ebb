"""Mutated job files: they are planned as `--dry-run` does, and a few of them run."""

import contextlib
import io
import random
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.helpers import customers, toml

import gpuseg
from fuzzing.mutations import HOSTILE_NUMBERS, HOSTILE_TEXTS, mutated_bytes, mutated_tree
from gpuseg.cli import jobs
from gpuseg.errors import ConfigError, GpusegError
from gpuseg.jobs.job import JobSpec

INPUT = {"path": "../shared/customers", "id": "customer"}
LINES = {"path": "../shared/lines.parquet", "customer": "who", "time": "at", "amount": "paid"}
OUTPUT = {"path": "out"}
LOCAL = {"threads_per_worker": 1}

JOBS: list[dict[str, Any]] = [
    {
        "input": INPUT,
        "prepare": {
            "missing": "median", "clip": [0.01, 0.99], "transform": {"spend": "log1p"},
            "scale": "robust", "pca": 2, "missing_indicator": True, "duplicates": "first",
        },
        "segment": {
            "n_clusters": 3, "n_init": 2, "max_iter": 20, "tol": 0.001, "random_state": 7,
            "init": "random", "metric": "cosine",
        },
        "runtime": {"cluster": "local", "memory_limit": "2GiB", **LOCAL},
        "output": {**OUTPUT, "overwrite": True, "plots": True, "confidence": True},
    },
    {
        "input": {**INPUT, "features": ["recency", "spend"], "weight": "orders"},
        "segment": {"n_clusters": 2, "init": [[0.0, 1.0], [2, 3]]},
        "output": OUTPUT,
    },
    {
        "input": {**INPUT, "features": ["recency", "spend"]},
        "segment": {"n_clusters": [2, 4]},
        "audit": {"columns": ["orders"], "threshold": 5},
        "output": OUTPUT,
    },
    {"input": INPUT, "segment": {"n_clusters": "auto", "max_clusters": 5}, "output": OUTPUT},
    {
        "input": {**INPUT, "storage_options": {"auto_mkdir": True}},
        "prepare": {
            "categorical": {"plan": "onehot"}, "max_categories": 5, "drop_near_constant": True,
            "drop_correlated": 0.9, "transform": "yeo-johnson",
        },
        "segment": {"algorithm": "dbscan", "eps": 0.5, "min_samples": 4, "max_pairs": 1e9},
        "output": OUTPUT,
    },
    {"input": INPUT, "segment": {"algorithm": "dbscan", "eps": "auto"}, "output": OUTPUT},
    {
        "input": INPUT,
        "segment": {
            "algorithm": "hierarchical", "levels": [2, 4], "micro_segments": 20, "max_iter": 3,
        },
        "runtime": {"n_workers": 2, "backend": "numpy", "reader": "arrow", **LOCAL},
        "output": OUTPUT,
    },
    {
        "transactions": {**LINES, "snapshot": "2026-03-01", "features": ["orders", "spend"]},
        "join": [{"path": "../shared/attributes.parquet", "id": "who", "columns": ["age"]}],
        "prepare": {"missing": "zero"},
        "segment": {"n_clusters": 2},
        "output": OUTPUT,
    },
]  # fmt: skip
"""A valid job of each kind."""

TOKENS = (
    "9" * 5000, "-" + "9" * 5000, "[" * 2000, "{a=" * 2000, "0x" + "f" * 5000, "1e999", "nan",
    "-inf",
    "1979-05-27T07:32:00Z", "1979-05-27", "07:32:00", '"\\u0000"', '"\\u001b[31m"', '"\\u202e"',
    "true", "''", "[[join]]", "[segment]", "a.b.c.d.e.f = 1", '"""', "# \x1b[31m", "[]", "{}",
    "a." * 3000 + "a = 1", "[" + "a." * 3000 + "a]", "'http://127.0.0.1:9/x.parquet'",
)  # fmt: skip
"""What text mutations insert, or put in the place of a value."""

PATHS = (
    "http://127.0.0.1:9/x.parquet", "http://127.0.0.1:9/folder/", "https://user:pass@127.0.0.1:9/x",
    "nosuch://bucket/x", "://", "file://", "file:///etc/passwd", "~nosuchuser/x", "~", ".", "..",
    "a" * 5000, "a/" * 3000, "memory://x", "memory://", "zip://x::file.zip", "zip://", "data:,x",
    "simplecache::http://127.0.0.1:9/x", "cached::x", "out::2024", "::", "x" * 256,
    "ftp://127.0.0.1:9/",
    "reference://", "local://x", "/proc/self/mem", "/dev/null", "\0", "\ud800", "/\udcff",
)  # fmt: skip

KEYS = tuple(
    f"{section}.{key}"
    for job in JOBS
    for section, keys in job.items()
    if isinstance(keys, dict)
    for key in keys
)
"""Keys that overrides set."""

_REFUSED_SECONDS = 1.0
"""How long it may take to refuse a job, or to plan it, in seconds of this process' processors."""

_RUN_SHARE = 0.01
"""Share of the cases that run, where they can be planned."""

_SAFE = ("output.path='out'", "runtime.cluster=local", "runtime.threads_per_worker=1")
"""Overrides of a run, whose output could land in a folder of the user otherwise."""

_LINE = 3600
"""Most characters of a line of a message."""


class JobFiles:
    """Draws a job from a valid one: another tree of values, other text, or overrides."""

    seconds = 60.0

    def prepare(self, folder: Path) -> None:
        """Write customers, lines and attributes."""
        rng = np.random.default_rng(0)
        table = customers(300)
        plans = pa.array(rng.choice(["basic", "plus", "pro"], 300))
        (folder / "customers").mkdir()
        pq.write_table(table.append_column("plan", plans), folder / "customers" / "a.parquet")
        who = rng.integers(60, size=500)
        times = np.datetime64("2026-01-01", "us") + rng.integers(5 * 10**12, size=500)
        lines = {"who": who, "at": times, "paid": rng.exponential(10, 500)}
        pq.write_table(pa.table(lines), folder / "lines.parquet")
        ages = {"who": np.arange(60), "age": rng.integers(18, 90, 60).astype(float)}
        pq.write_table(pa.table(ages), folder / "attributes.parquet")

    def try_case(self, draw: random.Random, folder: Path) -> None:
        """Plan a drawn job, and perhaps run it; check the message of an error."""
        job, overrides = _drawn(draw, folder)
        with contextlib.chdir(folder), patch.dict("os.environ", HOME=str(folder)):
            before = sorted(folder.rglob("*"))
            start = time.process_time()
            try:
                _plan(job, overrides)
            except GpusegError as error:
                _check_message(error)
                raise
            finally:
                seconds = time.process_time() - start
                assert seconds < _REFUSED_SECONDS, f"planned for {seconds:.1f} s"
                assert sorted(folder.rglob("*")) == before, "a dry run wrote files"
            if draw.random() < _RUN_SHARE:
                safe = [
                    "output.path='out'",
                    "runtime.cluster=local",
                    "runtime.threads_per_worker=1",
                ]
                gpuseg.run(job, overrides=[*overrides, *safe])


def fuzzer() -> JobFiles:
    """Return the fuzzer."""
    return JobFiles()


def _drawn(draw: random.Random, folder: Path) -> tuple[Path | Mapping[str, Any], list[str]]:
    """Return a job, or a file with one, and overrides."""
    job = draw.choice(JOBS)
    overrides = [_override(draw) for _ in range(draw.choice((0, 0, 0, 1, 2)))]
    kind = draw.randrange(4)
    if kind == 0:
        for _ in range(draw.randint(1, 3)):
            job = mutated_tree(draw, job)
        return (job if isinstance(job, dict) else {"input": job}), overrides
    if kind == 1:
        section = draw.choice([name for name in job if isinstance(job[name], dict)])
        keys = {**job[section], draw.choice(list(job[section])): _hostile(draw)}
        return {**job, section: keys}, overrides
    text = toml(job).encode()
    if kind == 2:
        text = mutated_bytes(draw, text)
    else:
        text = _with_token(draw, text.decode()).encode()
    path = folder / "job.toml"
    path.write_bytes(text)
    return path, overrides


def _hostile(draw: random.Random) -> Any:
    return draw.choice(
        draw.choice((HOSTILE_NUMBERS, HOSTILE_TEXTS, PATHS, (10**5000, {}, [], [[]])))
    )


def _with_token(draw: random.Random, text: str) -> str:
    """Return the text with a token in the place of a value, or inserted as a line."""
    lines = text.splitlines()
    index = draw.randrange(len(lines))
    key, sign, _ = lines[index].partition(" = ")
    token = draw.choice(TOKENS)
    if sign and draw.random() < 0.8:
        lines[index] = f"{key} = {token}"
    else:
        lines.insert(index, token)
    return "\n".join(lines)


def _override(draw: random.Random) -> str:
    key = draw.choice([*KEYS, "input", "a.b", "", ".", "segment.", "input.storage_options.a.b.c"])
    value = draw.choice((*TOKENS, *HOSTILE_TEXTS, *map(repr, HOSTILE_NUMBERS), *PATHS))
    return draw.choice((f"{key}={value}", f"{key}={value}", f"{key}={value!r}", f"{key}", value))


def _plan(job: Any, overrides: list[str]) -> None:
    """Print the plan as a user sees it, and as JSON."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(shown):
        jobs._dry_run(job, overrides, as_json=True)
        jobs._dry_run(job, overrides, as_json=False)
    shown.seek(0)
    assert all(line.isprintable() for line in shown.read().splitlines()[-4:])


def _check_message(error: GpusegError) -> None:
    lines = str(error).splitlines()
    assert all(line.isprintable() for line in lines), "the message would command a terminal"
    assert len(lines) <= 21 and max(map(len, lines)) < _LINE, "the message is long"
    for part in error.parts:
        if isinstance(part, ConfigError) and not part.code.startswith(("job_file.", "override.")):
            assert _names_key(part), f"no key is named: {part}"


def _names_key(error: GpusegError) -> bool:
    """Return whether a message names a key of a job, or a key at the top that no job has."""
    name = error.names.get(error.parameter or "", error.parameter or "")
    if error.code in ("job.unknown_key", "job.nested_too_deeply", "job.not_a_key"):
        return bool(name) or error.has_value
    return re.split(r"[.\[]", name)[0] in JobSpec.model_fields
