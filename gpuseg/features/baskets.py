"""Baskets of some customers: the products of their orders, read from the lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import aligned, from_numpy, plain
from gpuseg.backends.customers import NOTHING, PURCHASE
from gpuseg.features.build import shares
from gpuseg.features.missing_text import NullValues
from gpuseg.features.parse import as_id, has_id, hash_of, keyed, parse
from gpuseg.features.transaction_files import ReadSplit, Source
from gpuseg.runtime.executor import Executor, TaskContext


@dataclass(frozen=True)
class Baskets:
    """Products of orders, sorted by the hash of the customer, the hash of the order, and name.

    Attributes
    ----------
    customer : uint64 (n,)
        Hash of the customer.
    basket : int64 (n,)
        Number of the order, sorted.
    product : str (n,), NumPy objects
    """

    customer: NDArray[np.uint64]
    basket: NDArray[np.int64]
    product: NDArray[np.object_]


def read_baskets(executor: Executor, source: Source, customers: pa.Array) -> Baskets | None:
    """Read the purchases of some customers; None if the lines have no products.

    Parameters
    ----------
    customers : array of ids, as in the features

    Raises
    ------
    DataError
        For lines that can no longer be read.
    """
    if source.roles.product is None:
        return None
    hashes = np.unique(hash_of(as_id(customers)))
    splits = [[split for _, split in share] for share in shares(source.splits, executor.n_shards)]
    tables = [
        table for part in executor.map(_read, source, hashes, per_shard=splits) for table in part
    ]
    lines = aligned(pa.concat_tables(tables))
    products = lines.group_by(["customer", "order", "product"]).aggregate([])
    products = products.sort_by([(name, "ascending") for name in ("customer", "order", "product")])
    customer, order, product = (column.to_numpy() for column in products.columns)
    starts = (customer[1:] != customer[:-1]) | (order[1:] != order[:-1])
    return Baskets(customer, np.append(0, np.cumsum(starts))[: len(customer)], product)


def _read(
    _: Any,
    context: TaskContext,
    source: Source,
    hashes: NDArray[np.uint64],
    splits: Sequence[ReadSplit],
) -> list[pa.Table]:
    """Read the purchases of the customers in some splits."""

    def read(split: ReadSplit) -> pa.Table:
        tables = [_purchases(source, hashes, batch) for batch, _ in source.batches(split)]
        return pa.concat_tables([_SCHEMA.empty_table(), *tables]).combine_chunks()

    return list(context.map(read, splits))


_SCHEMA = pa.schema({"customer": pa.uint64(), "order": pa.uint64(), "product": pa.string()})


def _purchases(source: Source, hashes: NDArray[np.uint64], batch: pa.RecordBatch) -> pa.Table:
    roles = source.roles
    nulls = NullValues(roles.null_values, batch.num_rows)
    ids = nulls.removed(plain(batch.column(roles.customer)))
    known = has_id(ids)
    customer = ids.filter(from_numpy(known))
    customer = customer if roles.id_key is None else keyed(customer, roles.id_key)
    known[known] = np.isin(hash_of(customer), hashes)
    selected = batch.filter(from_numpy(known))
    if not selected.num_rows:
        return _SCHEMA.empty_table()
    lines, _ = parse(selected, roles, lambda row: f"line {row}")
    columns = {
        "customer": lines.hashed,
        "order": lines.order,
        "product": _as_text(selected.column(roles.product)),
    }
    is_purchase = (lines.kind == PURCHASE) & (lines.product != NOTHING)
    return pa.table(columns).filter(from_numpy(is_purchase))


def _as_text(products: pa.Array) -> pa.Array:
    """Return products as they are shown; bytes that are not text are escaped."""
    products = plain(products)
    if pa.types.is_dictionary(products.type):
        products = products.dictionary_decode()
    t, kind = pa.types, products.type
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind):
        values = [v and v.decode("utf-8", "backslashreplace") for v in products.to_pylist()]
        return pa.array(values, pa.string())
    return pc.cast(products, pa.string())
