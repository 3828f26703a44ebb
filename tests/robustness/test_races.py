"""Changes by others in the output's folder between the start of a run and its end."""

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from support.errors import raises

from gpuseg.errors import ConfigError
from gpuseg.io.output.open import open_output
from gpuseg.io.storage import Storage
from gpuseg.runtime.owned_folder import machine_tag

MANIFEST = b'{"gpuseg": "0.1.0", "run_id": "x", "parts": []}'


def target(path: Path) -> Storage:
    return Storage.from_url(str(path), {}, "output.path")


@pytest.mark.slow
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_others_stay(tmp_path: Path, exists: bool, overwrite: bool) -> None:
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    with open_output(target(out), overwrite, "run-1") as output:
        out.mkdir(exist_ok=True)
        (out / "precious.txt").write_text("precious")
        with pytest.raises(OSError, match="not empty"):
            output.publish([])
    assert [path.name for path in out.iterdir()] == ["precious.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_output_that_became_another_folder_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "_manifest.json").write_bytes(MANIFEST)
    with open_output(target(out), True, "run-1") as output:
        (out / "_manifest.json").unlink()
        (out / "precious.txt").write_text("precious")
        with raises("output.not_gpuseg", ConfigError):
            output.publish([])
    assert [path.name for path in out.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("moment", ["opened", "locked"])
def test_a_folder_that_is_not_locked_yet_may_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Another run begins just before the folder of this one is opened, or locked."""
    folder = tmp_path / f".out.staging-{machine_tag()}-run-1"
    open_file, lock, removed = os.open, fcntl.flock, list[bool]()

    def remove() -> None:
        if not removed and folder.exists():
            removed.append(True)
            open_output(target(tmp_path / "out"), False, "run-2").discard()
            assert not folder.exists()

    def open_later(path: Any, *args: Any, **kwargs: Any) -> int:
        if moment == "opened" and path == folder:
            remove()
        return open_file(path, *args, **kwargs)

    def lock_later(handle: int, operation: int) -> None:
        if moment == "locked" and operation == fcntl.LOCK_EX:
            remove()
        lock(handle, operation)

    monkeypatch.setattr(os, "open", open_later)
    monkeypatch.setattr(fcntl, "flock", lock_later)
    with open_output(target(tmp_path / "out"), False, "run-1"):
        assert removed and folder.is_dir()
        open_output(target(tmp_path / "out"), False, "run-3").discard()
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_run_killed_before_its_lock_is_removed(tmp_path: Path) -> None:
    prefix = f".out.staging-{machine_tag()}"
    (tmp_path / f"{prefix}-run-1").mkdir()
    os.mkfifo(tmp_path / f"{prefix}-fifo")
    with open_output(target(tmp_path / "out"), False, "run-2"):
        names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{prefix}-run-2", f"{prefix}-fifo"}


def test_two_runs_stage_at_the_same_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_output(target(out), False, "run-1") as first:
        with open_output(target(out), False, "run-2") as second:
            second.write("_manifest.json", MANIFEST)
            second.publish([])
        assert Path(first.staging.folder).is_dir()
        with pytest.raises(OSError, match="not empty"):
            first.publish([])
    assert (out / "_manifest.json").read_bytes() == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
