"""Rows that lie on a GPU already (CuPy, cuDF, Numba, torch, JAX): taken where they are.

A C-order float32 array is not copied; what has one entry a row is returned on the GPU, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_feature_names, _check_n_features

from gpuseg.backends import registry
from gpuseg.errors import DataError

_CUDA = (2, 13)
"""The device types of CUDA in DLPack: memory of a GPU, and memory that moves there by itself."""


def is_on_gpu(X: Any) -> bool:
    """Whether X tells that its values are in the memory of a GPU."""
    where = getattr(X, "__dlpack_device__", None)
    if where is not None and where()[0] in _CUDA:
        return True
    return _is_cudf(X) or hasattr(X, "__cuda_array_interface__")


def refuse_gradient(values: Any, name: str) -> None:
    """Refuse a tensor that takes part in a calculation of gradients, wherever it lies.

    Raises
    ------
    DataError
    """
    if getattr(values, "requires_grad", False) is True:
        raise DataError(f"{name} requires a gradient, and clusters have none: give {name}.detach()")


def gpu_matrix(X: Any, estimator: Any, backend: str, reset: bool) -> Any:
    """Return X as float32 (n, d), C-order, on the GPU; note or check its width and names.

    Raises
    ------
    DataError
        For a backend that is not on a GPU, and for X that is not a table of numbers.
    ResourceError
        For X on another GPU than the one that this process uses.
    """
    refuse_gradient(X, "X")
    if backend != "cuda":
        raise DataError(
            f"X lies on a GPU, and the backend is {backend!r}, which runs on the CPU: use "
            "backend = 'cuda', or copy X to the host, as with cupy.asnumpy(X)"
        )
    if getattr(X, "ndim", 2) != 2:
        raise DataError(f"X has {X.ndim} dimensions: must be 2D, rows of features")
    header = X.iloc[:0].to_pandas() if _is_cudf(X) else np.empty((0, X.shape[1]))
    _check_feature_names(estimator, header, reset=reset)
    x = registry.get("cuda").from_foreign(X.to_cupy() if _is_cudf(X) else X, np.float32)
    if 0 in x.shape:
        raise DataError(
            f"X has {x.shape[0]} rows and {x.shape[1]} columns: must have at least one of each"
        )
    _check_n_features(estimator, x, reset=reset)
    return x


def beside(X: Any, values: Any) -> Any:
    """Return NumPy's values where X lies: on the GPU, or as they are."""
    return registry.get("cuda").to_device(values) if is_on_gpu(X) else values


def on_host(values: Any) -> Any:
    """Return values of a GPU as NumPy's; others as they are."""
    if not is_on_gpu(values):
        return values
    backend = registry.get("cuda")
    return backend.to_host(
        backend.from_foreign(values.values if _is_cudf(values) else values, np.float64)
    )


def _is_cudf(X: Any) -> bool:
    return type(X).__module__.partition(".")[0] == "cudf"
