"""Who may import whom, and what ``import gpuseg`` costs."""

import ast
import functools
import itertools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "gpuseg"

HOMES = {
    "dask": {"runtime/cluster.py", "runtime/dask/", "runtime/ranks/"},
    "distributed": {"runtime/cluster.py", "runtime/dask/", "runtime/ranks/"},
    "cupy": {"backends/cuda/cupy_launcher.py", "backends/cuda/gpus.py"},
    "dask_cuda": {"runtime/cluster.py"},
    "cudf": set[str](),
    "pylibcudf": {"io/parquet/cudf_reader.py"},
    "cuml": set[str](),
    "pyspark": set[str](),
    "mlflow": {"mlflow/"},
    "numba": {"backends/numba/"},
    "llvmlite": {"backends/numba/simd/"},
    "fsspec": {"io/storage.py"},
    "typer": {"cli/"},
    "deltalake": {"io/table_formats/delta.py"},
    "pyiceberg": {"io/table_formats/iceberg.py"},
    "python_calamine": {"io/text_files/workbook.py"},
    "phonenumbers": {"audience/phone_numbers.py"},
    "safetensors": {"models/"},
    "uvicorn": {"serving/server.py"},
    "httptools": {"serving/bounded_http.py"},
    "uvloop": {"serving/server.py"},
    "msgspec": {f"serving/{name}.py" for name in ("request_json", "request_rows", "row_limit")},
    "onnx": {"exports/onnx/"},
    "sqlglot": {"exports/sql/"},
    "yaml": {"jobs/submit/yaml_documents.py"},
}
"""Heavy or optional packages, and the only files and folders that may import them."""

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


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def documented_layers() -> list[set[str]]:
    """Return the packages of each layer, lowest first, as CONTRIBUTING.md has them."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text().split("## The layers")[1]
    block = "".join(line for line in text.splitlines() if line.startswith("    "))
    return [{name.strip() for name in layer.split(",")} for layer in block.split("<")]


LAYERS = documented_layers()


def test_each_package_is_in_one_layer() -> None:
    packages = {package_of(path) for path in MODULES} - {"__init__"}
    assert sorted(name for layer in LAYERS for name in layer) == sorted(packages)


@pytest.mark.slow
def test_imports_run_downwards() -> None:
    upwards = {str(path.relative_to(PACKAGE)): imports_upwards(path) for path in MODULES}
    assert not {path: packages for path, packages in upwards.items() if packages}


def imports_upwards(path: Path) -> set[str]:
    """Return the packages that a file imports, but not from the layers below its own."""
    package = package_of(path)
    if package == "__init__":
        return set()
    below = set[str]().union(*itertools.takewhile(lambda layer: package not in layer, LAYERS))
    imported = {name.split(".")[1] for name in imports(path) if name.startswith("gpuseg.")}
    return imported - {package, "__version__"} - below


@pytest.mark.slow
def test_no_circle_between_files() -> None:
    by_name = {
        module_name(path): path
        for path in MODULES
        if path.parent != PACKAGE or path.stem != "__init__"
    }
    graph = {
        name: {imported for imported in imports(path) if imported in by_name} - {name}
        for name, path in by_name.items()
    }
    assert sum(map(len, graph.values())) > 500, "imports between files"
    assert len(list(TopologicalSorter(graph).static_order())) == len(by_name)


@pytest.mark.parametrize("package", HOMES)
def test_package_is_imported_at_home_only(package: str) -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any(name.split(".")[0] == package for name in imports(path))
    }
    homes = {user: [home for home in HOMES[package] if user.startswith(home)] for user in users}
    assert all(homes.values()), homes
    assert {home for few in homes.values() for home in few} == HOMES[package]


def test_import_is_light() -> None:
    heavy = (
        "dask",
        "distributed",
        "pyarrow",
        "numba",
        "sklearn",
        "cupy",
        "pandas",
        "numpy",
        "mlflow",
    )
    code = f"import sys, gpuseg; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_light() -> None:
    code = (
        "import sys; import gpuseg.cli.app; "
        "print([m for m in ('dask', 'pyarrow', 'numba', 'sklearn', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
