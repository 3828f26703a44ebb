"""Fixtures of all tests: each backend, shards in this process, a cache of numba's that is fresh."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any, Protocol
from uuid import uuid4

import dask
import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from distributed import LocalCluster
from emulator.build import unavailable
from emulator.module import DRAWS
from emulator.strict_arrays import StrictLauncher
from support import helpers
from support.compile_first import compile_part
from support.cudf_on_host import install, load_on_host
from support.helpers import ANY_PORT, BACKENDS, customers, cut, write_files
from support.spark_session import spark_session

from gpuseg import backends
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.backends.cuda import gpus
from gpuseg.io.parquet import cudf_reader
from gpuseg.jobs.workers import WORKER_MODULES
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.runtime.fork_server import start_fork_server
from gpuseg.sharding.shard import Shard

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
"""Address of an object, in the name of a case; the processes of xdist then have other tests."""

COMPILE = "GPUSEG_TEST_COMPILE"
"""Environment variable: whether the processes of xdist compile kernels before the tests."""


@pytest.fixture(scope="session")
def two_workers() -> Iterator[dict[str, Any]]:
    """`runtime` of jobs that are to run on two workers of a cluster, which is started once.

    Workers take seconds to start; `distributed/test_dask.py` tries jobs that start their own.
    """
    with LocalCluster(2, threads_per_worker=1, dashboard_address=ANY_PORT) as cluster:
        yield {"cluster": cluster.scheduler_address}


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A session of Spark in a Java process of this machine, which is started once."""
    with spark_session() as session:
        yield session


class Place(Protocol):
    """Cuts rows into shards and places them; a copy, since `prepare` works in place."""

    def __call__(
        self,
        x: npt.ArrayLike,
        weight: npt.ArrayLike | None = None,
        shards: int = 1,
        threads: int = 1,
    ) -> tuple[LocalExecutor, list[Shard]]: ...


