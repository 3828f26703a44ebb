"""Columns that number or name the rows of a frame, and say nothing about a customer.

pandas writes the index of a frame as a column, and names it in the metadata of the file. Where the
frame was once in a CSV file, only the column's name shows what it is.
"""

import json
import re

import pyarrow as pa

_METADATA_KEY = b"pandas"

_UNNAMED = re.compile(r"|__index_level_\d+__|__null_dask_index__|Unnamed: \d+(\.\d+|_level_\d+)?")
"""Names that pandas and Dask give to an index without one, in Parquet and through CSV, where the
header has an empty name."""


def index_columns(schema: pa.Schema) -> frozenset[str]:
    """Return the columns of a file that are the index of a frame of pandas.

    Parameters
    ----------
    schema : pyarrow.Schema
        With the metadata of the file.
    """
    unnamed = {name for name in schema.names if is_unnamed_index(name)}
    return frozenset(unnamed | (_declared(schema.metadata or {}) & set(schema.names)))


def is_unnamed_index(name: str) -> bool:
    """Return whether a column has the name that a library gives to an index without one."""
    return bool(_UNNAMED.fullmatch(name))


def _declared(metadata: dict[bytes, bytes]) -> set[str]:
    """Return the columns that the metadata of pandas names as the index.

    A range is described by a dict, and is in no column. Metadata that cannot be read declares none.
    """
    try:
        content = json.loads(metadata.get(_METADATA_KEY, b"{}"))
    except (ValueError, RecursionError):
        return set()
    names = content.get("index_columns") if isinstance(content, dict) else None
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
