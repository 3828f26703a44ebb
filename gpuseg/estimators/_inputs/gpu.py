"""Rows that are on a GPU (CuPy, cuDF, Numba, torch, JAX): used where they are.

A C-order float32 array is not copied. Results with one entry per row are on the GPU, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_feature_names, _check_n_features

from gpuseg.backends import registry
from gpuseg.errors import DataError
from gpuseg.formatting import count
from gpuseg.optional import is_cudf

_CUDA_DEVICES = (2, 13)
"""Device types of CUDA in DLPack: memory of a GPU, and managed memory."""


def is_on_gpu(X: Any) -> bool:
    """Whether the values of X are in the memory of a GPU."""
    device = getattr(X, "__dlpack_device__", None)
    if device is not None and device()[0] in _CUDA_DEVICES:
        return True
    return is_cudf(X) or hasattr(X, "__cuda_array_interface__")


def refuse_gradient(values: Any, name: str) -> None:
    """Refuse a tensor that takes part in a calculation of gradients, on any device.

    Raises
    ------
    DataError
    """
    if getattr(values, "requires_grad", False) is True:
        raise DataError(
            f"{name.lower()}.requires_gradient",
            f"{name} requires a gradient",
            rule="clusters have no gradient",
            hint=f"use {name}.detach()",
        )


def gpu_matrix(X: Any, estimator: Any, backend: str, reset: bool, dtype: Any = np.float32) -> Any:
    """Return X as float32 or float64 (n, d), C-order, on the GPU; set or check its width and names.

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
            "x.on_gpu",
            f"X is on a GPU, but the backend {backend!r} runs on the CPU",
            hint="use backend='cuda', or copy X to the host, for example with cupy.asnumpy(X)",
        )
    if getattr(X, "ndim", 2) != 2:
        raise DataError(
            "x.wrong_dimensions",
            f"X has {X.ndim} dimensions",
            rule="must be rows of features, (n, d)",
        )
    header = X.iloc[:0].to_pandas() if is_cudf(X) else np.empty((0, X.shape[1]))
    _check_feature_names(estimator, header, reset=reset)
    x = _converted(X.to_cupy() if is_cudf(X) else X, dtype)
    if 0 in x.shape:
        raise DataError(
            "x.empty",
            f"X has {count(x.shape[0], 'row')} and {count(x.shape[1], 'column')}",
            rule="must have at least one of each",
        )
    _check_n_features(estimator, x, reset=reset)
    return x


def to_device_of(X: Any, values: Any) -> Any:
    """Return values of NumPy on the GPU where X is on one, else as they are."""
    return registry.get("cuda").to_device(values) if is_on_gpu(X) else values


def to_host(values: Any) -> Any:
    """Return values of a GPU as NumPy's float64; others as they are."""
    if not is_on_gpu(values):
        return values
    backend = registry.get("cuda")
    return backend.to_host(
        backend.from_foreign(values.values if is_cudf(values) else values, np.float64)
    )


def _converted(array: Any, dtype: Any) -> Any:
    """Return a GPU array as `dtype`; integers by way of float64 (`numerics.to_float32`)."""
    backend = registry.get("cuda")
    if "int" in str(getattr(array, "dtype", "")):  # also of torch, whose dtypes are not NumPy's
        array = backend.from_foreign(array, np.float64)
    return backend.from_foreign(array, dtype)
