"""Words of a private language stay out of names: each name holds the noun of what it stands for."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BANNED = {"own", "found", "told", "said", "lacking", "anew", "mend", "settle", "portrait"}
"""Words that no name may contain, also not as a part between underscores."""

OPEN = {"backends"}
"""Packages whose names still have to change."""

FILES = [
    path
    for path in sorted((ROOT / "gpuseg").rglob("*.py"))
    if path.relative_to(ROOT).parts[1] not in OPEN
]

BUILTIN = {"FileNotFoundError", "ModuleNotFoundError", "PackageNotFoundError"}


def names_of(path: Path) -> Iterator[str]:
    """Yield every name that a file binds or uses."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name, asname=alias):
                yield alias or name.rpartition(".")[2]


def words_of(name: str) -> set[str]:
    """Split a name at underscores and capitals."""
    return set(re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().split("_"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_standard_terms(path: Path) -> None:
    names = {path.stem, *names_of(path)} - BUILTIN
    assert not sorted(name for name in names if words_of(name) & BANNED)
