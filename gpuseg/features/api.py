"""Features from transactions as a call of the library."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from gpuseg.backends import registry
from gpuseg.errors import ConfigError, DataError
from gpuseg.features.aggregate import features_of
from gpuseg.features.build import build_features, check_purchases, settle_snapshot
from gpuseg.features.definitions import available
from gpuseg.features.spill import as_batch, parsed_whole
from gpuseg.features.transaction_files import check_columns, open_source
from gpuseg.features.transactions import Roles, as_moment
from gpuseg.io.output.base import Staging
from gpuseg.io.storage import Storage, first_line
from gpuseg.runtime.executor import LocalExecutor

_PLACE = "the lines given"


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
    backend: str = "auto",
    n_threads: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Any:
    """Return one row of features for each customer with a purchase before the snapshot.

    Columns, units and definitions are those of `gpuseg.features.definitions`. The rows are in the
    order of hashes of the ids, whatever the order of the lines.

    Parameters
    ----------
    lines : path, URL, pandas frame, or Arrow table
        Parquet or CSV files are read out of core; a frame or table (or what else speaks the Arrow
        PyCapsule interface) is taken as it is.
    customer, time : str
        Columns of ids, of any type that is not nested, and of times: timestamps, dates or text.
    order, product, category : str or None
    quantity, price, amount : str or None
        There is a price, which is multiplied with the quantity, or an amount.
    snapshot : date, datetime, str or None
        None: the midnight after the last line.
    backend : {"auto", "numpy", "numba", "cuda"}
        "cuda" describes customers on the CPU, too.
    n_threads : int or None
        None uses every processor this process may use.
    storage_options : mapping or None
        For a URL.

    Returns
    -------
    pandas.DataFrame for a pandas frame, otherwise pyarrow.Table

    Raises
    ------
    ConfigError
        For roles that do not suit each other, and a snapshot that is no time; a ValueError.
    DataError
        For columns that are not there, values that break a rule, and lines without a customer or
        a purchase; a ValueError.
    """
    try:
        moment = as_moment(snapshot)
    except ValueError as error:
        raise ConfigError(f"snapshot = {snapshot!r}: {error}") from None
    try:
        roles = Roles(customer, time, order, product, category, quantity, price, amount, moment)
    except ValueError as error:
        raise ConfigError(f"from_transactions: {error}") from None
    name = registry.choose_backend(backend).name
    if n_threads is not None and not (isinstance(n_threads, int) and n_threads >= 1):
        raise ConfigError(f"n_threads = {n_threads!r}: must be a whole number >= 1, or None")
    executor = LocalExecutor(n_threads)
    if storage_options and not isinstance(lines, str | Path):
        raise ConfigError(
            "storage_options: are for a path or URL, and lines is a table; leave it out"
        )
    if isinstance(lines, str | Path):
        return _from_files(str(lines), storage_options or {}, roles, name, executor)
    is_pandas = type(lines).__module__.startswith("pandas")
    table = _from_pandas(lines, roles) if is_pandas else _table(lines)
    check_columns(table.schema, roles, _PLACE)
    parsed, found = parsed_whole(table, roles, _PLACE)
    at = settle_snapshot(_PLACE, roles, found)
    columns = available(roles.columns())
    own = pa.Table.from_batches([as_batch(parsed)])
    result, tally = features_of(own, name, at, columns, executor.context.map)
    check_purchases(_PLACE, tally, at)
    return result.to_pandas() if is_pandas else result


def _from_files(
    url: str, options: Mapping[str, Any], roles: Roles, backend: str, executor: LocalExecutor
) -> pa.Table:
    source = open_source(Storage.from_url(url, options, "lines"), roles)
    with TemporaryDirectory(prefix="gpuseg-") as folder:
        staging = Staging(Storage.from_url(folder, {}, "folder"), folder, "")
        built = build_features(executor, source, backend, staging)
        files = [staging.path(name) for name, *_ in built.parts]
        from pyarrow import dataset  # it imports pandas, which takes as long as all else here

        return dataset.dataset(files).to_table()


def _from_pandas(lines: Any, roles: Roles) -> pa.Table:
    """Return the columns of a pandas frame that play a role, and those that are not there."""
    columns = [name for name in lines.columns if name in roles.columns().values()]
    arrays = []
    for i, name in enumerate(columns):
        try:
            arrays.append(pa.Array.from_pandas(lines[columns].iloc[:, i]))
        except pa.ArrowException as error:
            raise DataError(
                f"column '{name}' of {_PLACE} holds values of several types ({first_line(error)}); "
                "convert it, for instance with astype(str)"
            ) from None
    return pa.table(arrays, names=columns) if columns else pa.table({"nothing": []})


def _table(lines: Any) -> pa.Table:
    if isinstance(lines, pa.Table):
        return lines
    if hasattr(lines, "__arrow_c_stream__"):
        return pa.table(lines)
    raise DataError(
        f"from_transactions: lines of type {type(lines).__name__}; give a path, a URL, a pandas or "
        "Polars frame, or an Arrow table"
    )
