"""Publishing to a file system: what is replaced, what never is, and what a failed run leaves.

Kills, interrupts and full disks are in `test_faults`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import (
    customers,
    job,
    leftovers,
    listing,
    manifest_of,
    read_parts,
    run,
    shell,
    toml,
    write_files,
)

from gpuseg.errors import ConfigError
from gpuseg.io.output.base import check_free
from gpuseg.io.output.open import open_output
from gpuseg.io.storage import Storage
from gpuseg.output_kind import OutputKind
from gpuseg.runtime.owned_folder import machine_tag

REPLACE = {"overwrite": True}
OLD_MANIFESTS = Path(__file__).parents[1] / "contracts" / "manifests"


# What is replaced.


def test_older_output_is_not_replaced_unasked(tmp_path: Path, source: Path) -> None:
    run(source, tmp_path / "out")
    before = listing(tmp_path)
    with raises("output.exists"):
        run(source, tmp_path / "out")
    assert listing(tmp_path) == before


def test_older_output_is_replaced_whole(tmp_path: Path, source: Path) -> None:
    run(source, tmp_path / "out")
    (source / "in-002.parquet").unlink()
    (tmp_path / "out" / "part-99999.parquet").touch()
    result = run(source, tmp_path / "out", output=REPLACE, segment={"n_clusters": 2})
    assert [p.name for p in sorted((tmp_path / "out").glob("part-*"))] == [
        "part-00000.parquet", "part-00001.parquet",
    ]  # fmt: skip
    assert manifest_of(tmp_path / "out")["run_id"] == result.manifest["run_id"]
    assert sorted(set(read_parts(tmp_path / "out")["segment"].to_pylist())) == [0, 1]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("older", [False, True])
def test_output_is_for_this_user_alone_until_it_is_published(tmp_path: Path, older: bool) -> None:
    if older:
        shutil.copytree(OLD_MANIFESTS, tmp_path / "out")
        shutil.copy(OLD_MANIFESTS / "format-1-kmeans.json", tmp_path / "out" / "_manifest.json")
    storage = Storage.from_url(str(tmp_path / "out"), {}, "output_path")
    before = os.umask(0o027)
    try:
        with open_output(storage, True, "20260101T000000-000000") as output:
            output.write("_model/model.json", b"")
            assert stat.S_IMODE(Path(output.staging.folder).stat().st_mode) == 0o700
            output.publish([])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    assert sorted(listing(tmp_path / "out")) == ["_SUCCESS", "_model", "_model/model.json"]


@pytest.mark.parametrize("name", ["dbscan", "hierarchical", "kmeans"])
def test_segments_of_an_older_version_are_not_replaced_by_features(
    tmp_path: Path, name: str
) -> None:
    manifest = OLD_MANIFESTS / f"format-1-{name}.json"
    shutil.copy(manifest, tmp_path / "_manifest.json")
    storage = Storage.from_url(str(tmp_path), {}, "output_path")
    assert check_free(storage, True, OutputKind.SEGMENTS)
    with raises("output.other_kind"):
        check_free(storage, True, OutputKind.FEATURES)


def test_an_output_of_unknown_kind_may_be_replaced(tmp_path: Path) -> None:
    text = '{"gpuseg": "0.1.0", "run_id": "a", "parts": [], "features": {}}'
    (tmp_path / "_manifest.json").write_text(text)
    storage = Storage.from_url(str(tmp_path), {}, "output_path")
    assert all(check_free(storage, True, kind) for kind in OutputKind)


@pytest.mark.parametrize("overwrite", [False, True])
def test_empty_folder_is_used(tmp_path: Path, source: Path, overwrite: bool) -> None:
    (tmp_path / "out").mkdir()
    run(source, tmp_path / "out", output={"overwrite": overwrite})
    assert read_parts(tmp_path / "out").num_rows == 600


def test_folders_above_are_made(tmp_path: Path, source: Path) -> None:
    run(source, tmp_path / "a" / "b" / "out")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["out"]


def test_link_to_a_folder_stays_a_link(tmp_path: Path, source: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    run(source, tmp_path / "out")
    run(source, tmp_path / "out", output=REPLACE)
    assert (tmp_path / "out").is_symlink()
    assert read_parts(tmp_path / "disk").num_rows == 600
    assert leftovers(tmp_path) == []


# What never is.


FOREIGN = [
    pytest.param(["precious.txt"], id="a file"),
    pytest.param(["part-00000.parquet", "_SUCCESS"], id="output of Spark"),
    pytest.param(
        ["precious.txt", "_staging/model.sql"],
        id="_staging",
    ),
    pytest.param(
        ["precious.txt", "_manifest.json"],
        id="_manifest.json",
    ),
]


@pytest.mark.parametrize("names", FOREIGN)
def test_foreign_folder_is_never_replaced(tmp_path: Path, source: Path, names: list[str]) -> None:
    for name in names:
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    before = listing(tmp_path)
    with raises("output.not_gpuseg"):
        run(source, tmp_path / "out", output=REPLACE)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    "target", ["in", "in/out", ".", "link", "in/../in/./x", "in/in-000.parquet"]
)
def test_output_may_not_overlap_the_input(tmp_path: Path, source: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(source)
    before = listing(tmp_path)
    with pytest.raises(ConfigError, match=r"output\.path = .*: overlaps input\.path = "):
        run(source, tmp_path / target, output=REPLACE)
    assert listing(tmp_path) == before


def test_output_beside_an_input_of_the_same_beginning(tmp_path: Path, source: Path) -> None:
    run(source, tmp_path / "in-segments")
    assert read_parts(tmp_path / "in-segments").num_rows == 600


@pytest.mark.parametrize("overwrite", [False, True])
def test_file_is_no_output_folder(tmp_path: Path, source: Path, overwrite: bool) -> None:
    (tmp_path / "out").write_text("precious")
    with raises("output.is_file"):
        run(source, tmp_path / "out", output={"overwrite": overwrite})
    assert (tmp_path / "out").read_text() == "precious"


# What a failed or killed run leaves.


def damage(path: Path, group: int, column: int) -> None:
    """Flip bits within a page whose checksum is stored: found when that column is decoded."""
    table = pq.read_table(path)
    pq.write_table(table, path, 100, write_page_checksum=True, use_dictionary=False)
    chunk = pq.read_metadata(path).row_group(group).column(column)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("column", [0, 2], ids=["found while writing", "found while reading"])
@pytest.mark.parametrize("older", [False, True])
def test_failed_run_leaves_all_as_it_was(
    tmp_path: Path, source: Path, column: int, older: bool
) -> None:
    if older:
        run(source, tmp_path / "out")
    damage(source / "in-001.parquet", 0, column)
    before = listing(tmp_path)
    with raises("file.damaged"):
        run(source, tmp_path / "out", output=REPLACE)
    assert listing(tmp_path) == before


@pytest.mark.slow
def test_failed_run_says_one_thing(tmp_path: Path, source: Path) -> None:
    damage(source / "in-001.parquet", 2, 0)
    (tmp_path / "job.toml").write_text(toml(job(source, tmp_path / "out")))
    outcome = shell(tmp_path, "run", "job.toml")
    assert outcome.code == 3
    assert "error: in-001.parquet: row group 2 cannot be decoded" in outcome.err
    assert "Traceback" not in outcome.err


def test_staging_folder_of_a_killed_run_is_removed(tmp_path: Path, source: Path) -> None:
    killed, alive, other = (
        tmp_path / f"{name}{machine_tag()}-{number}"
        for number, name in enumerate((".out.staging-", ".out.staging-", ".other.staging-"))
    )
    for folder in (killed, alive, other):
        write_files(folder, [customers(5)])
    handle = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        run(source, tmp_path / "out")
        assert leftovers(tmp_path) == [other.name, alive.name]
        assert [path.name for path in alive.iterdir()] == ["in-000.parquet"]
    finally:
        os.close(handle)
    run(source, tmp_path / "out", output=REPLACE)
    assert leftovers(tmp_path) == [other.name]


def test_staging_folder_of_an_output_with_brackets(tmp_path: Path, source: Path) -> None:
    write_files(tmp_path / f".out[1].staging-{machine_tag()}-1", [customers(5)])
    run(source, tmp_path / "out[1]")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("where", ["in/in-000.parquet/out", "/proc/gpuseg-out", "/dev/null/out"])
def test_place_that_cannot_be_written(tmp_path: Path, table: pa.Table, where: str) -> None:
    folder = write_files(tmp_path / "other", [table])
    blocked = write_files(tmp_path / "in", [table])
    before = listing(blocked)
    with raises("output.not_writable", exit_code=4):
        run(folder, tmp_path / where)
    assert listing(blocked) == before
