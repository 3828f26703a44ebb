"""The folder beside an output: for this user alone, and written as a whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from support.errors import raises

from gpuseg.errors import ResourceError
from gpuseg.io.output.base import check_free
from gpuseg.io.output.run_folder import RunFolder, make_private
from gpuseg.io.storage import Storage


def target(path: object) -> Storage:
    return Storage.from_url(str(path), {}, "output_path")


def test_a_local_folder_lies_beside_the_output_and_is_private(tmp_path: Path) -> None:
    folder = RunFolder(target(tmp_path / "out"))
    assert (folder.names(), folder.read("status.json")) == ([], None)
    folder.write("ranks/address", b"here")
    folder.append("log.txt", b"one\n")
    folder.append("log.txt", b"two\n")
    assert folder.read("log.txt") == b"one\ntwo\n"
    assert folder.names() == ["log.txt", "ranks"]
    paths = [tmp_path / ".out._run", *sorted((tmp_path / ".out._run").rglob("*"))]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert modes == {".out._run": 0o700, "log.txt": 0o600, "ranks": 0o700, "address": 0o600}
    folder.remove("ranks")
    assert folder.names() == ["log.txt"]
    folder.remove("log.txt")
    folder.remove_if_empty()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_private_folder_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(target(tmp_path / "out"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".out._run").symlink_to("elsewhere")
    with raises("run_folder.not_yours", ResourceError):
        folder.write("status.json", b"")
    (tmp_path / ".out._run").unlink()
    (tmp_path / ".out._run").mkdir(0o777)
    folder.make()
    assert stat.S_IMODE((tmp_path / ".out._run").stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".out._run").mkdir()
    os.chown(tmp_path / ".out._run", 12345, -1)
    with raises("run_folder.not_yours", ResourceError):
        RunFolder(target(tmp_path / "out")).read("status.json")
    with raises("run_folder.not_yours", ResourceError):  # where a job is submitted
        make_private(tmp_path / ".out._run")


def test_an_object_store_has_it_in_the_output(memory: Any) -> None:
    output = target("memory://gpuseg-test/out")
    folder = RunFolder(output)
    folder.write("status.json", b"1")
    folder.append("log.txt", b"one\n")
    folder.append("log.txt", b"two\n")
    assert folder.names() == ["log.txt", "status.json"]
    assert folder.read("log.txt") == b"one\ntwo\n"
    assert not check_free(output, overwrite=False)  # a run that was killed left it
    for name in folder.names():
        folder.remove(name)
    assert folder.names() == []
