"""Which reader a job takes, and why; and that it writes the same with either.

cuDF is not even looked for unless rows would stay on a GPU.
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
from emulator.strict_arrays import ApartLauncher
from support.cudf_on_host import StandIn, install
from support.helpers import ANY_PORT, bits, call, customers, cut, job, opened, toml, write_files

import gpuseg
from gpuseg.backends import registry
from gpuseg.errors import ConfigError, ResourceError
from gpuseg.io.parquet.cudf_reader import load_on_gpu
from gpuseg.io.parquet.shard_plan import load_shard
from gpuseg.jobs.plan import MemoryPlan
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
def cudf(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ApartLauncher, StandIn]]:
    """The GPU and the cuDF of the tests."""
    if reason := unavailable():
        pytest.skip(reason)
    yield install(monkeypatch)
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()


def asked(source: Path | str, target: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """A job of four segments, or of what another algorithm finds."""
    made = job(source, target, **{**K, **sections})
    if "algorithm" in made["segment"]:
        made["segment"] = sections["segment"]
    return made


# The same output.


@pytest.mark.parametrize("name", JOBS)
def test_a_job_writes_what_it_writes_without_a_gpu(
    request: pytest.FixtureRequest, shop: Path, tmp_path: Path, name: str
) -> None:
    plain = gpuseg.run(asked(shop, tmp_path / "plain", **JOBS[name])).manifest
    launcher, stand_in = request.getfixturevalue("cudf")
    there = gpuseg.run(asked(shop, tmp_path / "there", **JOBS[name])).manifest
    assert stand_in.asked
    launched = {kernel for kernel, _ in launcher._modules}
    assert launched >= {"column", "digest", "summarize", "prepare"}
    assert there["backend"]["name"] == "cuda"
    assert bits(tmp_path / "there") == bits(tmp_path / "plain")
    for key in ("warnings", "features", "segments", "profile"):
        assert there[key] == plain[key]
    by_arrow = {
        "dec": "decimal128(9, 2), which cuDF does not round as Arrow does", "city": "a category",
    }  # fmt: skip
    why = "auto: rows are decoded on the GPU, and stay there"
    beside = {"by_arrow": by_arrow} if name == "categories, gaps" else {}
    assert there["reader"] == {"name": "cudf", "reason": why, **beside}
    report = (tmp_path / "there" / "_report.html").read_text()
    assert why in report
    assert ("city by Arrow: a category" in report) == bool(beside)


def test_a_lost_shard_is_read_again_by_the_same_reader(
    cudf: tuple[ApartLauncher, StandIn], shop: Path
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
    found = gpuseg.run(asked(source, target, **sections)).manifest["reader"]
    return found["name"], found["reason"]


REASONS: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "a CPU": (
        {"runtime": {"backend": "numba"}},
        "auto: cuDF reads into the memory of a GPU, and the backend is 'numba'",
    ),
    "asked for": ({"runtime": {"reader": "arrow"}}, "asked for"),
    "DBSCAN": (
        {"segment": {"algorithm": "dbscan", "eps": 0.5}},
        "auto: DBSCAN lays out its rows in the memory of the host",
    ),
    "no number": (
        {"input": {"features": ["dec"]}, "prepare": {"missing": "mean"}},
        "auto: there is no column that cuDF would decode ('dec': decimal128(9, 2), which cuDF does "
        "not round as Arrow does)",
    ),
    "a cluster": (
        {"runtime": {"backend": "cuda", "cluster": "dask", "n_workers": 1}},
        "auto: the workers of cluster = 'dask' may have no GPU each: ask for runtime.reader = "
        "'cudf' where they have",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["a CPU", "asked for", "no number"])
def test_reasons_for_arrow(
    cudf: tuple[ApartLauncher, StandIn], shop: Path, tmp_path: Path, name: str
) -> None:
    sections, why = REASONS[name]
    assert reader_of(shop, tmp_path / "out", **sections) == ("arrow", why)
    assert not cudf[1].asked


def test_reasons_before_a_run(
    cudf: tuple[ApartLauncher, StandIn], shop: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "job.toml"
    file.write_text(toml(asked(shop, tmp_path / "out")))
    line = "reader       cudf (auto: rows are decoded on the GPU, and stay there)\n"
    assert line in call(capfd, "run", file, "--dry-run").out
    for sections, why in REASONS.values():
        file.write_text(toml(asked(shop, tmp_path / "out", **sections)))
        assert f"reader       arrow ({why})\n" in call(capfd, "run", file, "--dry-run").out
        planned = json.loads(call(capfd, "run", file, "--dry-run", "--json").out)
        assert planned["reader"] == {"name": "arrow", "why": why}
    assert not cudf[1].asked


def test_rows_that_are_streamed_or_elsewhere_or_too_many(
    cudf: tuple[ApartLauncher, StandIn],
    shop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launcher, stand_in = cudf
    fs = fsspec.filesystem("memory")
    with fs.open("/gpuseg-readers/in.parquet", "wb") as file:
        pq.write_table(customers(60), file)
    try:
        found = reader_of("memory://gpuseg-readers", tmp_path / "elsewhere")
    finally:
        fs.rm("/gpuseg-readers", recursive=True)
    why = "auto: the files are not on a disk of this machine (memory://gpuseg-readers)"
    assert found == ("arrow", why)
    with monkeypatch.context() as patch:
        plan = MemoryPlan("streamed", "the test wants it", 2**30, 0, 1)
        patch.setattr("gpuseg.jobs.run.plan_memory", lambda *_: plan)
        found = reader_of(shop, tmp_path / "streamed")
    assert found == ("arrow", "auto: the rows are streamed, a block at a time")
    launcher.free = 900 * 60
    found = reader_of(shop, tmp_path / "many")
    assert found == ("arrow", "auto: the GPU has no room for the rows and a row group beside")
    assert not stand_in.asked


@pytest.mark.parametrize(
    ("error", "sections", "words"),
    [
        (
            ConfigError,
            {"runtime": {"backend": "numba"}},
            "reader = 'cudf' reads into the memory of a",
        ),
        (
            ConfigError,
            REASONS["DBSCAN"][0],
            "DBSCAN lays out its rows in the memory of the host; use",
        ),
        (
            ConfigError,
            REASONS["no number"][0],
            "no column that cuDF would decode.* name columns of",
        ),
        (ConfigError, {"input": {"path": "memory://gpuseg-asked"}}, "are not on a disk of this"),
        (ResourceError, {"runtime": {"memory_limit": "1GiB"}}, "the rows are streamed.* use a hig"),
        (ResourceError, {}, "GPU has no room for the 900 rows of a shard and a row group beside"),
    ],
)
def test_cudf_is_asked_for_in_vain(
    cudf: tuple[ApartLauncher, StandIn], shop: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], sections: dict[str, dict[str, Any]],
    words: str,
) -> None:  # fmt: skip
    cudf[0].free = 900 * 60
    with fsspec.filesystem("memory").open("/gpuseg-asked/in.parquet", "wb") as file:
        pq.write_table(customers(60), file)
    if "memory_limit" in sections.get("runtime", {}):
        plan = MemoryPlan("streamed", "the test wants it", 2**30, 0, 1)
        monkeypatch.setattr("gpuseg.jobs.plan.plan_memory", lambda *_: plan)
    runtime = {"reader": "cudf", **sections.get("runtime", {})}
    with pytest.raises(error, match=words) as found:
        gpuseg.run(asked(shop, tmp_path / "out", **{**sections, "runtime": runtime}))
    assert "reader = 'cudf'" in str(found.value)
    assert not (tmp_path / "out").exists()
    assert not cudf[1].asked
    fsspec.filesystem("memory").rm("/gpuseg-asked", recursive=True)


def test_cudf_asked_for(
    cudf: tuple[ApartLauncher, StandIn],
    shop: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "job.toml"
    file.write_text(toml(asked(shop, tmp_path / "out", runtime={"reader": "cudf"})))
    outcome = call(capfd, "run", file, "--json")
    assert json.loads(outcome.out)["reader"] == {"name": "cudf", "reason": "asked for"}
    assert "note: rows were read by cudf: asked for" in outcome.err
    assert cudf[1].asked


# Never by accident.


class Forbidden(importlib.abc.MetaPathFinder):
    """Finds out who looks for cuDF."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        assert name.partition(".")[0] not in ("cudf", "pylibcudf", "rmm"), f"{name} is looked for"


