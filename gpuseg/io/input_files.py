"""The files that a path stands for: all of a folder, or the current ones of a table."""

from dataclasses import replace

from gpuseg.errors import DataError
from gpuseg.io.listing import list_files
from gpuseg.io.storage import Storage
from gpuseg.io.table_formats.detect import DELTA, HUDI, ICEBERG, table_format
from gpuseg.io.table_formats.snapshot import InputFile

ListedInput = tuple[Storage, list[InputFile]]
"""The files of an input, and where these are."""


def input_files(storage: Storage, parameter: str, formats: str = "Parquet") -> ListedInput:
    """Return the files of the input, and where these are.

    Parameters
    ----------
    parameter, formats : str
        For messages: the parameter that holds the path, and the formats of files that it may have.

    Raises
    ------
    DataError, ResourceError
        See `io.listing.list_files`, and the modules of `io.table_formats`.
    """
    kind = None if storage.selected else table_format(storage, parameter)
    if kind == DELTA:
        from gpuseg.io.table_formats.delta import delta_files

        return delta_files(storage, parameter)
    if kind == ICEBERG:
        from gpuseg.io.table_formats.iceberg import iceberg_files

        return iceberg_files(storage, parameter)
    if kind == HUDI:
        raise DataError(
            "table.unsupported",
            "is a Hudi table, whose folder also has files of older versions",
            value=storage.url,
            hint="write its current rows as Parquet files to another folder, with Spark or "
            "another program that reads Hudi, and read these",
            parameter=parameter,
        )
    files = [InputFile(*item) for item in list_files(storage, parameter, formats)]
    return replace(storage, selected=()), files  # workers need no list of all paths
