"""What this machine offers: printed by ``gpuseg info``."""

import functools
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from gpuseg import __version__
from gpuseg.backends import registry
from gpuseg.backends.cuda import gpus
from gpuseg.errors import ResourceError
from gpuseg.runtime.executor import available_cpus

LIBRARIES = ("numpy", "numba", "pyarrow", "dask", "distributed", "scikit-learn")
_OPTIONAL = (
    "cupy-cuda13x",
    "cudf-cu13",
    "cuml-cu13",
    "dask-cuda",
    "s3fs",
    "deltalake",
    "pyiceberg",
)


def environment() -> dict[str, Any]:
    """Return versions, processors, memory and backends; JSON's own values."""
    return {
        "gpuseg": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processors": available_cpus(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "libraries": versions(),
        "optional": {name: _version_or_absent(name) for name in _OPTIONAL},
        "devices": ", ".join(gpus.devices()) or "no GPU",
        "backends": {name: _state(name) for name in registry.BACKENDS},
    }


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a result depends on."""
    return {name: _version(name) for name in LIBRARIES}


@functools.cache
def _version(name: str) -> str:
    """Return the version of a library, whose files are read once."""
    return version(name)


def _version_or_absent(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _state(name: str) -> str:
    try:
        choice = registry.choose_backend(name)
    except ResourceError as error:
        return f"unavailable: {error}"
    return "available" if choice.name == name else f"is {choice.name} ({choice.reason})"
