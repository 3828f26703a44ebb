"""The reader of a job, and why it was chosen; the output is the same with either.

cuDF is not imported unless rows would stay on a GPU.
"""

from __future__ import annotations

import importlib.abc
import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client
from emulator.build import unavailable
from emulator.strict_arrays import StrictLauncher
from support.cudf_on_host import CudfStandIn, install
from support.errors import raises
from support.helpers import (
    ANY_PORT,
    THOROUGH,
    bits,
    call,
    customers,
    cut,
    job,
    opened,
    toml,
    write_files,
)

import gpuseg
from gpuseg.backends import registry
from gpuseg.errors import ConfigError, GpusegError, ResourceError
from gpuseg.io.parquet.cudf_reader import load_on_gpu
from gpuseg.io.parquet.shard_plan import load_shard
from gpuseg.jobs.memory_plan import MemoryPlan
from gpuseg.runtime.dask import worker
from gpuseg.runtime.dask.executor import DaskExecutor
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding.device_shard import is_on_device

CITIES = ("Bern", "Gent", "Köln")

K: dict[str, dict[str, Any]] = {"segment": {"n_clusters": 4, "max_iter": 20}}

JOBS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": K,
    "weights, cosine": {"input": {"weight": "w"}, "segment": {"n_clusters": 3, "metric": "cosine"}},
    "dropped, repeated ids": {
        "input": {"id": "twice", "features": ["orders", "holed"]},
        "prepare": {"missing": "drop", "duplicates": "first"}, **K,
    },
    "categories, gaps": {
        "input": {"features": ["orders", "holed", "dec"]},
        "prepare": {
            "categorical": {"city": "onehot"}, "missing": "median", "missing_indicator": True,
            "scale": "robust", "drop_near_constant": True,
        }, **K,
    },
    "hierarchical, pca": {
        "prepare": {"pca": 2, "transform": "yeo-johnson"},
        "segment": {"algorithm": "hierarchical", "levels": [2, 4], "micro_segments": 12},
    },
    "sweep, confidence": {"segment": {"n_clusters": [2, 4]}, "output": {"confidence": True}},
    "auto": {"segment": {"n_clusters": "auto", "max_clusters": 4}},
}  # fmt: skip

