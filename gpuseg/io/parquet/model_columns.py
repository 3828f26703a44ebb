"""Open a table that a model scores: its columns are those of the fit, in any order."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa

from gpuseg.arrow import is_text
from gpuseg.errors import DataError, literal
from gpuseg.io.input_files import ListedInput
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.parquet.dataset import FOOTERS_AT_ONCE, Dataset, no_rows, read_footer
from gpuseg.io.parquet.schema import (
    NO_VALUE,
    check_columns,
    check_types,
    one_of_each_schema,
    unify_columns,
    with_partition_types,
)
from gpuseg.io.privacy.column_hints import missing_column_hint
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.preprocessing.encoding.arrow_columns import is_number
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.encoding.vectors import is_vector
from gpuseg.validation import listed_names, nearest

_TEXT = "text"

_KINDS = {_TEXT: is_text, "whole numbers": pa.types.is_integer, "booleans": pa.types.is_boolean}
"""Types of categories, by the name that encoders have for them."""


def open_model_columns(
    encoders: Sequence[Encoder],
    id: str | None,
    id_key: Key | None,
    null_values: Sequence[str],
    listed: ListedInput,
) -> Dataset:
    """Read the footers of a table, and find the columns that encoders and output need.

    Raises
    ------
    DataError
        If there is no data, a file is not Parquet, the files differ in the type of a used column,
        or a column is missing or has another type than at the fit.
    """
    storage, files_listed = listed
    with wrap_store_errors("input_path", storage.url), ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        footers = list(pool.map(lambda item: read_footer(storage, *item), files_listed))
    files = tuple(file for file in footers if file.rows)
    columns = tuple(dict.fromkeys(encoder.column for encoder in encoders))
    # Text files that lack a column are converted without rows.
    _refuse_missing(storage, files or footers, columns, id_key)
    check_columns(storage, files or footers, (), id, None, id_key=id_key)
    if not files:
        raise no_rows(len(footers), storage.url, "input_path")
    for encoder in encoders:
        if encoder.value_type == _TEXT:
            _keep_partitions_as_text(files, encoder.column)
    keys = {encoder.column for encoder in encoders if encoder.value_type}
    ids = [] if id is None else [id]
    with_partition_types(files, {*keys, *ids})
    used = list(dict.fromkeys([*columns, *ids]))
    types = unify_columns(storage, files, used, {*keys, *ids}, None if id_key is None else id)
    check_types(storage, files, types, (), id, None)
    for encoder in encoders:
        _check_type(storage, files, encoder)
    shapes = {encoder.column: encoder.shape for encoder in encoders if encoder.kind == "vector"}
    return Dataset(
        storage, files, columns, id, None, id_key, null_values=tuple(null_values), shapes=shapes,
        types=types,
    )  # fmt: skip


def _refuse_missing(
    storage: Storage, files: Sequence[DataFile], columns: Sequence[str], id_key: Key | None
) -> None:
    """Refuse files that lack a column of the fit."""
    for file in one_of_each_schema(files):
        known = [*file.types, *file.constants]
        missing = [name for name in columns if name not in known]
        if missing:
            path = storage.relative(file.path)
            others = f", nor {literal(', '.join(map(repr, missing[1:])))}" if missing[1:] else ""
            raise DataError(
                "column.missing",
                f"there is no column {missing[0]!r}{others} in {path}",
                rule=f"must have {literal(', '.join(columns))}, the columns of the fit",
                hint=missing_column_hint(
                    missing[0], known, path, id_key, partial(_rename, columns)
                ),
            )


def _rename(of_fit: Sequence[str], missing: str, known: Sequence[str]) -> str:
    """Return a hint for a column of the fit, which the table may have by another name."""
    others = [name for name in known if name not in of_fit]
    folded = {name.casefold(): name for name in others}
    close = folded.get(nearest(missing.casefold(), folded) or "")
    if close is not None:
        return literal(f"if {close!r} has these values, rename it to {missing!r}")
    if not others:
        return "add the column to the table"
    return f"add the column, or rename one: the table also has {listed_names(others)}"


def _keep_partitions_as_text(files: Sequence[DataFile], column: str) -> None:
    """Let the values of a partition column be text, as they were at the fit."""
    for file in files:
        value = file.constants.get(column)
        if isinstance(value, str):
            text = None if value == NO_VALUE else value
            file.constants[column] = pa.scalar(text, pa.string())


def _check_type(storage: Storage, files: Sequence[DataFile], encoder: Encoder) -> None:
    """Refuse a column that has another type in a file than at the fit."""
    for file in files:
        name = encoder.column
        value = file.constants.get(name)
        kind = file.types[name] if value is None else value.type
        has_values = not pa.types.is_null(kind) and (value is None or value.is_valid)
        if encoder.kind == "is missing" or not has_values or _suits(kind, encoder):
            continue
        was = encoder.value_type or f"{encoder.kind}s"
        raise DataError(
            "column.changed_type",
            f"column '{name}' of type {kind} in {storage.relative(file.path)} had {was} at the fit",
            hint="convert the column",
        )


def _suits(kind: pa.DataType, encoder: Encoder) -> bool:
    """Return whether an encoder reads a type; floats may be whole numbers with gaps."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if encoder.kind == "number":
        return is_number(kind)
    if encoder.kind == "vector":
        return is_vector(kind)
    if encoder.value_type == "whole numbers" and pa.types.is_floating(kind):
        return True
    of_value_type = _KINDS.get(encoder.value_type)
    return of_value_type is None or bool(of_value_type(kind))
