"""The CUDA kernels on the emulator, with all memory accesses watched; planning; complete fits."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from dask.delayed import delayed
from distributed import Client, LocalCluster
from emulator.build import unavailable
from emulator.launcher import SMALL
from emulator.strict_arrays import DeviceArray, StrictLauncher
from sklearn.exceptions import ConvergenceWarning
from support.errors import raises
from support.helpers import ANY_PORT, ON_GPU, THOROUGH, customers, cut, in_turn, write_files
from support.kernel_cases import CASES, EVERY_SIZE, MANY_ROWS, KernelCase, try_out
from support.row_bounds import seen, set_slack

import gpuseg
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.backends.cuda import full_pass_plans, gpus, shapes
from gpuseg.backends.cuda import launch_plans as plan
from gpuseg.backends.cuda.backend import CudaBackend
from gpuseg.backends.cuda.launcher import Limits
from gpuseg.backends.types import Centers, PackedRun
from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.numerics.sum_grid import SumGrid
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.chunked_shard import ChunkedShard

Array = npt.NDArray[Any]

pytestmark = pytest.mark.skipif(not ON_GPU and unavailable() is not None, reason=str(unavailable()))

OLD = Limits("a small GPU", 40, 64 * 1024, 64 * 1024, 75)


def scheduled(cases: Sequence[KernelCase]) -> list[Any]:
    """Return each case with one of the schedules in turn."""
    return in_turn(cases, ["fuzz", "up", "down", "random"], step=4)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "schedule"), scheduled(CASES))
def test_kernels_access_memory_correctly(case: KernelCase, schedule: str) -> None:
    try_out(CudaBackend(StrictLauncher(check=True, schedule=schedule)), case)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "schedule"), scheduled([case for case in CASES if case.d <= 64]))
def test_passes_over_all_rows_access_memory_correctly(case: KernelCase, schedule: str) -> None:
    """Also passes that would only scan slack by default."""
    backend = CudaBackend(StrictLauncher(check=True, schedule=schedule), "full")
    try_out(backend, case, {"lloyd_full"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", EVERY_SIZE[:: 1 if THOROUGH else 5], ids=lambda case: f"{case.n}x{case.d}"
)
def test_kernels_at_every_size(case: KernelCase) -> None:
    try_out(CudaBackend(StrictLauncher(check=True, limits=OLD)), case)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", (*CASES, MANY_ROWS, *(EVERY_SIZE if ON_GPU or THOROUGH else EVERY_SIZE[2::9])), ids=str
)
def test_every_case(cuda: Backend, case: KernelCase) -> None:
    """With --gpu, compute-sanitizer watches this test."""
    try_out(cuda, case)


@pytest.mark.slow
def test_blocks_with_several_chunks_of_several_tiles() -> None:
    try_out(CudaBackend(StrictLauncher(True, limits=replace(OLD, multiprocessors=1))), MANY_ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 7, 16, 64] if THOROUGH else [7, 64])
def test_kernels_on_many_rows(d: int) -> None:
    """A multiple of the rows of all blocks of the device."""
    n = 10_000 if d < 64 or THOROUGH else 4_000
    for schedule in ("down", "random") if THOROUGH else ("random",):
        launcher = StrictLauncher(schedule=schedule)
        try_out(CudaBackend(launcher), KernelCase(n, d, (20, 7), terms=2**18))


def test_more_than_two_billion_values(cuda: Backend) -> None:
    """The scored rows are after 2^31 values; earlier rows are never read."""
    n, d = 2**31 // 4000 + 1000, 4000
    try:
        x = np.zeros((n, d), np.float32)  # only pages that are accessed take memory
    except MemoryError:
        pytest.skip("8 GiB of address space are not available")
    x[-3:] = [[1.0], [2.0], [9.0]]
    centers = Centers(np.array([np.zeros(d), np.full(d, 8.0)]), np.zeros(d, np.float32))
    memory = cuda.new_bounds(n, 2)
    memory.fresh = False
    set_slack(memory, slice(-3), 1.0)
    magics = np.repeat([[1.5 * 2.0**60], [1.5 * 2.0**20]], d + 1, axis=1)
    grid = SumGrid(magics[:, :-1].copy(), magics[:, -1].copy())
    (change,) = cuda.lloyd(x, None, [PackedRun(cuda.pack(centers), memory)], grid)
    assert change.n_rows_scored == 3
    assert seen(cuda, memory).label[-4:].tolist() == [0, 0, 0, 1]
    assert change.weight.sum(axis=0).tolist() == [-1, 1]
    assert change.sums.sum(axis=0)[:, -1].tolist() == [-9, 9]


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_complete_fit_has_the_bits_of_the_cpu(
    cuda: Backend, monkeypatch: pytest.MonkeyPatch, metric: str, weighted: bool
) -> None:
    monkeypatch.setattr(gpus, "unavailable", lambda: None)
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(3000, 5)) + 4 * rng.integers(0, 2, (3000, 5))).astype(np.float32)
    weight = rng.lognormal(0, 2, 3000) if weighted else None
    fits = {
        name: gpuseg.KMeans(6, metric=metric, random_state=1, backend=name, n_init=2)
        for name in ("auto", "numba")
    }
    on_gpu, on_cpu = (fits[name].fit(x, sample_weight=weight) for name in ("auto", "numba"))
    assert on_gpu.backend_ == "cuda"
    assert on_gpu.cluster_centers_.tobytes() == on_cpu.cluster_centers_.tobytes()
    assert on_gpu.labels_.tobytes() == on_cpu.labels_.tobytes()
    assert (on_gpu.inertia_, on_gpu.n_iter_) == (on_cpu.inertia_, on_cpu.n_iter_)
    assert on_gpu.predict(x).tobytes() == on_cpu.labels_.tobytes()
    assert on_gpu.transform(x).tobytes() == on_cpu.transform(x).tobytes()
    assert on_gpu.score(x, sample_weight=weight) == on_cpu.score(x, sample_weight=weight)


@pytest.mark.parametrize("limits", [SMALL, OLD], ids=lambda limits: limits.name)
def test_plans_fit_the_device(limits: Limits) -> None:
    forms = {(kernel.name, tuple(kernel.macros.items())) for kernel in plan.variants()}
    for d in (*range(1, 70), 100, 128, 255, 400, 1000, 5000):
        for k in (1, 2, 8, 9, 50, 100, 1000, 20_000):
            groups = -(-k // plan.GROUP)
            for aligned in (False, True):
                plans = [plan.plan_assign(10**8, d, k, aligned, limits)]
                for label_bytes in shapes.LABEL_BYTES:
                    plans.append(plan.plan_lloyd(10**8, d, groups, k, label_bytes, aligned, limits))
                for launch in plans:
                    assert launch.shared_bytes <= limits.shared_bytes
                    assert (launch.kernel.name, tuple(launch.kernel.macros.items())) in forms
                    assert 0 < launch.blocks <= 16 * limits.multiprocessors
                    assert launch.rows_per_chunk <= plan.MAX_SCANS * plan.SCAN_ROWS
                    assert launch.tiling.features % launch.tiling.vector == 0


@pytest.mark.parametrize("limits", [SMALL, OLD], ids=lambda limits: limits.name)
def test_plans_of_passes_over_all_rows_fit_the_device(limits: Limits) -> None:
    forms = {(kernel.name, tuple(kernel.macros.items())) for kernel in full_pass_plans.forms()}
    for d in (*range(1, 70), 128):
        for ks in ((1,), (8,), (50,), (256,), (1000,), (2, 3, 4, 5), (8,) * 8, (20_000,)):
            for alignment in (16, 8, 4):
                for label_bytes in shapes.LABEL_BYTES:
                    launch = full_pass_plans.plan_full(
                        10**8, d, ks, label_bytes, True, alignment, limits
                    )
                    if launch is None:
                        assert d > 64 or sum(ks) > 250 or limits is OLD
                        continue
                    assert launch.shared_bytes <= limits.shared_bytes
                    assert (launch.kernel.name, tuple(launch.kernel.macros.items())) in forms
                    assert 0 < launch.blocks <= 4 * limits.multiprocessors
                    assert d % launch.width == 0 == alignment % (4 * launch.width)
                    assert limits.capability >= 80 or "VECTOR" in launch.kernel.macros
    for d, k, form in ((16, 8, "VECTOR"), (64, 50, "KSTEPS"), (2, 2, "VECTOR"), (32, 32, "KSTEPS")):
        launch = full_pass_plans.plan_full(10**8, d, (k,), 1, True, 16, SMALL)
        assert launch is not None
        assert form in launch.kernel.macros
        assert launch.private
    assert full_pass_plans.plan_full(10**8, 200, (8,), 1, True, 16, SMALL) is None


def test_all_rows_are_in_some_block() -> None:
    for n in (1, 31, 512, 513, 10**5, 10**9, 3 * 10**10):
        launch = plan.plan_lloyd(n, 16, 1, 8, 1, True, SMALL)
        max_blocks = plan._max_blocks(launch.shared_bytes, SMALL)
        assert launch.blocks <= max_blocks
        assert launch.blocks == max_blocks or launch.blocks * launch.rows_per_chunk >= n


@pytest.fixture
def strict_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictLauncher]:
    """A device with strict arrays, which the backend uses."""
    launcher = StrictLauncher()
    monkeypatch.setattr(gpus, "unavailable", lambda: None)
    monkeypatch.setattr(gpus, "devices", lambda: ["a GPU"])
    monkeypatch.setattr(gpus, "launcher", lambda: launcher)
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()
    yield launcher
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(("options", "memory"), in_turn(
    [{}, {"metric": "cosine"}, {"n_init": 3}, {"init": "random", "n_clusters": 30}],
    ["resident", "too small"], step=2,
))  # fmt: skip
def test_a_fit_does_not_mix_arrays_of_host_and_device(
    strict_device: StrictLauncher, options: dict[str, Any], memory: str
) -> None:
    strict_device.free = 2**30 if memory == "resident" else 1000
    rng = np.random.default_rng(6)
    x = rng.normal(size=(900, 3)).astype(np.float32)
    weight = rng.integers(0, 4, 900) * 1.0
    settings = {"n_clusters": 5, "random_state": 2, **options}
    on_gpu = gpuseg.KMeans(**settings).fit(x, sample_weight=weight)
    on_cpu = gpuseg.KMeans(**settings, backend="numba").fit(x, sample_weight=weight)
    assert on_gpu.backend_ == "cuda"
    assert on_gpu.cluster_centers_.tobytes() == on_cpu.cluster_centers_.tobytes()
    assert on_gpu.labels_.tobytes() == on_cpu.labels_.tobytes()
    assert on_gpu.predict(x).tobytes() == on_cpu.predict(x).tobytes()
    assert on_gpu.transform(x).tobytes() == on_cpu.transform(x).tobytes()
    assert on_gpu.score(x, sample_weight=weight) == on_cpu.score(x, sample_weight=weight)
    for model in (on_gpu, on_cpu):
        model.partial_fit(x[::-1].copy())
    assert on_gpu.cluster_centers_.tobytes() == on_cpu.cluster_centers_.tobytes()


def test_empty_clusters_move_on_a_device(strict_device: StrictLauncher) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(200, 2)).astype(np.float32)
    init = np.concatenate([x[:2], np.full((3, 2), 50.0), np.full((1, 2), 60.0)])
    fits = [
        gpuseg.KMeans(6, init=init, max_iter=5, backend=name).fit(x) for name in ("cuda", "numba")
    ]
    assert fits[0].cluster_centers_.tobytes() == fits[1].cluster_centers_.tobytes()
    few = np.repeat(x[:3], 20, axis=0)
    with pytest.warns(ConvergenceWarning, match="only 3 distinct rows"):
        gpuseg.KMeans(5, random_state=0, backend="cuda").fit(few)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [
    {}, {"prepare.missing": "drop"}, {"segment.metric": "cosine"}, {"segment.n_clusters": [2, 5]},
], ids=str)  # fmt: skip
def test_a_job_on_a_device_writes_what_the_cpu_writes(
    strict_device: StrictLauncher, tmp_path: Path, settings: dict[str, Any]
) -> None:
    write_files(tmp_path / "in", cut(customers(1200, 4), 250, 600), 200)
    results = {}
    for backend in ("auto", "numba"):
        job: dict[str, Any] = {
            "input": {"path": str(tmp_path / "in"), "id": "customer"},
            "prepare": {},
            "segment": {"n_clusters": 5, "random_state": 1},
            "runtime": {"backend": backend},
            "output": {"path": str(tmp_path / backend)},
        }
        for key, value in settings.items():
            section, name = key.split(".")
            job[section][name] = value
        results[backend] = gpuseg.run(job)
    assert results["auto"].manifest["backend"]["name"] == "cuda"
    actual, expected = (pq.read_table(tmp_path / name) for name in ("auto", "numba"))
    assert actual.equals(expected)
    assert (
        results["auto"].model.centers.values.tobytes()
        == results["numba"].model.centers.values.tobytes()
    )


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_rows_on_the_device_stay_there(strict_device: StrictLauncher, metric: str) -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(900, 3)).astype(np.float32)
    weight = rng.integers(0, 4, 900) * 1.0
    on_device, device_weight = strict_device.to_device(x), strict_device.to_device(weight)
    before = x.tobytes()
    on_cpu = gpuseg.KMeans(5, metric=metric, random_state=2, backend="numba")
    on_gpu = gpuseg.KMeans(5, metric=metric, random_state=2)
    on_cpu.fit(x, sample_weight=weight)
    on_gpu.fit(on_device, sample_weight=device_weight)
    assert on_device.values.tobytes() == before
    assert on_gpu.n_features_in_ == 3
    assert on_gpu.cluster_centers_.tobytes() == on_cpu.cluster_centers_.tobytes()
    assert on_gpu.inertia_ == on_cpu.inertia_
    pairs = [
        (on_gpu.labels_, on_cpu.labels_),
        (on_gpu.predict(on_device), on_cpu.predict(x)),
        (on_gpu.transform(on_device), on_cpu.transform(x)),
    ]
    for actual, expected in pairs:
        assert isinstance(actual, DeviceArray)
        assert actual.values.tobytes() == expected.tobytes()
    score = on_gpu.score(on_device, sample_weight=device_weight)
    assert score == on_cpu.score(x, sample_weight=weight)
    assert (
        on_gpu.partial_fit(on_device).labels_.values.tobytes()
        == on_cpu.partial_fit(x).labels_.tobytes()
    )


@pytest.mark.slow
def test_float64_rows_on_the_device_are_rounded(strict_device: StrictLauncher) -> None:
    x = np.random.default_rng(9).normal(size=(300, 3)) * 1e-42  # denormal in float32
    actual = registry.get("cuda").from_foreign(strict_device.to_device(x), np.float32)
    assert actual.values.tobytes() == x.astype(np.float32).tobytes()
    on_gpu = gpuseg.KMeans(3, random_state=0).fit(strict_device.to_device(x))
    on_cpu = gpuseg.KMeans(3, random_state=0, backend="numba").fit(x)
    assert on_gpu.cluster_centers_.tobytes() == on_cpu.cluster_centers_.tobytes()


def test_bad_rows_on_the_device_are_refused(strict_device: StrictLauncher) -> None:
    x = np.random.default_rng(9).normal(size=(100, 3)).astype(np.float32)
    on_device = strict_device.to_device(x)
    model = gpuseg.KMeans(3, random_state=0).fit(on_device)
    with raises("x.on_gpu"):
        gpuseg.KMeans(3, backend="numba").fit(on_device)
    with raises("x.wrong_dimensions"):
        gpuseg.KMeans(3).fit(strict_device.to_device(x[0]))
    with raises("x.empty"):
        gpuseg.KMeans(3).fit(strict_device.to_device(x[:0]))
    with pytest.raises(ValueError, match="X has 2 features, but KMeans is expecting 3"):
        model.predict(strict_device.to_device(x)[:, :2])
    x[17, 1] = np.nan
    with raises("x.not_finite"):
        model.predict(strict_device.to_device(x))
    with pytest.raises(DataError, match="1 value is missing"):
        gpuseg.KMeans(3).fit(strict_device.to_device(x))
    with raises("sample_weight.wrong_shape"):
        model.fit(on_device, sample_weight=strict_device.to_device(np.ones(3)))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev", "cosine", "haversine"])
def test_dbscan_gives_the_labels_of_the_cpu(strict_device: StrictLauncher, metric: str) -> None:
    rng = np.random.default_rng(8)
    n = 400
    x = (rng.normal(size=(n, 2)) * rng.choice([0.1, 1.0], (n, 1)) / 4).astype(np.float32)
    eps = {"cosine": 1e-5}.get(metric, 0.05)
    weight = rng.integers(0, 3, n)
    on_gpu = gpuseg.DBSCAN(eps, metric=metric).fit(x, sample_weight=weight)
    on_cpu = gpuseg.DBSCAN(eps, metric=metric, backend="numba").fit(x, sample_weight=weight)
    assert on_gpu.backend_ == "cuda"
    assert on_cpu.n_clusters_ > 2
    assert on_gpu.labels_.tobytes() == on_cpu.labels_.tobytes()
    assert on_gpu.components_.tobytes() == on_cpu.components_.tobytes()
    assert on_gpu.predict(x).tobytes() == on_cpu.predict(x).tobytes()
    device_x = strict_device.to_device(x)
    model = gpuseg.DBSCAN(eps, metric=metric).fit(device_x, sample_weight=weight)
    assert isinstance(model.labels_, DeviceArray)
    assert model.labels_.values.tobytes() == on_cpu.labels_.tobytes()
    assert model.predict(device_x).values.tobytes() == on_cpu.predict(x).tobytes()
    profile = gpuseg.estimate_eps(x, metric=metric)
    assert profile.eps == gpuseg.estimate_eps(x, metric=metric, backend="numba").eps


def test_more_features_than_fit_into_shared_memory(strict_device: StrictLauncher) -> None:
    with raises("features.too_many_for_gpu", ResourceError, parameter="features") as caught:
        gpuseg.DBSCAN().fit(np.zeros((3, 1000)))
    assert "453" in caught.value.rule


@pytest.mark.slow
def test_parts_of_a_dask_array_stay_on_the_device(strict_device: StrictLauncher) -> None:
    x = np.random.default_rng(4).normal(size=(900, 3)).astype(np.float32)
    parts = [
        da.from_delayed(delayed(DeviceArray)(part), part.shape, np.float32)
        for part in np.split(x, [100, 500])
    ]
    on_cpu = gpuseg.KMeans(4, random_state=0, backend="numba").fit(x)
    with Client(processes=False, n_workers=1, dashboard_address=ANY_PORT) as client:
        on_gpu = gpuseg.KMeans(4, random_state=0).fit(da.concatenate(parts), client=client)
    assert on_gpu.backend_ == "cuda"
    assert on_gpu.cluster_centers_.tobytes() == on_cpu.cluster_centers_.tobytes()
    assert on_gpu.inertia_ == on_cpu.inertia_


def test_all_rows_of_a_shard_move_or_none(strict_device: StrictLauncher) -> None:
    chunks = [(np.zeros((100, 3), np.float32), np.ones(100)) for _ in range(3)]
    for free, moved in ((300 * (12 + 8 + 48) * 2, True), (200 * (12 + 8 + 48), False)):
        strict_device.free = free
        shard = ChunkedShard(chunks)
        passes.to_device(shard, TaskContext(), "cuda")
        for block in shard.map_blocks(TaskContext(), lambda block: block):
            assert isinstance(block.x, DeviceArray) == moved
            assert isinstance(block.weight, DeviceArray) == moved


# Workers with a GPU each.

PRELOAD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from emulator.strict_arrays import StrictLauncher
from gpuseg.backends.cuda import gpus
launcher = StrictLauncher()
gpus.launcher = lambda: launcher
"""


