"""Words of a private language stay out of names, and no two classes share a name."""

import ast
import functools
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BANNED = {"own", "found", "told", "said", "lacking", "anew", "mend", "settle", "portrait"}
"""Words that no name may contain, also not as a part between underscores."""

BUILTIN = {"FileNotFoundError", "ModuleNotFoundError", "PackageNotFoundError"}

SHARED = {"Device"}
"""Classes of the emulator that have the names of CuPy's, which they replace."""

FILES = [
    path
    for folder in ("gpuseg", "tests", "benchmarks", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__)
]

KERNELS = sorted((ROOT / "kernels").rglob("*.cu*"))

TEXTS = {path: path.read_text() for path in FILES}


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a file's syntax tree; it takes so long that few files are parsed."""
    return list(ast.walk(ast.parse(TEXTS[path])))


def names_of(path: Path) -> Iterator[str]:
    """Yield every name that a file binds or uses."""
    for node in nodes(path):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name, asname=alias):
                yield alias or name.rpartition(".")[2]


def kernel_names(path: Path) -> Iterator[str]:
    """Yield every word of a kernel's source, comments and texts left out."""
    code = re.sub(r'//[^\n]*|/\*.*?\*/|"[^"\n]*"', " ", path.read_text(), flags=re.DOTALL)
    yield from re.findall(r"[A-Za-z_]\w*", code)


@functools.cache
def words_of(name: str) -> set[str]:
    """Split a name at underscores and capitals."""
    return set(re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().split("_"))


def banned(names: set[str]) -> list[str]:
    """Return the names that contain a banned word."""
    return sorted(name for name in names - BUILTIN if words_of(name) & BANNED)


@pytest.mark.slow
def test_names_are_standard_terms() -> None:
    words = {str(path.relative_to(ROOT)): banned(names_in(path)) for path in FILES}
    assert not {path: names for path, names in words.items() if names}


def names_in(path: Path) -> set[str]:
    """Return the names of a file; only that of the file if no word of its text is banned."""
    has_banned = banned(set(re.findall(r"\w+", TEXTS[path])))
    return {path.stem, *(names_of(path) if has_banned else ())}


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_in_kernels_are_standard_terms(path: Path) -> None:
    assert not banned({path.stem, *kernel_names(path)})


@pytest.mark.slow
def test_no_two_classes_have_the_same_name() -> None:
    words = {path: re.findall(r"^\s*class\s+(\w+)", TEXTS[path], re.MULTILINE) for path in FILES}
    times = Counter(itertools.chain.from_iterable(words.values()))
    paths = defaultdict(list)
    for path in FILES:
        if all(times[name] == 1 for name in words[path]):
            continue  # also with the texts of files, each of its classes has a name of its own
        for node in nodes(path):
            if isinstance(node, ast.ClassDef) and node.name not in SHARED:
                paths[node.name].append(str(path.relative_to(ROOT)))
    assert not {name: files for name, files in paths.items() if len(files) > 1}


@pytest.mark.parametrize("name", ["own", "what_is_found", "FoundRow", "told_by"])
def test_banned_words_are_detected_in_names(name: str) -> None:
    assert banned({name, "owner", "foundation"}) == [name]
