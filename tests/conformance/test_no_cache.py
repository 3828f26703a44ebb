"""Kernels without a folder that can be written, on a full disk, and with damaged files."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gpuseg
from gpuseg.backends.numba import disk_cache

MODULE = """
from gpuseg.backends.numba.inline import inlined, uncounted
from gpuseg.backends.numba.kernel import kernel

@inlined
def twice(x):
    return 2 * x

@uncounted
def plus_one(x):
    return x + 1

@kernel
def total(n):
    result = 0
    for i in range(int(n)):
        result += twice(plus_one(i))
    return result
"""

PROGRAM = """
import gpuseg.backends.numba.kmeans_kernels
from total_of_test import total
print(total(10), "kept" if total.stats.cache_path else "no cache")
"""


def without_permission(command: list[str]) -> list[str]:
    """Return a command for which the permissions of files hold, which the superuser overrides."""
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("needs setpriv, or a user other than root")
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search", *command]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package in a folder of its own, with a module that has a kernel."""
    folder = tmp_path / "site-packages"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(gpuseg.__file__).parent, folder / "gpuseg", ignore=ignored)
    (folder / "total_of_test.py").write_text(MODULE)
    return folder


def run_kernel(folder: Path, **environment: str | None) -> tuple[str, str]:
    """Compile and run the kernel in a process; return what it printed to both streams."""
    variables = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    for name, value in {"NUMBA_CACHE_DIR": None, **environment}.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    command = [sys.executable, "-W", "always::RuntimeWarning", "-c", PROGRAM]
    done = subprocess.run(
        without_permission(command), capture_output=True, text=True, env=variables, cwd=folder,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("home", ["read-only", "missing"])
def test_kernels_run_where_nothing_can_be_written(package: Path, home: str) -> None:
    for path in (package, *package.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    unwritable = str(package / "missing")
    out, err = run_kernel(
        package,
        HOME=str(package) if home == "read-only" else unwritable,
        NUMBA_CACHE_DIR=unwritable,
        XDG_CACHE_HOME=None,
    )
    for path in (package, *package.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    assert out == "110 no cache\n"
    assert err.count("NUMBA_CACHE_DIR") == 1


def load_total(folder: Path) -> Any:
    """Import the kernel's module once more, as another process would."""
    spec = importlib.util.spec_from_file_location("total_of_test", folder / "total_of_test.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.total


def hits(folder: Path) -> int:
    total = load_total(folder)
    assert total(10) == 110
    count: int = total.stats.cache_hits.total()
    return count


def kept_files(folder: Path) -> list[Path]:
    """Return the index and the code of the kernel."""
    return sorted(Path(load_total(folder).stats.cache_path).glob("total_of_test.*.nb?"))


@pytest.mark.slow
def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    (tmp_path / "total_of_test.py").write_text(MODULE)
    assert [hits(tmp_path), hits(tmp_path)] == [0, 1]
    for damage in (lambda whole: b"", lambda whole: whole[:-7], lambda whole: bytes(len(whole))):
        for suffix in (".nbi", ".nbc"):
            for path in kept_files(tmp_path):
                if path.suffix == suffix:
                    path.write_bytes(damage(path.read_bytes()))
            assert [hits(tmp_path), hits(tmp_path)] == [0, 1]


def test_code_under_the_name_of_another_is_not_loaded(tmp_path: Path) -> None:
    """Two processes that compile one function for two types may both call its code number 1."""
    (tmp_path / "total_of_test.py").write_text(MODULE)
    hits(tmp_path)
    (code,) = [path for path in kept_files(tmp_path) if path.name.startswith("total_of_test.total")
               and path.suffix == ".nbc"]  # fmt: skip
    total = load_total(tmp_path)
    assert total(10.0) == 110.0
    other = code.with_name(code.name.replace(".1.", ".2."))
    other.replace(code)
    assert hits(tmp_path) == 0


def test_a_folder_that_disappears_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "total_of_test.py").write_text(MODULE)
    total = load_total(tmp_path)
    folder = Path(total.stats.cache_path)
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    monkeypatch.setattr(disk_cache, "_has_warned", False)
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR"):
        assert total(10) == 110
