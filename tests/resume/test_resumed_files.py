"""Files that a job has written before its interruption are not written again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpuseg
from gpuseg.errors import ResourceError
from gpuseg.io.output.open import open_output
from gpuseg.io.storage import Storage

ONE_THREAD = {"threads_per_worker": 1}


class Calls:
    """Counts the calls of a function, and ends the attempt at one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str) -> None:
        self.n, self.last = 0, 10**9
        module, _, function = name.rpartition(".")
        self._function = getattr(__import__(module, fromlist=["x"]), function)
        patch.setattr(name, self)

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.n == self.last:
            raise ResourceError("worker.lost", "a test has ended the attempt")
        self.n += 1
        return self._function(*args, **options)


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("part-*")}


def resumed(run: Callable[[Path], object], tmp_path: Path, *calls: tuple[Calls, int]) -> None:
    """Run a job as a whole, and with attempts that end; compare the parts, and the calls."""
    run(tmp_path / "whole")
    n_whole = [call.n for call, _ in calls]
    for call, _ in calls:
        call.n = 0
    for call, last in calls:
        call.last = last
        with pytest.raises(ResourceError):
            run(tmp_path / "out")
        call.last = 10**9
    run(tmp_path / "out")
    assert parts(tmp_path / "out") == parts(tmp_path / "whole")
    assert [call.n for call, _ in calls] == n_whole
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def write_table(path: Path, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(500, 2))
    ids = [f"{seed}-{i}" for i in range(len(x))]
    pq.write_table(pa.table({"id": ids, "a": x[:, 0], "b": x[:, 1]}), path)


def test_parts_of_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    for i in range(4):
        write_table(tmp_path / f"in/{i}.parquet", i)
    written = Calls(monkeypatch, "gpuseg.io.output.assignments.write_part")

    def run(output: Path) -> object:
        return gpuseg.run({
            "input": {"path": str(tmp_path / "in"), "id": "id"},
            "segment": {"n_clusters": 3},
            "runtime": ONE_THREAD,
            "output": {"path": str(output)},
        })  # fmt: skip

    resumed(run, tmp_path, (written, 3))


@pytest.mark.parametrize("segment", [{"n_clusters": 3}, {"algorithm": "dbscan", "eps": 0.3}])
def test_scored_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segment: dict[str, Any]
) -> None:
    for folder in ("fit", "in"):
        (tmp_path / folder).mkdir()
    write_table(tmp_path / "fit/0.parquet", 0)
    for i in range(4):
        write_table(tmp_path / f"in/{i}.parquet", i)
    model = tmp_path / "model"
    gpuseg.run({
        "input": {"path": str(tmp_path / "fit"), "id": "id"}, "segment": segment,
        "runtime": ONE_THREAD, "output": {"path": str(model)},
    })  # fmt: skip
    monkeypatch.setattr("gpuseg.models.base.BLOCK_ROWS", 1000)  # of two parts
    written = Calls(monkeypatch, "gpuseg.scoring.score_shard.write_part")
    resumed(lambda output: gpuseg.score(model, tmp_path / "in", output), tmp_path, (written, 2))


def test_lines_buckets_and_converted_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        lines = (
            f"{rng.integers(200)},2026-01-{rng.integers(1, 28):02d},{rng.integers(1, 5)},2.5\n"
            for _ in range(500)
        )
        text = "customer,time,quantity,price\n" + "".join(lines)
        (tmp_path / f"in/{i}.csv").write_text(text)
    table = "customer,age\n" + "".join(f"{i},{20 + i % 50}\n" for i in range(200))
    (tmp_path / "customers.csv").write_text(table)
    spilled = Calls(monkeypatch, "gpuseg.features.build.spill")
    aggregated = Calls(monkeypatch, "gpuseg.features.aggregate.write_part")
    converted = Calls(monkeypatch, "gpuseg.io.text_files.kept_conversion.convert_files")

    def run(output: Path) -> object:
        return gpuseg.run({
            "transactions": {
                "path": str(tmp_path / "in"), "customer": "customer", "time": "time",
                "quantity": "quantity", "price": "price",
            },
            "join": [{"path": str(tmp_path / "customers.csv"), "id": "customer"}],
            "segment": {"n_clusters": 3},
            "runtime": ONE_THREAD,
            "output": {"path": str(output)},
        })  # fmt: skip

    resumed(run, tmp_path, (spilled, 2), (aggregated, 1))
    assert converted.n == 2


def test_files_that_only_an_earlier_attempt_has_begun_are_not_published(tmp_path: Path) -> None:
    target = Storage.from_url(str(tmp_path / "out"), {}, "output_path")
    first = open_output(target, False, "20260101T000000-aaaaaa")
    for name in ("part-00000.parquet", "part-00001.parquet.unfinished", "_features/part-1.sidecar"):
        path = Path(first.staging.path(name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"of four workers")
    first.release()
    second = open_output(target, False, "", adopted=first.staging_name)
    Path(second.staging.path("part-00000.parquet")).write_bytes(b"of one worker")
    second.write("_model/model.json", b"{}")
    second.publish(["part-00000.parquet"])
    names = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")
    )
    assert names == ["_SUCCESS", "_model", "_model/model.json", "part-00000.parquet"]
