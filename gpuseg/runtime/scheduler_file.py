"""The file with the address of a Dask scheduler: ``dask scheduler --scheduler-file FILE``."""

import json
import stat
from pathlib import Path

from gpuseg.errors import ResourceError, literal

SUFFIX = ".json"
"""The end of its path, which no address of a scheduler has."""

_MAX_BYTES = 16 * 2**20
"""The file lists the workers too."""

_ADDRESS = "address"


def read_address(path: str) -> str:
    """Return the address of a scheduler.

    Raises
    ------
    ResourceError
        If the file does not exist, cannot be read or has no address.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise _error(path, "is not a file")
        with Path(path).open("rb") as file:
            content = json.loads(file.read(_MAX_BYTES))
    except OSError as error:
        raise _error(path, f"cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError):
        content = None
    address = content.get(_ADDRESS) if isinstance(content, dict) else None
    if not isinstance(address, str) or "://" not in address:
        raise _error(path, "has no address of a scheduler")
    return address


def _error(path: str, problem: str) -> ResourceError:
    return ResourceError(
        "cluster.no_scheduler_file", problem, value=path, parameter="cluster",
        hint=f"start a scheduler with 'dask scheduler --scheduler-file {literal(path)}'",
    )  # fmt: skip
