"""Refreshes with the rows of the older run change nothing, with the same bytes however they run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.fitted_outputs import CASES, fitted, input_rows, job_of
from support.helpers import cut, in_turn, manifest_of, read_parts, write_files

import gpuseg

MODES = ("score", "warm", "fresh", "auto", "append")

CHOSEN = ("plain", "median", "one_hot_with_other", "weights", "hierarchy", "dbscan", "drop")


def refresh(job: Mapping[str, Any], older: Path, mode: str) -> None:
    append = mode == "append"
    gpuseg.refresh(job, older, mode=None if append else mode, append=append)  # type: ignore[arg-type]


def can(name: str, mode: str) -> bool:
    needs_centers, case = mode in ("warm", "append"), CASES[name]
    return not (needs_centers and case.algorithm != "kmeans") and not (
        mode == "append" and "weight" in case.inputs
    )


@pytest.mark.parametrize(
    ("name", "mode"),
    [each for each in in_turn(CHOSEN, MODES, step=2) if can(*each.values)],  # type: ignore[arg-type]
)
def test_nobody_moves(name: str, mode: str, tmp_path: Path) -> None:
    older, source = fitted(name), write_files(tmp_path / "in", [input_rows(name)])
    refresh(job_of(name, source, tmp_path / "out"), older, mode)
    assert read_parts(tmp_path / "out").equals(read_parts(older))
    manifest = manifest_of(tmp_path / "out")
    record, before = manifest["refresh"], manifest_of(older)
    assert record["mode"] == ("score" if mode == "auto" else mode)
    assert manifest["lineage"] == before["lineage"]
    for definition in record["definitions"]:
        assert all(cell[0] == cell[1] for cell in definition["overlap"])
        assert definition["changed"] == 0
        assert {event["kind"] for event in definition["events"]} == {"survived"}
    migration = record["migration"]
    assert migration["stayed"] == read_parts(older).num_rows
    assert (migration["moved"], migration["came"], migration["left"]) == (0, 0, 0)
    assert not record.get("changes")
    changes = [pq.read_table(path) for path in (tmp_path / "out" / "_changes").iterdir()]
    assert sum(table.num_rows for table in changes) == 0
    drift = manifest["drift"]
    assert not drift.get("alarms")
    assert all(
        each[measure] == 0 for each in drift["features"] for measure in ("psi", "ks", "wasserstein")
    )
    assert drift["segment_psi"] == 0
    if CASES[name].algorithm != "dbscan":  # its core rows are at no distance from themselves
        assert drift["mean_distance_now"] == pytest.approx(drift["mean_distance_before"])
        assert drift["inertia_now"] == pytest.approx(drift["inertia_before"])


RUNTIMES: dict[str, tuple[int, dict[str, Any]]] = {
    "numpy, small row groups": (37, {"backend": "numpy"}),
    "one thread": (1000, {"backend": "numba", "threads_per_worker": 1}),
    "workers": (60, {"backend": "numba"}),
}
"""Rows of a row group, and the runtime."""


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a refresh in one process writes, by mode."""
    folder = tmp_path_factory.mktemp("usual")
    return {
        mode: written(folder / mode, mode, [240], 1000, {}) for mode in ("score", "warm", "fresh")
    }


def written(
    folder: Path, mode: str, sizes: list[int], group: int, runtime: Mapping[str, Any]
) -> dict[str, Any]:
    """Refresh with some other rows than the first; return what must not depend on the runtime."""
    rows = input_rows("median").slice(60)
    source = write_files(folder / "in", cut(rows, *sizes), group)
    job = {**job_of("median", source, folder / "out"), "runtime": dict(runtime)}
    refresh(job, fitted("median"), mode)
    out, manifest = folder / "out", manifest_of(folder / "out")
    record = {key: value for key, value in manifest["refresh"].items() if key != "from_path"}
    kept = {"refresh": record, "lineage": manifest["lineage"], "drift": manifest.get("drift")}
    model = (out / "_model" / "model.json").read_text()
    return {
        "parts": read_parts(out).to_pydict(),
        "changes": [path.read_bytes() for path in sorted((out / "_changes").iterdir())],
        "arrays": [path.read_bytes() for path in sorted((out / "_model").glob("*.safetensors"))],
        "texts": (model + json.dumps(kept)).replace(manifest["run_id"], "this run"),
    }


@pytest.mark.parametrize(("mode", "name"), [
    ("score", "workers"), ("warm", "numpy, small row groups"), ("warm", "workers"),
    ("fresh", "one thread"),
])  # fmt: skip
def test_bytes_do_not_depend_on_the_runtime(
    mode: str, name: str, usual: Mapping[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    group, runtime = RUNTIMES[name]
    if name == "workers":
        runtime = {**runtime, **request.getfixturevalue("two_workers")}
    other = written(tmp_path, mode, [50, 111], group, runtime)
    for key, value in usual[mode].items():
        assert other[key] == value, key
