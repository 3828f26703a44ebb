"""Which files are found below a path: all of them, or an error that names what cannot be read."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.errors import raises
from support.helpers import call, customers, job, read_parts, write_files

import gpuseg
from gpuseg.errors import ConfigError, DataError
from gpuseg.io.listing import list_files
from gpuseg.io.storage import Storage


def names(path: Path | str) -> list[str]:
    storage = Storage.from_url(str(path), {}, "input_path")
    return [storage.relative(file) for file, _ in list_files(storage, "input_path")]


def unbound_socket(path: Path) -> None:
    """Make a socket's file; the path of a socket may have 108 bytes only."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "socket": (unbound_socket, "file.not_regular"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "path.dangling_link"),
    "link in a circle": (lambda path: path.symlink_to(path.parent), "path.link_in_a_circle"),
    "link to itself": (lambda path: path.symlink_to(path), "path.unlistable"),
}


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("inside", [True, False])
def test_what_is_no_file_is_refused_by_name(tmp_path: Path, name: str, inside: bool) -> None:
    make, code = SPECIAL[name]
    folder = write_files(tmp_path / "in", [customers(5)]) / "deep"
    folder.mkdir()
    make(folder / "odd.parquet")
    if not inside and name == "link in a circle":
        assert names(folder.parent / "in-000.parquet") == ["in-000.parquet"]
        return
    with raises(code, DataError) as caught:
        names(folder.parent if inside else folder / "odd.parquet")
    assert "odd.parquet" in str(caught.value)
    (folder / "odd.parquet").rename(folder / "_odd.parquet")
    assert names(folder.parent) == ["in-000.parquet"]


@pytest.mark.parametrize("section", ["transactions", "join"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_pipe_is_no_input(tmp_path: Path, section: str, kind: str) -> None:
    write_files(tmp_path / "lines", [customers(5)])
    (tmp_path / "ages").mkdir()
    os.mkfifo(tmp_path / ("lines" if section == "transactions" else "ages") / f"x.{kind}")
    roles = {"customer": "customer", "time": "recency", "amount": "spend"}
    spec: dict[str, Any] = {
        "transactions": {"path": str(tmp_path / "lines"), **roles},
        "join": [{"path": str(tmp_path / "ages"), "id": "customer"}],
        "output": {"path": str(tmp_path / "out")},
    }
    if section == "join":
        write_lines = [customers(5).set_column(1, "recency", [["2025-01-01"] * 5])]
        write_files(tmp_path / "lines", write_lines)
    with raises("file.not_regular"):
        gpuseg.run(spec)


def test_a_pipe_is_no_job(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "job.toml")
    for path in (tmp_path / "job.toml", Path("/dev/zero")):
        assert call(capfd, "run", path).code == 2


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    write_files(tmp_path / "elsewhere", [customers(5)])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.parquet").symlink_to(tmp_path / "elsewhere" / "in-000.parquet")
    (tmp_path / "in" / "a").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "in") == ["a/in-000.parquet", "b.parquet"]


def test_files_that_windows_and_excel_leave_are_ignored(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", [customers(5)])
    for name in ("desktop.ini", "Thumbs.db", "~$book.xlsx", "in-000.parquet:Zone.Identifier"):
        (folder / name).write_bytes(b"no data")
    assert names(folder) == ["in-000.parquet"]


@pytest.mark.skipif(sys.platform != "linux", reason="another user is made by unshare")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", [customers(50)])
    write_files(source / "secret", [customers(50)])
    (source / "secret").chmod(0)
    code = (
        "import os, sys\n"
        "from gpuseg.errors import DataError\n"
        "from gpuseg.io.listing import list_files\n"
        "from gpuseg.io.storage import Storage\n"
        "storage = Storage.from_url(sys.argv[1], {}, 'input_path')\n"
        "if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)\n"
        "if not os.access(sys.argv[1], os.R_OK | os.X_OK): sys.exit('unreachable')\n"
        "try: list_files(storage, 'input_path')\n"
        "except DataError as error: print(error.code, 'secret' in str(error))\n"
    )
    for folder in (source, *source.parents):  # another user must come as far as here
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
        if folder == tmp_path.parent.parent:
            break
    done = subprocess.run(
        [sys.executable, "-c", code, str(source)], capture_output=True, text=True, check=False
    )
    (source / "secret").chmod(0o700)
    if "Permission" in done.stderr or "unreachable" in done.stderr:
        pytest.skip("another user cannot come as far as the folder of this test")
    assert done.stdout.split() == ["path.unlistable", "True"], done.stderr


def test_folders_may_be_deep(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("a.parquet", os.O_CREAT, dir_fd=handle))
    os.close(handle)
    try:
        assert names(tmp_path) == ["d/" * 1200 + "a.parquet"]
    finally:
        subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)  # shutil's is recursive


# Paths with the sign that fsspec puts between two file systems.


@pytest.mark.parametrize("name", ["out::2024", "a::b::c", "file::x", "::", "memory::"])
def test_colons_are_a_part_of_a_name(tmp_path: Path, name: str) -> None:
    source = write_files(tmp_path / f"in{name}", [customers(60)])
    gpuseg.run(job(source, tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"in{name}"])
    assert read_parts(tmp_path / name).num_rows == 60
    assert gpuseg.load_model(tmp_path / name).n_clusters == 3


@pytest.mark.parametrize("prefix", ["file://{}", "local://{}", "memory://gpuseg{}"])
def test_colons_in_a_url(tmp_path: Path, prefix: str) -> None:
    storage = Storage.from_url(prefix.format(f"{tmp_path}/out::2024"), {}, "output_path")
    assert storage.root.endswith(f"{tmp_path}/out::2024")


def test_a_chain_must_hold_each_of_its_links(tmp_path: Path) -> None:
    storage = Storage.from_url(f"simplecache::file://{tmp_path}/x", {}, "input_path")
    assert storage.root == f"{tmp_path}/x"
    with raises("path.unknown_file_system", ConfigError):
        Storage.from_url(f"simplecache::file://{tmp_path}/x::2024", {}, "input_path")
