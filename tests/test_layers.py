"""Who may import whom, and what ``import gpuseg`` costs: the floors of the house."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gpuseg"

FLOORS = {
    "cli": {"jobs", "insight", "data", "runtime", "model", "errors"},
    "jobs": {
        *("encoding", "replay"),
        *("dbscan_model", "estimators", "engine", "backends", "data", "features", "insight"),
        *("portrait", "hierarchical_model"),
        *("model", "runtime", "errors", "validation"),
    },
    "features": {"data", "engine", "backends", "runtime", "errors", "validation"},
    "estimators": {
        *("encoding", "engine", "replay", "backends", "insight", "runtime", "errors", "validation"),
    },
    "dbscan_model": {"backends", "data", "engine", "model", "replay", "runtime"},
    "hierarchical_model": {"backends", "engine", "errors", "model", "replay"},
    "loading": {"dbscan_model", "errors", "hierarchical_model", "model"},
    "model": {"backends", "replay"},
    "replay": {"backends", "encoding", "errors"},
    "data": {"encoding", "engine", "backends", "runtime", "errors", "validation"},
    "engine": {"encoding", "backends", "runtime", "errors", "validation"},
    "encoding": {"errors"},
    "insight": set[str](),
    "portrait": {"encoding"},
    "runtime": {"errors"},
    "backends": {"errors"},
    "validation": {"errors"},
    "errors": set[str](),
}
"""Each floor, and the floors it may import besides itself."""

KERNELS = (
    *(
        "accumulate",
        "columns",
        "curves",
        "distance_sums",
        "exact",
        "prepare",
        "lloyd",
        "moments",
        "nearest",
        "score",
    ),
    *("simd", "transpose", "wide"),
    *("bits", "claims", "cores", "forest", "links", "nearest_rows", "neighbors", "space", "tiles"),
    *("customers", "grid", "grid_counts", "grid_links", "grid_within", "within"),
)

HOMES = {
    "dask": {"runtime/cluster.py", "runtime/collection.py"},
    "distributed": {f"runtime/{name}.py" for name in ("cluster", "collection", "dask_", "worker")},
    "cupy": {"backends/cuda/device.py"},
    "dask_cuda": {"runtime/cluster.py"},
    "cudf": set[str](),
    "pylibcudf": {"data/cudf_reader.py"},
    "cuml": set[str](),
    "pyspark": set[str](),
    "numba": {f"backends/numba_/{name}.py" for name in KERNELS},
    "llvmlite": {f"backends/numba_/{name}.py" for name in ("bits", "simd", "transpose", "wide")},
    "fsspec": {"data/storage.py"},
    "typer": {"cli.py"},
    "safetensors": {"dbscan_model.py", "hierarchical_model.py", "loading.py", "model.py"},
}
"""Heavy or optional packages, and the only files that may import them."""

MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a file's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, anywhere in it."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards(path: Path) -> None:
    floor = floor_of(path)
    if floor == "__init__":
        return
    own = {name.split(".")[1] for name in imports(path) if name.startswith("gpuseg.")}
    assert own - {floor, "__version__"} <= FLOORS[floor]


def test_floors_have_no_circle() -> None:
    left = dict(FLOORS)
    while left:
        free = [name for name, below in left.items() if not below & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        left = {name: below for name, below in left.items() if name not in free}


@pytest.mark.parametrize("package", HOMES)
def test_package_is_imported_at_home_only(package: str) -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any(name.split(".")[0] == package for name in imports(path))
    }
    assert users == HOMES[package]


def test_import_is_light() -> None:
    heavy = ("dask", "distributed", "pyarrow", "numba", "sklearn", "cupy", "pandas", "numpy")
    code = f"import sys, gpuseg; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_light() -> None:
    code = (
        "import sys; from gpuseg import cli; "
        "print([m for m in ('dask', 'pyarrow', 'numba', 'sklearn', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_can_be_imported() -> None:
    code = "import gpuseg; print(len([getattr(gpuseg, name) for name in gpuseg.__all__]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 9


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    assert path.read_text().count("\n") <= 300
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef):
            doc = ast.get_docstring(node, clean=False)
            lines = (node.end_lineno or 0) - node.lineno + 1
            lines -= doc.count("\n") + 1 if doc else 0
            assert lines <= 60, f"{node.name} has {lines} lines"