@pytest.fixture
def two_gpus(
    strict_device: StrictLauncher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[list[dict[str, Any]]]:
    """A machine with two GPUs, with emulators on its workers; yields the options of clusters."""
    requested: list[dict[str, Any]] = []
    (tmp_path / "preload.py").write_text(PRELOAD)

    def start(**options: Any) -> Any:
        requested.append(options)
        limit = {"auto": 0}.get(options["memory_limit"], options["memory_limit"])
        preload = str(tmp_path / "preload.py")
        return LocalCluster(**{**options, "memory_limit": limit, "preload": preload})

    monkeypatch.setattr(gpus, "devices", lambda: ["the first GPU", "the second GPU"])
    monkeypatch.setitem(sys.modules, "dask_cuda", SimpleNamespace(LocalCUDACluster=start))
    yield requested


def job_on(tmp_path: Path, name: str, **runtime: Any) -> dict[str, Any]:
    return {
        "input": {"path": str(tmp_path / "in"), "id": "customer"},
        "segment": {"n_clusters": 5, "random_state": 1},
        "runtime": runtime,
        "output": {"path": str(tmp_path / name)},
    }


@pytest.mark.slow
def test_a_worker_for_each_gpu(two_gpus: list[dict[str, Any]], tmp_path: Path) -> None:
    write_files(tmp_path / "in", cut(customers(3000, 4), 700, 1500), 500)
    on_gpus = gpuseg.run(job_on(tmp_path, "there", cluster="cuda"))
    on_cpu = gpuseg.run(job_on(tmp_path, "here", cluster="local", backend="numba"))
    assert [options["n_workers"] for options in two_gpus] == [2]
    assert on_gpus.manifest["backend"]["name"] == "cuda"
    assert on_gpus.manifest["executor"]["n_workers"] == 2
    assert "gpu: the second GPU" in on_gpus.manifest["devices"]
    assert pq.read_table(tmp_path / "there").equals(pq.read_table(tmp_path / "here"))
    assert on_gpus.manifest["result"]["inertia"] == on_cpu.manifest["result"]["inertia"]


@pytest.mark.slow
def test_workers_share_a_gpu_only_on_request(strict_device: StrictLauncher, tmp_path: Path) -> None:
    choice = registry.choose_backend("auto", "the workers may not have a GPU each")
    assert choice.name == "numba"
    assert "the workers may not have a GPU each" in choice.reason
    assert registry.choose_backend("cuda", "no GPU there").name == "cuda"
    assert registry.choose_backend("auto").name == "cuda"
    write_files(tmp_path / "in", [customers(60)])
    job = job_on(tmp_path, "out", cluster="dask", n_workers=1)
    assert gpuseg.run(job).manifest["backend"]["name"] == "numba"


def test_missing_gpus(
    two_gpus: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "in", [customers(60)])
    with raises("n_workers.more_than_gpus", ResourceError, value=3):
        gpuseg.run(job_on(tmp_path, "out", cluster="cuda", n_workers=3))
    with raises("backend.not_on_gpu", ConfigError):
        gpuseg.run(job_on(tmp_path, "out", cluster="cuda", backend="numba"))
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with raises("cluster.no_dask_cuda", ResourceError):
        gpuseg.run(job_on(tmp_path, "out", cluster="cuda"))
    monkeypatch.undo()
    with raises("cluster.no_gpu", ResourceError, value="cuda"):
        gpuseg.run(job_on(tmp_path, "out", cluster="cuda"))
    assert not (tmp_path / "out").exists()
