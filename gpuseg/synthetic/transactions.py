"""Synthetic transaction lines, as a shop's system has them: in the order of time, and dirty.

Each block has the orders of its own part of the `DAYS` days before `END`. An order has a customer
and 1 + Poisson(`LINES` - 1) lines; a line a product, whose price and category are its own, and a
quantity. Customer c buys at a rate that falls with its rank as a power law, and only between the
days when it came and when it left, both hashes of c. Products are bought by a power law, too. Of
all lines some are returned, and some lack the customer, cost nothing, or come twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.errors import ConfigError
from gpuseg.numerics.hashing import hash_uniform
from gpuseg.synthetic.files import BLOCK_ROWS, stream, write_blocks

END = np.datetime64("2026-01-01", "s")
DAYS = 730
LINES = 5
_FILE_ROWS = 5_000_000
_PRODUCTS, _CATEGORIES = 20_000, 24
_DAY = 86_400
_RETURNED, _NO_CUSTOMER, _FREE, _TWICE = 0.02, 0.05, 0.002, 0.005
_REPEATING = ("product", "category", "quantity", "price")

Ints = npt.NDArray[np.int64]


def write_transactions(
    directory: str | Path,
    *,
    lines: int,
    customers: int,
    seed: int = 0,
    files: int | None = None,
    overwrite: bool = False,
    report: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write a folder of Parquet files of synthetic transaction lines, a block at a time.

    Columns: customer_id (int64, null on some lines), time (timestamp), order_id (int64), product
    and category (text), quantity (int32; negative: returned) and price (float64). The data depend
    on `lines`, `customers` and `seed` alone.

    Parameters
    ----------
    lines, customers
        Number of lines, and of customers who may buy.
    seed
        Start of all random streams.
    files
        Number of files of nearly equal lines; one per five million lines if ``None``.
    overwrite
        Whether to replace the files of lines in the folder.
    report
        Called with the number of lines just written.

    Returns
    -------
    list of Path
        The files, in the order of time.

    Raises
    ------
    ConfigError
        If an argument is out of range, or the folder has files that may not be replaced.
    ResourceError
        If the files cannot be written: no space, no permission.
    """
    files = -(-max(lines, 1) // _FILE_ROWS) if files is None else files
    for name, value in (("transactions", lines), ("rows", customers), ("files", files)):
        if value < 1:
            raise ConfigError(
                f"{name}.out_of_range", value=value, rule="must be at least 1",
                hint=f"pass --{name} 1000", parameter=name,
            )  # fmt: skip
    if seed < 0:
        raise ConfigError(
            "seed.out_of_range", value=seed, rule="the seed must not be negative",
            hint="pass --seed 0", parameter="seed",
        )  # fmt: skip
    shop = _Shop(seed, customers, lines)
    return write_blocks(
        Path(directory), "lines", shop.block, lines, files, overwrite, _REPEATING, report
    )


@dataclass(frozen=True)
class _Shop:
    """A shop: its customers and the lines that it sells."""

    seed: int
    customers: int
    lines: int

    def block(self, index: int) -> pa.Table:
        """Draw the lines of one block."""
        rng = stream(self.seed, 3, index)
        rows = (index * BLOCK_ROWS, (index + 1) * BLOCK_ROWS)  # beyond the last line: not written
        low, high = (DAYS * _DAY * row // self.lines for row in rows)
        counts = 1 + rng.poisson(LINES - 1, BLOCK_ROWS)
        orders = int(np.searchsorted(np.cumsum(counts), BLOCK_ROWS)) + 1
        customer = self._buyers(rng, orders, (low + high) / 2 / _DAY / DAYS)
        second = np.sort(rng.integers(low, max(high, low + 1), orders))
        line_order = np.repeat(np.arange(orders), counts[:orders])[:BLOCK_ROWS]
        product = (_PRODUCTS * rng.random(len(line_order)) ** 3).astype(np.int64)
        quantity = rng.geometric(0.35, len(line_order)).astype(np.int32)
        quantity[rng.random(len(line_order)) < _RETURNED] *= -1
        price = self._prices()[product]
        price[rng.random(len(line_order)) < _FREE] = 0.0
        order = index * BLOCK_ROWS + line_order
        again = np.flatnonzero(rng.random(len(line_order) - 1) < _TWICE)
        for column in (line_order, product, quantity, price, order):
            column[again + 1] = column[again]
        unknown = (rng.random(len(customer)) < _NO_CUSTOMER)[line_order]
        start = END - np.timedelta64(DAYS * _DAY, "s")
        return pa.table({
            "customer_id": pa.array(customer[line_order], mask=unknown),
            "time": pa.array(start + second[line_order].astype("timedelta64[s]")),
            "order_id": order,
            "product": _named("P", product, _PRODUCTS),
            "category": _named("C", product % _CATEGORIES, _CATEGORIES),
            "quantity": quantity,
            "price": price,
        })  # fmt: skip

    def _buyers(self, rng: np.random.Generator, orders: int, day: float) -> Ints:
        """Draw the customers of orders; `day` is the share of the time that has passed."""
        customer = np.empty(0, np.int64)
        while len(customer) < orders:
            drawn = (self.customers * rng.random(BLOCK_ROWS) ** 1.7).astype(np.int64)
            came, stays = _hashed(drawn, self.seed, 0), 0.1 + 1.5 * _hashed(drawn, self.seed, 1)
            active = (came - 0.2 <= day) & (day < came - 0.2 + stays)
            if not active.any():  # of few customers, none may be there on some day
                active[:] = True
            customer = np.concatenate([customer, drawn[active]])
        return customer[:orders]

    def _prices(self) -> npt.NDArray[np.float64]:
        exact: npt.NDArray[np.float64] = np.exp(0.5 + 2.5 * hash_uniform(self.seed, 4, _PRODUCTS))
        return exact.round(2)


def _hashed(customer: Ints, seed: int, which: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each customer."""
    mixed = (customer.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(seed)
    mixed = (mixed ^ (mixed >> np.uint64(29 + which))) * np.uint64(0xBF58476D1CE4E5B9)
    share: npt.NDArray[np.float64] = (mixed >> np.uint64(11)).astype(np.float64)
    share *= 2.0**-53
    return share


def _named(prefix: str, number: Ints, count: int) -> Any:
    names = pa.array([f"{prefix}{i:05d}" for i in range(count)])
    return pa.DictionaryArray.from_arrays(number.astype(np.int32), names)