def test_without_a_gpu_nobody_looks_for_cudf(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [Forbidden(), *sys.meta_path])
    with pytest.raises(AssertionError, match="pylibcudf is looked for"):
        import pylibcudf  # noqa: F401
    for backend in ("auto", "numba", "numpy"):
        found = reader_of(shop, tmp_path / backend, runtime={"backend": backend})
        name = "numba" if backend == "auto" else backend
        assert found == (
            "arrow", f"auto: cuDF reads into the memory of a GPU, and the backend is '{name}'",
        )  # fmt: skip
    with pytest.raises(ResourceError, match=r"was taken because of 'auto: .*CuPy cannot be imp"):
        gpuseg.run(asked(shop, tmp_path / "out", runtime={"reader": "cudf"}))


def test_a_gpu_without_cudf(
    cudf: tuple[ApartLauncher, StandIn], shop: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "pylibcudf", None)
    name, why = reader_of(shop, tmp_path / "out")
    assert name == "arrow"
    assert why.startswith("auto: cuDF cannot be imported (import of pylibcudf halted")
    with pytest.raises(ResourceError, match=r"cuDF cannot be imported .*pip install 'gpuseg\[cuda"):
        gpuseg.run(asked(shop, tmp_path / "asked", runtime={"reader": "cudf"}))