def pytest_configure(config: pytest.Config) -> None:
    """Give each state of the kernels a cache of its own; draw what the emulator is to draw from.

    A function that numba has cached is not compiled again when a function that it calls, in
    another file, has changed: without this the tests could prove yesterday's kernels.

    The number drawn here is passed on to the processes of xdist, so that one number repeats a run.

    This process does not wait until its files are on the disk: no test cuts the power, and small
    jobs would wait longer than they compute. Workers and commands in other processes do wait.
    """
    os.fsync = lambda file: None
    helpers.THOROUGH = bool(config.getoption("--thorough"))
    helpers.ON_GPU = bool(config.getoption("--gpu"))
    os.environ.setdefault(DRAWS, str(secrets.randbits(32)))
    is_named = config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword
    os.environ.setdefault(COMPILE, "no" if is_named else "yes")
    if config.pluginmanager.has_plugin("cacheprovider"):
        sources = sorted(Path(backends.__file__).parent.rglob("*.py"))
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
        assert config.cache is not None
        os.environ["NUMBA_CACHE_DIR"] = str(config.cache.mkdir(f"numba-{digest}"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--gpu`` runs the tests of the backend `cuda` on the GPU, not on the emulator.

    ``--quick`` leaves out the tests marked `slow`. ``--thorough`` has more cases of some tests.
    """
    parser.addoption("--quick", action="store_true", help="leave out tests that take over a second")
    parser.addoption("--gpu", action="store_true", help="run CUDA kernels on the GPU")
    parser.addoption(
        "--update-texts", action="store_true", help="write tests/contracts/error_texts.txt again"
    )
    parser.addoption("--thorough", action="store_true", help="more cases of some tests")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let each process of xdist compile a part of numba's kernels, and fork its Dask workers.

    Compilers and the imports of tests make many objects, and hardly any cycles: until all tests are
    collected, looking for garbage would take a fifth of the time.
    """
    process = getattr(session.config, "workerinput", None)
    runs_tests = process is not None or not session.config.getoption("numprocesses", None)
    if runs_tests:
        gc.disable()
    if runs_tests and start_fork_server(WORKER_MODULES):
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    if process is not None and os.environ[COMPILE] == "yes":
        number = int(process["workerid"].removeprefix("gw"))
        compile_part(number, process["workercount"], session.config.getoption("--quick"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse names that differ between processes; leave out the slow tests of a quick run."""
    if with_address := [item.nodeid for item in items if _ADDRESS.search(item.nodeid)]:
        raise pytest.UsageError(f"give `ids` without addresses to the cases of {with_address[0]}")
    if config.getoption("--quick"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


def pytest_collection_finish() -> None:
    """Let collections of garbage not visit the modules and tests, which stay to the end.

    What tests keep for each other grows. With Python's thresholds, visiting it again and again took
    a twelfth of the time of the tests.
    """
    gc.freeze()
    gc.set_threshold(5000, 10, 10)
    gc.enable()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the planted bugs and what gave each away; say how a run that failed is repeated."""
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(
            f"What the emulator drew is repeated by {DRAWS}={os.environ[DRAWS]}"
        )
    passed = terminalreporter.stats.get("passed", [])
    seen = [value for report in passed if "test_mutants" in report.nodeid
            for value in report.user_properties]  # fmt: skip
    if seen:
        terminalreporter.section(f"{len(seen)} bugs planted in the kernels, all seen")
        for what, how in sorted(seen):
            terminalreporter.write_line(f"{what:<47} {how[:150]}")


@pytest.fixture(scope="session")
def cuda(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The backend `cuda`, on the emulator or on the GPU, for all who ask the registry for it."""
    if request.config.getoption("--gpu"):
        reason = gpus.unavailable()
        assert not reason, reason
        if os.environ.get("GPUSEG_TEST_POOL") == "no":  # a pool hides overruns from sanitizers
            import cupy

            cupy.cuda.set_allocator(None)
        yield registry.get("cuda")
        return
    if reason := unavailable():
        pytest.skip(reason)
    launcher = StrictLauncher()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpus, "launcher", lambda: launcher)
        registry.get.cache_clear()
        registry.get_neighbors.cache_clear()
        yield registry.get("cuda")
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn, as the registry has it; `numpy` is the specification."""
    if request.param == "cuda":
        request.getfixturevalue("cuda")
    return registry.get(request.param)


@pytest.fixture(params=["arrow", "cudf's stand-in", "cudf"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Who decodes what `helpers.loaded` reads, one after the other; with --gpu cuDF itself."""
    gpu = request.config.getoption("--gpu")
    if request.param == "cudf":
        if not gpu:
            pytest.skip("cuDF needs a GPU: --gpu")
        if reason := cudf_reader.unavailable():
            pytest.skip(reason)
    elif request.param != "arrow":
        if gpu or unavailable():
            pytest.skip(unavailable() or "--gpu takes cuDF itself")
        install(monkeypatch)
    if request.param != "arrow":
        monkeypatch.setattr("support.helpers.load", load_on_host)
    yield request.param
    registry.get.cache_clear()


@pytest.fixture
def place() -> Place:
    """A function that cuts rows into consecutive shards of unequal sizes and places them."""

    def placed(
        x: npt.ArrayLike,
        weight: npt.ArrayLike | None = None,
        shards: int = 1,
        threads: int = 1,
    ) -> tuple[LocalExecutor, list[Shard]]:
        rows = np.array(x, np.float32, order="C")
        weights = None if weight is None else np.array(weight, np.float64)
        # Quadratic ends: shards of all sizes, most of them no multiple of a tile.
        ends = [max(i, len(rows) * i * i // (shards * shards)) for i in range(shards + 1)]
        cut = [
            Shard(rows[a:b].copy(), None if weights is None else weights[a:b].copy(), a)
            for a, b in pairwise(ends)
        ]
        executor = LocalExecutor(threads)
        executor.load(lambda shard, env: shard, cut)
        return executor, cut

    return placed


@pytest.fixture
def table() -> pa.Table:
    """600 customers in blobs."""
    return customers(600)


@pytest.fixture
def source(tmp_path: Path, table: pa.Table) -> Path:
    """The customers of `table` in three files; the second is the largest."""
    return write_files(tmp_path / "in", cut(table, 150, 300))


@pytest.fixture
def memory() -> Iterator[Any]:
    """The memory file system; what tests write below /gpuseg-test is removed."""
    fs = fsspec.filesystem("memory")
    yield fs
    if fs.exists("/gpuseg-test"):
        fs.rm("/gpuseg-test", recursive=True)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The URL of an S3 in this process, which handles one request after another.

    It checks the conditions of a PUT and then writes, which is one step only without threads.
    """
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    serving = pytest.importorskip("werkzeug.serving")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = moto.DomainDispatcherApplication(moto.create_backend_app)
    server = serving.make_server("127.0.0.1", 0, application, threaded=False)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def options(endpoint: str) -> dict[str, Any]:
    """`storage_options` of that S3."""
    return {"key": "somebody", "secret": "SECRET", "endpoint_url": endpoint}


@pytest.fixture
def bucket(options: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """A bucket, and another client's file system to look into it."""
    fs = fsspec.filesystem(
        "s3", **options, skip_instance_cache=True, use_listings_cache=False
    )  # fmt: skip
    name = f"bucket-{uuid4().hex}"
    fs.mkdir(name)
    yield fs, f"s3://{name}"
    with suppress(OSError):
        fs.rm(name, recursive=True)
