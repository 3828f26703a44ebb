"""One Parquet file, as described by its footer."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from gpuseg.io.file_version import FileVersion
from gpuseg.io.parquet.unify_files import Conversion


@dataclass(frozen=True)
class DataFile:
    """One Parquet file.

    Attributes
    ----------
    path : str
    size : int
        Bytes.
    group_rows : tuple of int
        Rows of each row group.
    schema : pyarrow.Schema
        As stored, without Hive partition columns.
    version : FileVersion
        To see whether the file changes during the run.
    constants : dict
        Hive partition columns of this file and their values: text until
        `io.parquet.schema.with_partition_types` gives them a type, then pyarrow scalars.
    largest_group_bytes : int
        Bytes of the largest row group before compression.
    index_columns : frozenset of str
        Columns that are the index of a frame (`io.parquet.index_columns`).
    conversions : dict
        Used columns whose type is not that of all files.
    """

    path: str
    size: int
    group_rows: tuple[int, ...]
    schema: pa.Schema
    version: FileVersion
    constants: dict[str, Any] = field(default_factory=dict)
    largest_group_bytes: int = 0
    index_columns: frozenset[str] = frozenset()
    conversions: dict[str, Conversion] = field(default_factory=dict)

    @cached_property
    def types(self) -> dict[str, pa.DataType]:
        """Type of each stored column; the schema itself takes a pass over the names to find one."""
        return dict(zip(self.schema.names, self.schema.types, strict=True))

    @property
    def is_parquet(self) -> bool:
        """Whether the footer can be read again: it always can."""
        return True

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(self.group_rows)
