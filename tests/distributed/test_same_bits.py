"""Labels, distances, centers and inertia have the same bits for any run and any files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.helpers import THOROUGH

from gpuseg import load_model, run
from gpuseg.synthetic.customers import write_customers

RETAIL = Path(__file__).parents[3] / "shared" / "data" / "retail_customers.parquet"


@dataclass(frozen=True)
class BitsCase:
    """Some data, the same rows in other files, and the other sections of the job."""

    data: Path
    refiled: Path
    sections: dict[str, Any]


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> BitsCase:
    folder = tmp_path_factory.mktemp("bits")
    # Many rows are more than a block, and more than the sample for seeding.
    rows = 140_000 if THOROUGH else 2_000
    write_customers(folder / "data", rows=rows, files=3)
    sizes = [1, rows * 7 // 20, 17, rows // 2 - 17]
    refile(folder / "data", folder / "refiled", [*sizes, rows - sum(sizes)], rows // 40 - 1)
    segment = {"n_clusters": 12, "max_iter": 20}
    return BitsCase(folder / "data", folder / "refiled", {"segment": segment})


@pytest.fixture(scope="module")
def retail(tmp_path_factory: pytest.TempPathFactory) -> BitsCase:
    if not RETAIL.exists():
        pytest.skip("the retail data is not here")
    folder = tmp_path_factory.mktemp("retail")
    rows = pq.read_metadata(RETAIL).num_rows
    refile(RETAIL, folder / "refiled", [1000, 1, rows - 1001], 257)
    sections = {"prepare": {"transform": "log1p"}, "segment": {"n_clusters": 6}}
    return BitsCase(RETAIL, folder / "refiled", sections)


def refile(source: Path, target: Path, sizes: list[int], group: int) -> None:
    """Write the rows of `source`, in order, to files with other sizes and row groups."""
    table, start = ds.dataset(source).to_table(), 0
    target.mkdir()
    for i, size in enumerate(sizes):
        pq.write_table(table.slice(start, size), target / f"{i:03}.parquet", row_group_size=group)
        start += size
    assert start == table.num_rows


def result(case: BitsCase, out: Path, refiled: bool = False, **runtime: Any) -> dict[str, Any]:
    """Run the job; return the results that must be equal, as bytes and exact numbers."""
    job = {
        "input": {"path": str(case.refiled if refiled else case.data), "id": "customer_id"},
        "runtime": runtime,
        "output": {"path": str(out), "overwrite": True},
        **case.sections,
    }
    manifest = run(job).manifest
    table = ds.dataset(out).to_table()
    return {
        "ids": table["customer_id"].combine_chunks(),
        "labels": table["segment"].to_numpy().tobytes(),
        "distances": table["distance"].to_numpy().tobytes(),
        "centers": load_model(out).centers.values.tobytes(),
        "inertia": manifest["result"]["inertia"].hex(),
        "n_iter": manifest["result"]["n_iter"],
        "content": manifest["input"]["fingerprint"]["content"],
        "drift": (out / "_model" / "drift.safetensors").read_bytes(),
    }


@pytest.fixture(scope="module", params=["synthetic", "retail"])
def case(request: pytest.FixtureRequest) -> Iterator[BitsCase]:
    yield request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def expected(case: BitsCase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run in this process, on one thread, with the reference backend."""
    out = tmp_path_factory.mktemp("expected") / "out"
    return result(case, out, backend="numpy", threads_per_worker=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "threads", "refiled"),
    [
        *(("numpy", 2, True), ("numba", 1, False), ("numba", 2, True)),
        *[("numba", 1, True), ("numba", 2, False)] * THOROUGH,
    ],
)
def test_in_process(
    case: BitsCase,
    expected: dict[str, Any],
    tmp_path: Path,
    backend: str,
    threads: int,
    refiled: bool,
) -> None:
    actual = result(case, tmp_path / "out", refiled, backend=backend, threads_per_worker=threads)
    assert actual == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["synthetic", "retail"] if THOROUGH else ["retail"], indirect=True, scope="module"
)
@pytest.mark.parametrize(
    ("workers", "refiled"), [(1, False), (2, False), (2, True)] if THOROUGH else [(2, True)]
)
def test_on_dask(
    case: BitsCase,
    expected: dict[str, Any],
    tmp_path: Path,
    two_workers: dict[str, Any],
    workers: int,
    refiled: bool,
) -> None:
    actual = result(case, tmp_path / "out", refiled, **two_workers, n_workers=workers)
    assert actual == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["synthetic", "retail"] if THOROUGH else ["synthetic"], indirect=True, scope="module"
)
def test_on_another_cluster(case: BitsCase, expected: dict[str, Any], tmp_path: Path) -> None:
    n_workers = 4 if THOROUGH else 3
    actual = result(case, tmp_path / "out", refiled=True, cluster="dask", n_workers=n_workers)
    assert actual == expected


def test_retail_is_as_good_as_scikit_learn(retail: BitsCase, tmp_path: Path) -> None:
    """The inertia is at most 0.5 % above the best of ten scikit-learn runs on the same features."""
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    table = pq.read_table(RETAIL).to_pandas()
    x = StandardScaler().fit_transform(np.log1p(table.drop(columns="customer_id")))
    best = KMeans(6, n_init=10, random_state=0).fit(x).inertia_
    actual = result(retail, tmp_path / "out")
    assert float.fromhex(actual["inertia"]) <= 1.005 * best


@pytest.mark.slow
def test_output_has_the_ids_of_the_input(case: BitsCase, expected: dict[str, Any]) -> None:
    ids = ds.dataset(case.data).to_table(columns=["customer_id"])["customer_id"]
    assert expected["ids"] == ids.combine_chunks()
    assert len(pc.unique(expected["ids"])) == len(ids)
