"""A refresh in the place of the older output, or killed, interrupted, or without room."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.change_at import ChangeAt
from support.errors import raises
from support.helpers import (
    bits,
    customers,
    in_turn,
    job,
    leftovers,
    listing,
    manifest_of,
    read_parts,
    run,
    write_files,
)

import gpuseg
from gpuseg.errors import ResourceError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of rows; the outputs `older` and `scored` of the first one."""
    folder = tmp_path_factory.mktemp("in_place")
    write_files(folder / "in", [customers(500)])
    write_files(folder / "newer", [customers(500, seed=1, first_id=200)])
    run(folder / "in", folder / "older")
    gpuseg.score(folder / "older", folder / "in", folder / "scored")
    return folder


def in_place(folder: Path, older: Path | str, **options: Any) -> dict[str, Any]:
    return job(folder / "newer", older, output={"overwrite": True, **options})


@pytest.mark.parametrize(
    ("of", "mode"), in_turn(["older", "scored"], ["score", "warm", "append"], step=2)
)
def test_a_refresh_in_place_is_one_beside(of: str, mode: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / of, tmp_path / of)
    append = mode == "append"
    choice: dict[str, Any] = {"append": append, "mode": None if append else mode}
    gpuseg.refresh(job(folder / "newer", tmp_path / "beside"), folder / of, **choice)
    gpuseg.refresh(in_place(folder, tmp_path / of), tmp_path / of, **choice)
    beside, here = manifest_of(tmp_path / "beside"), manifest_of(tmp_path / of)
    assert read_parts(tmp_path / of).equals(read_parts(tmp_path / "beside"))
    for key in ("definitions", "migration", "mode"):
        assert beside["refresh"].get(key) == here["refresh"].get(key)
    assert leftovers(tmp_path) == []
    gpuseg.refresh(in_place(folder, tmp_path / of), tmp_path / of, mode="warm")
    modes = [entry.mode for entry in gpuseg.history([str(tmp_path / of)])]
    assert modes == ["run", *["score"] * (of == "scored"), mode, "warm"]


@pytest.mark.parametrize("store", ["memory", "s3"])
def test_an_object_store(store: str, folder: Path, request: pytest.FixtureRequest) -> None:
    options: dict[str, Any] = {}
    if store == "memory":
        fs, url = request.getfixturevalue("memory"), "memory://gpuseg-test/out"
    else:
        options["storage_options"] = request.getfixturevalue("options")
        fs, bucket = request.getfixturevalue("bucket")
        url = f"{bucket}/out"
    gpuseg.run(job(folder / "in", url, output=options))
    ids = [gpuseg.refresh(in_place(folder, url, **options), url, mode=mode).record.run_id
           for mode in ("score", "warm")]  # fmt: skip
    manifest = json.loads(fs.cat_file(f"{url}/_manifest.json"))
    assert manifest["refresh"]["from_run_id"] == ids[0]
    migration = manifest["refresh"]["migration"]
    assert migration["stayed"] + migration["moved"] == 500
    names = {path.rsplit("/out/", 1)[1] for path in fs.find(url)}
    listed = {part["name"] for part in manifest["parts"]}
    assert listed == {name for name in names if name.startswith("part-")}
    assert sum(name.startswith("_changes/") for name in names) == 1


@pytest.mark.parametrize(("mode", "stage"), [
    ("score", "score"), ("score", "compare customers"), ("warm", "compare"), ("warm", "publish"),
])  # fmt: skip
def test_an_interrupted_refresh_leaves_the_older_output(
    mode: str, stage: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "older", tmp_path / "older")
    before = listing(tmp_path / "older")
    interrupt = ChangeAt(stage, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        gpuseg.refresh(
            in_place(folder, tmp_path / "older"), tmp_path / "older", mode=mode, progress=interrupt
        )  # fmt: skip
    assert listing(tmp_path / "older") == before
    assert leftovers(tmp_path) == []


KILLED = """
import json, os, signal, sys
from support.change_at import ChangeAt
import gpuseg

job, older, mode, stage = json.loads(sys.argv[1])
kill = ChangeAt(stage, lambda: os.kill(os.getpid(), signal.SIGKILL))
gpuseg.refresh(job, older, mode=mode, progress=kill)
"""


@pytest.mark.parametrize(("mode", "stage"), [("score", "publish"), ("warm", "compare customers")])
def test_a_killed_refresh_leaves_the_older_output(
    mode: str, stage: str, folder: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(folder / "older", older)
    before = listing(older)
    arguments = json.dumps([in_place(folder, older), str(older), mode, stage])
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, arguments]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert listing(older) == before
    gpuseg.refresh(in_place(folder, older), older, mode=mode)
    assert leftovers(tmp_path) == []
    assert manifest_of(older)["refresh"]["from_run_id"] == manifest_of(folder / "older")["run_id"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small file system; only root may."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("mode", ["score", "warm"])
def test_a_disk_that_is_full_for_the_changes(mode: str, folder: Path, small_disk: Path) -> None:
    older = small_disk / "older"
    shutil.copytree(folder / "older", older)
    before = listing(older)

    def fill() -> None:
        (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))

    full = ChangeAt("compare customers", fill)
    with raises("output.not_writable", ResourceError):
        gpuseg.refresh(in_place(folder, older), older, mode=mode, progress=full)
    assert listing(older) == before
    assert leftovers(small_disk) == []
    assert pq.read_table(older).num_rows == 500


def test_a_refresh_does_not_touch_the_older_output(folder: Path, tmp_path: Path) -> None:
    before, same = listing(folder / "older"), bits(folder / "older")
    gpuseg.refresh(job(folder / "newer", tmp_path / "out"), folder / "older", mode="fresh")
    assert (listing(folder / "older"), bits(folder / "older")) == (before, same)
