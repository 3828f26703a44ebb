"""Programs that each worker would run again are refused, before a worker starts."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType

import dask
import pytest
from support.errors import raises

import gpuseg
from gpuseg.errors import ConfigError, GpusegError

CALL = """
import logging
import gpuseg

logger = logging.getLogger(__name__)
job = {
    "input": {"path": "nothing.parquet"}, "output": {"path": "out"},
    "segment": {"n_clusters": 2}, "runtime": {"cluster": "CLUSTER"},
}
"""

TOP_LEVEL = CALL + "gpuseg.run(job)"

IN_A_FUNCTION = CALL + "def main():\n    gpuseg.run(job)\n\nmain()"

GUARDED = {
    "guard": CALL + "if __name__ == '__main__':\n    gpuseg.run(job)",
    "early end": CALL + "if '__main__' != __name__:\n    raise SystemExit\ngpuseg.run(job)",
    "process": CALL + "from multiprocessing import current_process\n"
    "if current_process().name == 'MainProcess':\n    gpuseg.run(job)",
}  # fmt: skip

WITHOUT_GUARD = "cluster.program_without_guard"


def code_of(folder: Path, program: str, cluster: str = "dask") -> str:
    """Return the code of the error that a program ends with; its input is missing."""
    path = folder / "program.py"
    path.write_text(program.replace("CLUSTER", cluster))
    with pytest.raises(GpusegError) as caught:
        runpy.run_path(str(path), run_name="__main__")
    return caught.value.code


@pytest.mark.parametrize("program", [TOP_LEVEL, IN_A_FUNCTION])
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_program_without_guard(tmp_path: Path, program: str, method: str) -> None:
    with dask.config.set({"distributed.worker.multiprocessing-method": method}):
        assert (code_of(tmp_path, program) == WITHOUT_GUARD) == (method != "fork")


@pytest.mark.parametrize("program", GUARDED.values(), ids=GUARDED)
def test_program_with_guard(tmp_path: Path, program: str) -> None:
    assert code_of(tmp_path, program) != WITHOUT_GUARD


def test_main_of_a_package_is_not_imported_by_workers(tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(TOP_LEVEL.replace("CLUSTER", "dask"))
    with pytest.raises(GpusegError) as caught:
        runpy.run_path(str(tmp_path), run_name="__main__")
    assert caught.value.code != WITHOUT_GUARD


def test_one_process_needs_no_guard(tmp_path: Path) -> None:
    assert code_of(tmp_path, TOP_LEVEL, "local") != WITHOUT_GUARD


@pytest.mark.parametrize(
    ("file", "code"), [("<stdin>", "cluster.program_without_file"), (None, "path.not_found")]
)
def test_program_without_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str | None, code: str
) -> None:
    """The code of `python -c` and of notebooks is no file, and is not imported."""
    main = ModuleType("__main__")
    if file is not None:
        main.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", main)
    job = {
        "input": {"path": str(tmp_path / "nothing.parquet")},
        "output": {"path": str(tmp_path / "out")}, "runtime": {"cluster": "dask"},
    }  # fmt: skip
    with raises(code, ConfigError if file else GpusegError):
        gpuseg.run(job)
