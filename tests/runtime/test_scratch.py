"""Arrays on the scratch disk, and shards of them."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import pytest

from gpuseg.runtime.executor import BLOCK_ROWS, TaskContext
from gpuseg.runtime.scratch import ScratchArray, ScratchUnavailable, scratch_folder
from gpuseg.sharding.row_passes import distinct
from gpuseg.sharding.shard import Shard
from gpuseg.sharding.spilled_shard import SpilledShard

MIB = 2**20


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder on disk: that of pytest may be in memory."""
    with TemporaryDirectory(prefix="gpuseg-test-", dir=scratch_folder()) as name:
        yield Path(name)


def file_memory() -> int:
    """Return the memory of this process that is mapped from files."""
    return int(psutil.Process().memory_info().shared)


def spilled(x: np.ndarray, folder: Path, weight: np.ndarray | None = None) -> SpilledShard:
    """Write rows to files of a folder."""
    rows = ScratchArray(x.shape, "float32", str(folder))
    rows.values[:] = x
    weights = None
    if weight is not None:
        weights = ScratchArray(weight.shape, "float64", str(folder))
        weights.values[:] = weight
    return SpilledShard(rows, weights, None)


def test_values_stay_when_their_pages_are_released(folder: Path) -> None:
    array = ScratchArray((1000, 3), "float32", str(folder))
    assert not array.values.any()
    expected = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    array.values[:] = expected
    for rows in (slice(0, 1000), slice(7, 9), slice(5, 5), slice(999, 1000)):
        array.release(array.values[rows])
        assert np.array_equal(array.values, expected)
    assert ScratchArray((0, 3), "float32", str(folder)).values.shape == (0, 3)


def test_files_have_no_name_and_their_space_is_free_again(folder: Path) -> None:
    def maps() -> list[str]:
        return [
            line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines()
            if str(folder) in line
        ]  # fmt: skip

    shard = spilled(np.ones((100, 2), np.float32), folder, np.ones(100))
    assert list(folder.iterdir()) == []
    assert len(maps()) == 2
    del shard
    assert maps() == []


def test_passes_keep_no_pages(folder: Path) -> None:
    """Neither do passes whose results are the blocks, nor those that change or drop rows."""
    n_rows, width = 14 * BLOCK_ROWS + 5, 8  # 28 MiB
    x = np.zeros((n_rows, width), np.float32)
    x[:, 1] = np.arange(n_rows) % 1000
    array = ScratchArray(x.shape, "float32", str(folder))
    array.values[:] = x
    array.release(array.values)
    shard, context = SpilledShard(array, None, None), TaskContext(2)
    before = file_memory()
    peaks = []

    def note(_: object) -> None:
        peaks.append(file_memory() - before)

    for block in shard.map_blocks(context, lambda block: block):
        assert np.array_equal(block.x, x[block.rows])
        note(block)
    shard.transform_rows(context, lambda rows: np.add(rows, np.float32(1), out=rows))
    note(None)
    assert len(distinct(shard, context, "numpy", 1001)) == 1000
    note(None)
    shard.filter_rows(context, np.arange(n_rows) % 2 == 0)
    note(None)
    shard.transform_rows(context, lambda rows: rows[:, 1:3].copy())
    note(None)
    assert np.array_equal(np.array(shard.x), x[::2, 1:3] + 1)
    assert max(peaks) < 12 * MIB


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_and_weights_change_as_those_of_a_resident_shard(folder: Path, threads: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((3 * BLOCK_ROWS + 11, 5)).astype(np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    weight = rng.random(len(x))
    context = TaskContext(threads)
    shards = [Shard(x.copy(), weight.copy()), spilled(x, folder, weight)]
    for shard in shards:
        shard.drop_missing(context)
        shard.filter_rows(context, np.ones(shard.n_rows, bool))
        shard.filter_rows(context, shard.x[:, 0] > 0.1)
        shard.transform_rows(context, lambda rows: rows * np.float32(2))
        shard.transform_rows(context, lambda rows: rows[:, [0, 2, 4]].copy())
        shard.transform_rows(context, lambda rows: np.add(rows, np.float32(1), out=rows))
    resident, on_disk = shards
    assert on_disk.x.shape == resident.x.shape
    assert on_disk.x.tobytes() == resident.x.tobytes()
    assert on_disk.weight is not None and resident.weight is not None
    assert on_disk.weight.tobytes() == resident.weight.tobytes()
    assert np.array_equal(on_disk.kept, resident.kept)
    assert on_disk.source_row(1000) == resident.source_row(1000)
    with pytest.raises(ValueError, match="rows of 3 columns cannot get 6"):
        on_disk.transform_rows(context, lambda rows: np.hstack([rows, rows]))


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="no file system in memory")
def test_a_folder_in_memory_takes_no_rows() -> None:
    with pytest.raises(ScratchUnavailable, match="/dev/shm for temporary files is in memory"):
        ScratchArray((10, 2), "float32", "/dev/shm")


def test_a_folder_that_is_missing_or_too_small_takes_no_rows(
    folder: Path,
) -> None:
    with pytest.raises(ScratchUnavailable, match=r"cannot take 0 MiB \(No such file"):
        ScratchArray((10, 2), "float32", str(folder / "missing"))
    free = psutil.disk_usage(str(folder)).free
    with pytest.raises(ScratchUnavailable, match="would take more than half of it"):
        ScratchArray((free // 6, 2), "float32", str(folder))


_LIMITED = """
import sys
from gpuseg.runtime.scratch import ScratchArray, ScratchUnavailable
try:
    ScratchArray((2**20, 2), "float32", sys.argv[1])
except ScratchUnavailable as error:
    print(error)
"""


def test_a_disk_that_refuses_the_space_takes_no_rows(folder: Path) -> None:
    limit = 2**20

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    run = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(folder)],
        capture_output=True, text=True, check=True, preexec_fn=limited,
    )  # fmt: skip
    assert "for temporary files cannot take 8 MiB (File too large)" in run.stdout
    assert list(folder.iterdir()) == []


def test_large_files_go_to_disk_unless_the_user_names_a_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuseg.runtime.scratch._LARGE_FILES", str(folder))
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    on_disk = str(folder.parent)
    monkeypatch.setattr("tempfile.tempdir", on_disk)
    assert scratch_folder() == on_disk
    if Path("/dev/shm").exists():
        monkeypatch.setattr("tempfile.tempdir", "/dev/shm")
        assert scratch_folder() == str(folder)
        monkeypatch.setenv("TMPDIR", "/dev/shm")
        assert scratch_folder() == "/dev/shm"
