"""What some customers have bought together: the products of their orders, read from the lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpuseg.backends.customers import NOTHING, PURCHASE
from gpuseg.features.build import shares
from gpuseg.features.parse import as_id, has_id, hash_of, keyed, parse, plain
from gpuseg.features.transaction_files import ReadSplit, Source
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.sharding.shard import Shard


@dataclass(frozen=True)
class Bought:
    """Purchases, each once an order, by the hash of the customer, then of the order, then by name.

    Attributes
    ----------
    customer : uint64 (n,)
        The hash.
    basket : int64 (n,)
        The number of the order, rising.
    product : str (n,), NumPy objects
    """

    customer: NDArray[np.uint64]
    basket: NDArray[np.int64]
    product: NDArray[np.object_]


def read_bought(executor: Executor, source: Source, customers: pa.Array) -> Bought | None:
    """Read the purchases of some customers; None where the lines have no products.

    Parameters
    ----------
    customers : array of ids, as the features have them

    Raises
    ------
    DataError
        For lines that cannot be read any more.
    """
    if source.roles.product is None:
        return None
    wanted = np.unique(hash_of(as_id(customers)))
    units = [[unit for _, unit in own] for own in shares(source.units, executor.n_shards)]
    found = [
        table for part in executor.map(_read, source, wanted, per_shard=units) for table in part
    ]
    whole = pa.concat_tables(found).group_by(["customer", "order", "product"]).aggregate([])
    whole = whole.sort_by([(name, "ascending") for name in ("customer", "order", "product")])
    customer, order, product = (column.to_numpy() for column in whole.columns)
    begins = (customer[1:] != customer[:-1]) | (order[1:] != order[:-1])
    return Bought(customer, np.append(0, np.cumsum(begins))[: len(customer)], product)


def _read(
    shard: Shard,
    env: TaskContext,
    source: Source,
    wanted: NDArray[np.uint64],
    units: Sequence[ReadSplit],
) -> list[pa.Table]:
    """Read what customers have bought, in some of the units."""

    def read(unit: ReadSplit) -> pa.Table:
        held = [_bought(source, wanted, batch) for batch, _ in source.batches(unit)]
        return pa.concat_tables([_EMPTY, *held]).combine_chunks()

    return list(env.map(read, units))


_EMPTY = pa.table({
    "customer": pa.array([], pa.uint64()),
    "order": pa.array([], pa.uint64()),
    "product": pa.array([], pa.string()),
})  # fmt: skip


def _bought(source: Source, wanted: NDArray[np.uint64], batch: pa.RecordBatch) -> pa.Table:
    roles = source.roles
    ids = as_id(plain(batch.column(roles.customer)))
    known = has_id(ids)
    customer = ids.filter(pa.array(known))
    customer = customer if roles.id_key is None else keyed(customer, roles.id_key)
    known[known] = np.isin(hash_of(customer), wanted)
    some = batch.filter(pa.array(known))
    if not some.num_rows:
        return _EMPTY
    lines, _ = parse(some, roles, lambda row: f"line {row}")
    product = plain(some.column(roles.product))
    if pa.types.is_dictionary(product.type):
        product = product.dictionary_decode()
    bought = {
        "customer": lines.hashed,
        "order": lines.order,
        "product": pc.cast(product, pa.string()),
    }
    return pa.table(bought).filter(pa.array((lines.kind == PURCHASE) & (lines.product != NOTHING)))