OF_ALL_PASSES = (
    "weights, cosine", "dropped, repeated ids", "categories, gaps", "hierarchical, pca"
)  # fmt: skip
"""Jobs that together have all that is read and prepared on a GPU; the others differ in fits."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """900 customers with holes, weights and cities; some of them twice."""
    rng, rows = np.random.default_rng(2), 900
    table = customers(rows, 4, seed=3)
    more = {
        "w": rng.integers(0, 4, rows) * 0.75,
        "holed": pa.array(np.exp(rng.normal(size=rows)), mask=rng.random(rows) < 0.1),
        "twice": np.arange(rows) % 890,
        "city": pa.array(np.array(CITIES)[rng.integers(0, 3, rows)]),
        "dec": pa.array([Decimal(i % 7) for i in range(rows)], pa.decimal128(9, 2)),
    }
    for name, values in more.items():
        table = table.append_column(name, pa.array(values))
    return write_files(tmp_path_factory.mktemp("shop") / "in", cut(table, 300), 200)


@pytest.fixture
def cudf(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[StrictLauncher, CudfStandIn]]:
    """The GPU and the cuDF of the tests."""
    if reason := unavailable():
        pytest.skip(reason)
    yield install(monkeypatch)
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()


def job_of(source: Path | str, target: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """Return a job of four segments, or of another algorithm."""
    base = job(source, target, **{**K, **sections})
    if "algorithm" in base["segment"]:
        base["segment"] = sections["segment"]
    return base


# The same output.


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS if THOROUGH else OF_ALL_PASSES)
def test_a_job_writes_what_it_writes_without_a_gpu(
    request: pytest.FixtureRequest, shop: Path, tmp_path: Path, name: str
) -> None:
    plain = gpuseg.run(job_of(shop, tmp_path / "plain", **JOBS[name])).manifest
    launcher, stand_in = request.getfixturevalue("cudf")
    there = gpuseg.run(job_of(shop, tmp_path / "there", **JOBS[name])).manifest
    assert stand_in.asked
    launched = {kernel for kernel, _ in launcher._modules}
    assert launched >= {"decode_column", "digest", "summarize", "prepare"}
    assert there["backend"]["name"] == "cuda"
    assert bits(tmp_path / "there") == bits(tmp_path / "plain")
    for key in ("warnings", "features", "segments", "profile"):
        assert there[key] == plain[key]
    by_arrow = {
        "dec": "decimal128(9, 2), which cuDF does not round as Arrow does", "city": "a category",
    }  # fmt: skip
    reason = "auto: rows are decoded on the GPU, and stay there"
    beside = {"by_arrow": by_arrow} if name == "categories, gaps" else {}
    assert there["reader"] == {"name": "cudf", "reason": reason, **beside}
    report = (tmp_path / "there" / "_report.html").read_text()
    assert reason in report
    assert ("city by Arrow: a category" in report) == bool(beside)


def test_a_lost_shard_is_read_again_by_the_same_reader(
    cudf: tuple[StrictLauncher, CudfStandIn], shop: Path
) -> None:
    plans = opened(shop, "orders", "spend", weight="w").plan_shards(2, False)
    expected = [
        columns.digest(load_shard(plan, TaskContext()), TaskContext(), "numba") for plan in plans
    ]
    with Client(processes=False, n_workers=2, dashboard_address=ANY_PORT) as client:
        executor = DaskExecutor(client, "dask", None, lambda rows: None)
        executor.load(partial(load_on_gpu, by_arrow=(), must=True), plans)
        assert executor.map(columns.digest, "cuda") == expected
        read = len(cudf[1].asked)
        assert read == sum(len(plan.groups()) for plan in plans)
        worker._SHARDS.clear()
        assert executor.map(is_on_device) == [True, True]
        assert len(cudf[1].asked) == 2 * read
        assert executor.map(columns.digest, "cuda") == expected
        executor.close()


# The choice.


def reader_of(source: Path | str, target: Path, **sections: dict[str, Any]) -> tuple[str, str]:
    reader = gpuseg.run(job_of(source, target, **sections)).manifest["reader"]
    return reader["name"], reader["reason"]


REASONS: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "a CPU": (
        {"runtime": {"backend": "numba"}},
        "auto: cuDF reads into the memory of a GPU, and the backend is 'numba'",
    ),
    "requested": ({"runtime": {"reader": "arrow"}}, "requested"),
    "DBSCAN": (
        {"segment": {"algorithm": "dbscan", "eps": 0.5}},
        "auto: DBSCAN needs the rows in the memory of the host",
    ),
    "no number": (
        {"input": {"features": ["dec"]}, "prepare": {"missing": "mean"}},
        "auto: there is no column that cuDF would decode ('dec': decimal128(9, 2), which cuDF does "
        "not round as Arrow does)",
    ),
    "a cluster": (
        {"runtime": {"backend": "cuda", "cluster": "dask", "n_workers": 1}},
        "auto: the workers of cluster = 'dask' may not have a GPU each; set runtime.reader = "
        "'cudf' if they do",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a CPU", "requested", "no number"])
def test_reasons_for_arrow(
    cudf: tuple[StrictLauncher, CudfStandIn], shop: Path, tmp_path: Path, name: str
) -> None:
    sections, reason = REASONS[name]
    assert reader_of(shop, tmp_path / "out", **sections) == ("arrow", reason)
    assert not cudf[1].asked


def test_reasons_before_a_run(
    cudf: tuple[StrictLauncher, CudfStandIn], shop: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "job.toml"
    file.write_text(toml(job_of(shop, tmp_path / "out")))
    line = "reader       cudf (auto: rows are decoded on the GPU, and stay there)\n"
    assert line in call(capfd, "run", file, "--dry-run").out
    for sections, reason in REASONS.values():
        file.write_text(toml(job_of(shop, tmp_path / "out", **sections)))
        assert f"reader       arrow ({reason})\n" in call(capfd, "run", file, "--dry-run").out
        planned = json.loads(call(capfd, "run", file, "--dry-run", "--json").out)
        assert planned["reader"] == {"name": "arrow", "reason": reason}
    assert not cudf[1].asked


@pytest.mark.slow
def test_rows_that_are_spilled_or_elsewhere_or_too_many(
    cudf: tuple[StrictLauncher, CudfStandIn],
    shop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launcher, stand_in = cudf
    fs = fsspec.filesystem("memory")
    with fs.open("/gpuseg-readers/in.parquet", "wb") as file:
        pq.write_table(customers(60), file)
    try:
        chosen = reader_of("memory://gpuseg-readers", tmp_path / "elsewhere")
    finally:
        fs.rm("/gpuseg-readers", recursive=True)
    reason = "auto: the files are not on a disk of this machine (memory://gpuseg-readers)"
    assert chosen == ("arrow", reason)
    with monkeypatch.context() as patch:
        plan = MemoryPlan("spilled", "the test needs it", 2**30, 0, 1)
        patch.setattr("gpuseg.jobs.plan.plan_memory", lambda *_: plan)
        chosen = reader_of(shop, tmp_path / "spilled")
    assert chosen == (
        "arrow",
        "auto: the rows do not fit in memory, and are read from disk a block at a time",
    )
    launcher.free = 900 * 60
    chosen = reader_of(shop, tmp_path / "many")
    assert chosen == ("arrow", "auto: the GPU has no room for the rows and one more row group")
    assert not stand_in.asked


@pytest.mark.parametrize(
    ("error", "sections", "code"),
    [
        (ConfigError, {"runtime": {"backend": "numba"}}, "reader.backend_on_cpu"),
        (ConfigError, REASONS["DBSCAN"][0], "reader.algorithm_on_host"),
        (ConfigError, REASONS["no number"][0], "reader.no_column"),
        (ConfigError, {"input": {"path": "memory://gpuseg-required"}}, "reader.files_not_local"),
        (ResourceError, {"runtime": {"memory_limit": "1GiB"}}, "reader.rows_on_disk"),
        (ResourceError, {}, ""),  # the GPU has no room for the rows
    ],
)
def test_cudf_is_required_and_cannot_read(
    cudf: tuple[StrictLauncher, CudfStandIn], shop: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, error: type[GpusegError], sections: dict[str, dict[str, Any]],
    code: str,
) -> None:  # fmt: skip
    cudf[0].free = 900 * 60
    with fsspec.filesystem("memory").open("/gpuseg-required/in.parquet", "wb") as file:
        pq.write_table(customers(60), file)
    if "memory_limit" in sections.get("runtime", {}):
        plan = MemoryPlan("spilled", "the test needs it", 2**30, 0, 1)
        monkeypatch.setattr("gpuseg.jobs.plan.plan_memory", lambda *_: plan)
    runtime = {"reader": "cudf", **sections.get("runtime", {})}
    with pytest.raises(error) as caught:
        gpuseg.run(job_of(shop, tmp_path / "out", **{**sections, "runtime": runtime}))
    assert caught.value.code == code or not code
    assert "reader = 'cudf'" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not cudf[1].asked
    fsspec.filesystem("memory").rm("/gpuseg-required", recursive=True)


def test_cudf_is_required(
    cudf: tuple[StrictLauncher, CudfStandIn],
    shop: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "job.toml"
    file.write_text(toml(job_of(shop, tmp_path / "out", runtime={"reader": "cudf"})))
    outcome = call(capfd, "run", file, "--json")
    assert json.loads(outcome.out)["reader"] == {"name": "cudf", "reason": "requested"}
    assert "note: rows were read by cudf: requested" in outcome.err
    assert cudf[1].asked


# Never by accident.


class Forbidden(importlib.abc.MetaPathFinder):
    """Fail on every import of cuDF."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        assert name.partition(".")[0] not in ("cudf", "pylibcudf", "rmm"), f"{name} is imported"


