"""Features from transactions as a call of the library."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic_core import PydanticCustomError

from gpuseg.backends import registry
from gpuseg.errors import ConfigError, DataError
from gpuseg.features.aggregate import features_of
from gpuseg.features.build import build_features, check_purchases, resolve_snapshot
from gpuseg.features.definitions import available
from gpuseg.features.line_quality import LineCounts
from gpuseg.features.rfm import borders_of_table, with_scores
from gpuseg.features.spill import as_batch, parse_table
from gpuseg.features.time_candidates import with_candidates
from gpuseg.features.time_format import time_formats_of
from gpuseg.features.times import UNREADABLE
from gpuseg.features.transaction_files import Source, check_columns, check_time_types, open_source
from gpuseg.features.transactions import Roles, as_moment
from gpuseg.io.input_paths import open_paths
from gpuseg.io.library_errors import first_line
from gpuseg.io.null_values import NULL_VALUES, null_values_of
from gpuseg.io.output.base import Staging
from gpuseg.io.storage import Storage
from gpuseg.io.text_files.choose_format import named_format
from gpuseg.io.text_files.number_format import PLAIN
from gpuseg.io.text_files.options import NUMBER_OPTIONS, checked_options
from gpuseg.optional import is_arrow, is_pandas
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.runtime.temporary_folder import temporary_folder
from gpuseg.validation import as_config_error, check_n_threads

_NAME = "the lines"


def from_transactions(
    lines: Any,
    *,
    customer: str,
    time: str,
    order: str | None = None,
    product: str | None = None,
    category: str | None = None,
    quantity: str | None = None,
    price: str | None = None,
    amount: str | None = None,
    snapshot: date | datetime | str | None = None,
    rfm: bool = False,
    null_values: Sequence[str] = NULL_VALUES,
    time_format: str | Sequence[str] | None = None,
    backend: str = "auto",
    n_threads: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    quote: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    header: bool | Sequence[str] | None = None,
    skip_rows: int | None = None,
    skip_footer: int | None = None,
    sheet: str | None = None,
) -> Any:
    """Return one row of features for each customer with a purchase before the snapshot.

    Columns, units and definitions are those of `gpuseg.features.definitions`. Rows are sorted by
    hashes of the ids, for any order of the lines.

    Parameters
    ----------
    lines : path, URL, glob, list of these, pandas frame, or Arrow table
        Files of Parquet, CSV and Excel are read out of core. A frame, a table or any object with
        the Arrow PyCapsule interface is used in memory.
    customer, time : str
        Columns of ids, of any type that is not nested, and of times: timestamps, dates or text.
    order, product, category : str or None
    quantity, price, amount : str or None
        Name a price, which is multiplied by the quantity, or an amount.
    snapshot : date, datetime, str or None
        None: the midnight after the last line.
    rfm : bool
        Whether to add the scores of recency, frequency and money from 1 to 5, their text such as
        "543", and the name of the cell.
    null_values : sequence of str
        Text that is read as missing in every column. Blank text always is.
    time_format : str, sequence of str or None
        Format of times in text and numbers, in the words of `datetime.strptime`, or one of
        "iso8601", "epoch_s", "epoch_ms", "epoch_us" and "epoch_ns"; of several, each value has the
        one that fits. None: "iso8601" for text. Times with an offset become times in UTC.
    backend : {"auto", "numpy", "numba", "cuda"}
        "cuda" aggregates on the CPU too.
    n_threads : int or None
        None uses every processor this process may use.
    storage_options : mapping or None
        Options of the file system of a URL.
    encoding, delimiter, quote : str or None
        Encoding of CSV files, the sign between values, and the sign around them. What is None is
        looked for in the files.
    decimal, thousands : str or None
        Signs of numbers in text. None: a decimal point, and nothing between thousands.
    header : bool, sequence of str or None
        Whether there is a header, or the names of the columns of files without one.
    skip_rows, skip_footer : int or None
        Lines above the header, and rows below the table.
    sheet : str or None
        Name of the sheet of a workbook; None is the first one.

    Returns
    -------
    pandas.DataFrame for a pandas frame, otherwise pyarrow.Table

    Raises
    ------
    ConfigError
        For roles that exclude each other, a snapshot that is not a time, and a format that is
        unknown; a ValueError.
    DataError
        For missing columns, values that break a rule, and lines without a customer or a purchase; a
        ValueError.
    """
    try:
        moment = as_moment(snapshot)
    except ValueError as error:
        raise ConfigError(
            "snapshot.invalid", str(error), value=snapshot, parameter="snapshot"
        ) from None
    try:
        words = null_values_of(null_values)
    except ValueError as error:
        raise ConfigError(
            "null_values.text", rule=str(error), value=null_values, parameter="null_values"
        ) from None
    options = checked_options(
        encoding=encoding, delimiter=delimiter, quote=quote, decimal=decimal, thousands=thousands,
        header=header, skip_rows=skip_rows, skip_footer=skip_footer, sheet=sheet,
    )  # fmt: skip
    try:
        roles = Roles(
            customer, time, order, product, category, quantity, price, amount, moment,
            null_values=tuple(words), time_format=_formats(time_format),
            number_format=named_format(options) or PLAIN,
        )  # fmt: skip
    except PydanticCustomError as error:
        raise as_config_error(error) from None
    name = registry.choose_backend(backend).name
    check_n_threads(n_threads)
    executor = LocalExecutor(n_threads)
    paths = _paths(lines)
    if storage_options and not paths:
        raise ConfigError(
            "storage_options.without_path",
            "lines is a table, not a path or URL",
            hint="leave storage_options out",
            parameter="storage_options",
        )
    if paths:
        source = open_source(open_paths(paths, storage_options or {}, "lines"), roles, options)
        return _from_files(source, roles, name, executor, rfm)
    if unused := options.given(but=NUMBER_OPTIONS):
        raise ConfigError(
            "text_options.without_path",
            "lines is a table, not a path or URL",
            hint="leave it out",
            parameter=unused[0],
        )
    table = _from_pandas(lines, roles) if is_pandas(lines) else _table(lines)
    check_columns(table.schema, roles, _NAME)
    columns_of_time = table[roles.time].iterchunks
    check_time_types(roles, [table.schema.field(roles.time).type], _NAME, columns_of_time)
    try:
        parsed, counts = parse_table(table, roles, _NAME)
    except DataError as error:
        if error.code != UNREADABLE:
            raise
        raise with_candidates(error, columns_of_time(), roles) from None
    snapshot_us = resolve_snapshot(_NAME, roles, counts)
    columns = available(roles.columns())
    batch = pa.Table.from_batches([as_batch(parsed)])
    result, _, line_counts = features_of(batch, name, snapshot_us, columns, executor.context.map)
    check_purchases(_NAME, line_counts, snapshot_us)
    if rfm:
        result = with_scores(result, borders_of_table(result))
    _warn_of_implausible(line_counts, roles, table.schema.field(roles.customer).type)
    return result.to_pandas() if is_pandas(lines) else result


def _formats(time_format: Any) -> tuple[str, ...]:
    """Return the formats of times that a caller gives; None gives none.

    Raises
    ------
    ConfigError
    """
    if time_format is None:
        return ()
    try:
        return tuple(time_formats_of(time_format))
    except ValueError as error:
        raise ConfigError(
            "time_format.invalid", rule=str(error), value=time_format, parameter="time_format"
        ) from None


def _paths(lines: Any) -> list[str]:
    """Return the paths that the lines are, or none for a table."""
    paths = lines if isinstance(lines, list | tuple) else [lines]
    return [str(path) for path in paths] if all(isinstance(p, str | Path) for p in paths) else []


def _from_files(
    source: Source, roles: Roles, backend: str, executor: LocalExecutor, rfm: bool
) -> pa.Table:
    with temporary_folder() as folder:
        staging = Staging(Storage.from_url(folder, {}, "folder"), folder, "")
        features = build_features(executor, source, backend, staging, rfm=rfm)
        source.storage.refuse_changes(source.versions)
        _warn_of_implausible(features.quality.counts, roles, source.id_type)
        files = [staging.path(name) for name, *_ in features.parts]
        from pyarrow import dataset  # it imports pandas, which is slow

        return dataset.dataset(files).to_table()


def _warn_of_implausible(counts: LineCounts, roles: Roles, id_type: pa.DataType) -> None:
    if implausible := counts.implausible_customer(roles, id_type):
        warnings.warn(implausible, UserWarning, stacklevel=3)


def _from_pandas(lines: Any, roles: Roles) -> pa.Table:
    """Return the columns of a pandas frame that have a role."""
    columns = [name for name in lines.columns if name in roles.columns().values()]
    arrays = []
    for i, name in enumerate(columns):
        try:
            arrays.append(pa.Array.from_pandas(lines[columns].iloc[:, i]))
        except pa.ArrowException as error:
            raise DataError(
                "transactions.mixed_types",
                f"column '{name}' of {_NAME} has values of several types ({first_line(error)})",
                hint="convert it, for example with astype(str)",
            ) from None
    return pa.table(arrays, names=columns) if columns else pa.table({"empty": []})


def _table(lines: Any) -> pa.Table:
    if isinstance(lines, pa.Table):
        return lines
    if is_arrow(lines):
        return pa.table(lines)
    raise DataError(
        "transactions.unknown_type",
        f"lines have type {type(lines).__name__}",
        hint="give a path, a URL, a pandas or Polars frame, or an Arrow table",
        parameter="lines",
    )
