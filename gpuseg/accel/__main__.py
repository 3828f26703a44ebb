"""Run a script, a module or code as Python does, with `gpuseg.accel` switched on."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NoReturn

from gpuseg import accel
from gpuseg.errors import ConfigError

USAGE = """usage: python -m gpuseg.accel [option] ... (file | -m module | -c code) [argument] ...

Runs a script with scikit-learn's k-means, DBSCAN and silhouettes by gpuseg.

options:
  -v                    say on stderr what gpuseg computes, and what scikit-learn does, and why
  --min-saving SECONDS  what gpuseg must be expected to save (0.05); 0: gpuseg does all it can
  --mini-batch          fit MiniBatchKMeans by k-means on all rows
  --compile             compile the kernels, which takes a minute once on each machine
  -h, --help            show this text
"""

_WRONG_USAGE = 2


@dataclass
class _Command:
    """The command line.

    Attributes
    ----------
    options : dict
        Of `accel.install`.
    kind : {"file", "-m", "-c", "--compile"}
    target : str
        File, module or code.
    arguments : list of str
        Those of the target.
    """

    options: dict[str, Any] = field(default_factory=dict)
    kind: str = ""
    target: str = ""
    arguments: list[str] = field(default_factory=list)


def main(arguments: list[str]) -> None:
    """Run the command line, without the name of this module."""
    command = _parse(arguments)
    try:
        accel.install(**command.options)
    except ConfigError as error:
        _refuse(str(error))
    if command.kind == "--compile":
        from gpuseg.accel.warm_up import compile_kernels

        compile_kernels()
    elif command.kind == "-m":
        _run_module(command.target, command.arguments)
    elif command.kind == "-c":
        sys.argv[:] = ["-c", *command.arguments]
        _run_code(command.target, "<string>", None)
    else:
        _run_file(command.target, command.arguments)


def _parse(arguments: list[str]) -> _Command:
    """Return the command; end the process if there is none, or for help."""
    command, rest = _Command(), list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            sys.stdout.write(USAGE)
            raise SystemExit(0)
        if word == "-v":
            command.options["verbose"] = True
        elif word == "--mini-batch":
            command.options["mini_batch"] = True
        elif word == "--min-saving":
            command.options["min_saving"] = _number(_next(rest, word))
        elif word == "--compile":
            command.kind = word
            return command
        elif word in ("-m", "-c"):
            command.kind, command.target, command.arguments = word, _next(rest, word), rest
            return command
        elif word.startswith("-"):
            _refuse(f"unknown option {word}")
        else:
            command.kind, command.target, command.arguments = "file", word, rest
            return command
    return _refuse("nothing to run")


def _next(rest: list[str], option: str) -> str:
    return rest.pop(0) if rest else _refuse(f"{option} needs a value")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return _refuse(f"--min-saving {text} is not a number of seconds")


def _refuse(problem: str) -> NoReturn:
    sys.stderr.write(f"{problem}\n\n{USAGE}")
    raise SystemExit(_WRONG_USAGE)


def _run_file(path: str, arguments: list[str]) -> None:
    """Run a script; a folder or a zip file with a `__main__.py`, too."""
    sys.argv[:] = [path, *arguments]
    if os.path.isdir(path) or path.endswith((".zip", ".pyz")):  # noqa: PTH112 - pathlib is slow
        import runpy

        sys.path.pop(0)
        runpy.run_path(path, run_name="__main__")
        return
    sys.path[0] = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            source = file.read()
    except OSError as error:
        _refuse(f"can't open file {path!r}: {error.strerror}")
    _run_code(source, path, path)


def _run_module(name: str, arguments: list[str]) -> None:
    import runpy

    sys.argv[:] = [name, *arguments]
    sys.path[0] = os.getcwd()  # noqa: PTH109
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _run_code(source: str | bytes, name: str, file: str | None) -> None:
    """Run code as the module `__main__`, where it finds its classes when it is pickled."""
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    if file is not None:
        module.__file__ = file
    sys.modules["__main__"] = module
    code = compile(source, name, "exec", dont_inherit=True)  # not the __future__ of this file
    exec(code, module.__dict__)


if __name__ == "__main__":
    main(sys.argv[1:])
