"""Recognize a program that each worker would run again.

A worker on this machine is a new process, which first imports the program that starts it. So the
program must start workers below ``if __name__ == "__main__":``. Otherwise each worker starts
workers, or fails, with a traceback for each.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType, ModuleType

from gpuseg.errors import ConfigError, set_key

_STANDARD_INPUT = "<stdin>"


def error_of_program(cluster: str) -> ConfigError | None:
    """Return the error of a program that workers cannot import, or would run again, or None.

    That is a call from the top level of a program that has no guard.

    Parameters
    ----------
    cluster : str
        The cluster that the workers are for.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is None or file is None:
        return None  # a notebook, a shell, or the code of `python -c`
    if file == _STANDARD_INPUT:
        return ConfigError(
            "cluster.program_without_file",
            "the program comes from the standard input, and workers cannot import it from there",
            value=cluster,
            hint=f"save it as a file, or {set_key('cluster', 'local')}",
            parameter="cluster",
        )
    if _is_main_of_package(main) or not _is_at_top_level(main, file) or _has_guard(file):
        return None
    return ConfigError(
        "cluster.program_without_guard",
        f"each worker imports {file}, which would start this run again",
        value=cluster,
        rule="a program that starts workers must do so below `if __name__ == '__main__':`",
        hint="write this line above the call and indent the call, or "
        + set_key("cluster", "local"),
        parameter="cluster",
    )


def _is_main_of_package(main: ModuleType) -> bool:
    """Return whether the program is the `__main__.py` of a package, which workers never import."""
    spec = main.__spec__
    return spec is not None and spec.name.split(".")[-1] == "__main__"


def _is_at_top_level(main: ModuleType, file: str) -> bool:
    """Return whether this thread is about to run the file of the program, line by line."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if frame.f_globals is vars(main) and code.co_name == "<module>":
            return Path(code.co_filename).name == Path(file).name
        frame = frame.f_back
    return False


def _has_guard(file: str) -> bool:
    """Return whether a program compares its name, or asks which process it is; or may do so."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):  # no source
        return True
    compared = (
        node for test in ast.walk(tree) if isinstance(test, ast.Compare) for node in ast.walk(test)
    )
    names = {node.id for node in compared if isinstance(node, ast.Name)}
    called = {_last_name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return "__name__" in names or not called.isdisjoint({"parent_process", "current_process"})


def _last_name(function: ast.expr) -> str:
    """Return the name of a function that is called, without its module."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
