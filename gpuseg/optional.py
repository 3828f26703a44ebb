"""Recognize objects of optional packages; no package is imported to find out."""

import sys
from typing import Any


def is_pandas(X: Any) -> bool:
    """Whether X is an object of pandas."""
    return _is_from(X, "pandas")


def is_polars(X: Any) -> bool:
    """Whether X is an object of Polars."""
    return _is_from(X, "polars")


def is_cudf(X: Any) -> bool:
    """Whether X is an object of cuDF."""
    return _is_from(X, "cudf")


def is_dask(X: Any) -> bool:
    """Whether X is a Dask array, frame or series."""
    return "dask" in sys.modules and hasattr(X, "__dask_graph__")


def is_arrow(X: Any) -> bool:
    """Whether X gives its rows as an Arrow stream (the Arrow PyCapsule interface)."""
    return hasattr(X, "__arrow_c_stream__")


def is_sparse(X: Any) -> bool:
    """Whether X is a sparse matrix or array of SciPy."""
    return type(X).__module__.startswith("scipy.sparse")


def _is_from(X: Any, package: str) -> bool:
    return type(X).__module__.partition(".")[0] == package
