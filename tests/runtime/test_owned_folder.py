"""Folders of this process, and folders that processes have left."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gpuseg.runtime.owned_folder import (
    OwnedFolder,
    machine_tag,
    remove_abandoned,
    share_as_usual,
)

HOLD = """
import sys, time
from gpuseg.runtime.owned_folder import OwnedFolder
folder = OwnedFolder(sys.argv[1], "x-")
(folder.path / "file").touch()
print(folder.path, flush=True)
time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_goes_with_its_process_or_with_the_next_one(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    with OwnedFolder(tmp_path, "x-") as folder:
        remove_abandoned(tmp_path, "x-")
        assert names(tmp_path) == sorted([left.name, folder.path.name])
        process.send_signal(signal.SIGKILL)
        process.communicate()
        remove_abandoned(tmp_path, "x-")
        assert names(tmp_path) == [folder.path.name]
    assert names(tmp_path) == []


def test_folders_of_others_stay(tmp_path: Path) -> None:
    tag = machine_tag()
    (tmp_path / f"x-{tag}file").touch()
    for name in (f"x-{'0' * len(tag)}other-machine", "x-mine", f"y-{tag}1", "x-"):
        (tmp_path / name).mkdir()
    (tmp_path / f"x-{tag}link").symlink_to(tmp_path / "x-mine")
    before = names(tmp_path)
    remove_abandoned(tmp_path, "x-")
    assert names(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_stays(tmp_path: Path) -> None:
    folder = tmp_path / f"x-{machine_tag()}1"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    remove_abandoned(tmp_path, "x-")
    assert folder.is_dir()


@pytest.mark.parametrize(("name", "boot"), [(True, False), (False, True)])
def test_a_restart_or_a_container_is_the_same_machine(
    tmp_path: Path, name: bool, boot: bool
) -> None:
    tag, other = machine_tag(), "0" * len(machine_tag())
    half = len(tag) // 2
    seen = (tag if name else other)[:half] + (tag if boot else other)[half:]
    (tmp_path / f"x-{seen}1").mkdir()
    remove_abandoned(tmp_path, "x-")
    assert names(tmp_path) == []


def test_a_folder_that_was_published_stays(tmp_path: Path) -> None:
    with OwnedFolder(tmp_path, "x-", "1") as folder:
        folder.path.rename(tmp_path / "published")
    assert names(tmp_path) == ["published"]


@pytest.mark.parametrize("inherited", [0, stat.S_ISGID])
@pytest.mark.parametrize(("mask", "usual"), [(0o022, 0o755), (0o077, 0o700), (0o002, 0o775)])
def test_a_folder_is_shared_as_usual_once_it_is_published(
    tmp_path: Path, mask: int, usual: int, inherited: int
) -> None:
    tmp_path.chmod(0o700 | inherited)
    before = os.umask(mask)
    try:
        with OwnedFolder(tmp_path, "x-") as folder:
            assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700 | inherited
            share_as_usual(folder.path)
            assert stat.S_IMODE(folder.path.stat().st_mode) == usual | inherited
            assert names(folder.path) == []
    finally:
        os.umask(before)


def test_a_folder_that_is_taken_over_is_for_this_user_alone(tmp_path: Path) -> None:
    left = OwnedFolder(tmp_path, "x-")
    (left.path / ".usual").mkdir()
    share_as_usual(left.path)
    left.release()
    with OwnedFolder.adopted(left.path) as folder:
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert names(folder.path) == []
