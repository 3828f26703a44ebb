"""Find the shape of the vectors of a column: by its type, or by its first vector."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from gpuseg.errors import DataError
from gpuseg.formatting import count_with
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.parquet.read_batches import checked, wrap_decoding
from gpuseg.io.storage import Storage
from gpuseg.preprocessing.encoding.vectors import (
    Shape,
    check_shape,
    first_shape,
    is_vector,
    shape_of_type,
)

_BATCH_ROWS = 256


def find_shapes(
    storage: Storage,
    files: Sequence[DataFile],
    types: Mapping[str, pa.DataType],
    columns: Sequence[str],
) -> dict[str, Shape]:
    """Return the shape of the vectors of those columns that have vectors.

    `types` are those of all files. Rows are read only where the type leaves a length open, up to
    the first vector.

    Raises
    ------
    DataError
        For columns without a vector, and vectors without elements or with too many.
    """
    shapes = {}
    for name in columns:
        if name in types and is_vector(types[name]):
            shapes[name] = _find_shape(storage, files, name, types[name])
            check_shape(name, shapes[name], "features")
    return shapes


def _find_shape(
    storage: Storage, files: Sequence[DataFile], column: str, kind: pa.DataType
) -> Shape:
    by_type = shape_of_type(kind) or ()
    lengths = [length for length in by_type if length is not None]
    if len(lengths) == len(by_type):
        return tuple(lengths)
    for file in files:
        if not is_vector(file.types[column]):  # it has no values
            continue
        if (shape := _first_in_file(storage, file, column)) is not None:
            return shape
    n_rows = sum(file.rows for file in files)
    raise DataError(
        "feature.all_missing",
        f"feature '{column}': {count_with(n_rows, 'row', 'was', 'were')} read, and none has a "
        "vector",
        hint="leave it out of `features`",
        parameter="features",
    )


def _first_in_file(storage: Storage, file: DataFile, column: str) -> Shape | None:
    with (
        storage.open_parquet(file.path, file.version) as opened,
        wrap_decoding(storage, file.path, file.version),
    ):
        batches = opened.iter_batches(_BATCH_ROWS, columns=[column], use_threads=False)
        shapes = (first_shape(checked(batch, [column]).column(0)) for batch in batches)
        return next((shape for shape in shapes if shape is not None), None)
