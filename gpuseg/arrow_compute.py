"""The functions of `pyarrow.compute`, which is imported at the first use of one.

It writes all its functions as it is imported, for 30 ms. A job imports it while it waits for rows.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    value = getattr(import_module("pyarrow.compute"), name)
    globals()[name] = value
    return value