@pytest.mark.slow
def test_without_a_gpu_cudf_is_not_imported(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [Forbidden(), *sys.meta_path])
    with pytest.raises(AssertionError, match="pylibcudf is imported"):
        import pylibcudf  # noqa: F401
    for backend in ("auto", "numba", "numpy"):
        chosen = reader_of(shop, tmp_path / backend, runtime={"backend": backend})
        name = "numba" if backend == "auto" else backend
        assert chosen == (
            "arrow", f"auto: cuDF reads into the memory of a GPU, and the backend is '{name}'",
        )  # fmt: skip
    with raises("reader.backend_not_cuda", ResourceError, parameter="reader") as error:
        gpuseg.run(job_of(shop, tmp_path / "out", runtime={"reader": "cudf"}))
    assert "CuPy cannot be imported" in error.value.hint


@pytest.mark.slow
def test_a_gpu_without_cudf(
    cudf: tuple[StrictLauncher, CudfStandIn], shop: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "pylibcudf", None)
    name, reason = reader_of(shop, tmp_path / "out")
    assert name == "arrow"
    assert reason.startswith("auto: cuDF cannot be imported (import of pylibcudf halted")
    with raises("reader.no_cudf", ResourceError, parameter="reader") as error:
        gpuseg.run(job_of(shop, tmp_path / "required", runtime={"reader": "cudf"}))
    assert "gpuseg[cuda13]" in error.value.hint
