"""Whether the customers find their rows in a table of attributes: refuse none, warn of few.

Ids that are written in two ways, such as 10250 and "10250.0", match no id of the other table, and
every customer would get nulls.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, is_text
from gpuseg.errors import DataError, literal
from gpuseg.features.attributes import Join
from gpuseg.features.parse import hash_of
from gpuseg.features.transaction_files import Source
from gpuseg.formatting import count, count_with

_FEW = 0.5
"""Share of the customers with a row below which a warning is given."""

_KNOWN = 0.95
"""Share of the rows of customers with lines from which a table is thought to be complete."""

_EXAMPLES = 2
"""Ids that a message shows of each side."""

POINT_ZERO = ".0"
"""The end of a whole number that a program wrote as a float."""


@dataclass(frozen=True)
class UnmatchedIds:
    """Ids of one side of a join that the other side does not have; they add up over buckets.

    Attributes
    ----------
    count : int
    point_zero : int
        Ids of text that end in ".0".
    examples : tuple of (int, str)
        Hash and text of the ids with the lowest hashes: the same ones for any buckets.
    """

    count: int = 0
    point_zero: int = 0
    examples: tuple[tuple[int, str], ...] = ()

    def __add__(self, other: "UnmatchedIds") -> "UnmatchedIds":
        return UnmatchedIds(
            self.count + other.count,
            self.point_zero + other.point_zero,
            tuple(sorted(self.examples + other.examples)[:_EXAMPLES]),
        )

    @property
    def all_end_in_point_zero(self) -> bool:
        """Whether there are ids, and each is a text that ends in ".0"."""
        return 0 < self.count == self.point_zero


def unmatched_ids(ids: pa.Array, lowest: pa.Array) -> UnmatchedIds:
    """Describe the ids of one side that the other side does not have.

    Parameters
    ----------
    ids : array (n,)
    lowest : array (at least 2, or n,)
        Those with the lowest hashes.
    """
    point_zero = pc.sum(pc.ends_with(ids, POINT_ZERO)).as_py() or 0 if is_text(ids.type) else 0
    examples = zip(hash_of(lowest).tolist(), map(str, lowest.to_pylist()), strict=True)
    return UnmatchedIds(len(ids), point_zero, tuple(sorted(examples)[:_EXAMPLES]))


def lowest_of(ids: pa.Array, hashed: NDArray[np.uint64]) -> pa.Array:
    """Return the few ids with the lowest hashes."""
    if len(ids) <= _EXAMPLES:
        return ids
    return ids.take(from_numpy(np.argpartition(hashed, _EXAMPLES - 1)[:_EXAMPLES]))


@dataclass(frozen=True)
class JoinCounts:
    """Counts of a join; they add up over files and buckets.

    Attributes
    ----------
    rows : int
        Rows of the table.
    without_id : int
        Rows of the table without an id.
    customers : int
        Customers with attributes.
    without_purchase : int
        Rows of customers who have lines, but no purchase before the snapshot.
    unmatched_customers : UnmatchedIds
        Ids of the customers without attributes.
    unmatched_rows : UnmatchedIds
        Ids of the rows that no line has.
    """

    rows: int = 0
    without_id: int = 0
    customers: int = 0
    without_purchase: int = 0
    unmatched_customers: UnmatchedIds = UnmatchedIds()
    unmatched_rows: UnmatchedIds = UnmatchedIds()

    def __add__(self, other: "JoinCounts") -> "JoinCounts":
        return JoinCounts(
            self.rows + other.rows, self.without_id + other.without_id,
            self.customers + other.customers,
            self.without_purchase + other.without_purchase,
            self.unmatched_customers + other.unmatched_customers,
            self.unmatched_rows + other.unmatched_rows,
        )  # fmt: skip

    @property
    def without_attributes(self) -> int:
        """Customers without attributes."""
        return self.unmatched_customers.count

    @property
    def all_customers(self) -> int:
        """Customers with and without attributes."""
        return self.customers + self.without_attributes

    @property
    def is_sparse(self) -> bool:
        """Whether the table has rows of few customers, and hardly any other rows."""
        known = self.customers + self.without_purchase
        return known >= _KNOWN * self.rows and self.customers >= _FEW * self.rows > 0


def refuse_no_match(join: Join, counts: JoinCounts, source: Source) -> None:
    """Refuse a table with rows, of which none belongs to a customer with features.

    Raises
    ------
    DataError
    """
    if counts.customers or not counts.rows:
        return
    customers = count_with(counts.all_customers, "customer", "has", "have")
    problem = f"the {customers} no row in {join.storage.url!r}"
    if counts.without_id == counts.rows:
        rows = count_with(counts.rows, "row", "has", "have")
        why = f"its {rows} no id in column '{join.id}'"
        step = f"check that id = {join.id!r} is the column of the customers' ids"
    else:
        why, step = _why_rows_match_no_customer(join, counts, source)
    raise DataError("join.no_match", f"{problem}: {why}", hint=literal(step), parameter=join.key)


def warning_of_few_matches(join: Join, counts: JoinCounts, source: Source) -> str | None:
    """Describe a table in which less than half of the customers have a row.

    A table of a part of the customers, and of hardly anybody else, is so on purpose.
    """
    if counts.customers >= _FEW * counts.all_customers or counts.is_sparse:
        return None
    url, nulls = repr(join.storage.url), f"the others have nulls in {', '.join(join.schema.names)}"
    if not counts.rows:
        return f"{url} has no rows, so that all customers have nulls in its columns"
    share = counts.customers / counts.all_customers
    few = (
        f"only {counts.customers:,} of {count(counts.all_customers, 'customer')} ({share:.1%}) "
        f"{'has' if counts.customers == 1 else 'have'} a row in {url}, and {nulls}"
    )
    if not counts.unmatched_rows.count and not counts.without_purchase:
        return f"{few}; {counts.without_id:,} of its {count(counts.rows, 'row')} have no id"
    why, step = _why_rows_match_no_customer(join, counts, source)
    return f"{few}; {why}; {step}"


def _why_rows_match_no_customer(join: Join, counts: JoinCounts, source: Source) -> tuple[str, str]:
    """Return why rows with an id belong to no customer with features, and the next step."""
    rows = count(counts.rows - counts.without_id, "row")
    no_purchase = (
        f"{counts.without_purchase:,} of its {rows} with an id "
        f"{'belongs' if counts.without_purchase == 1 else 'belong'} to customers without a "
        "purchase before the snapshot"
    )
    unmatched = counts.unmatched_rows.count
    if not unmatched:
        return no_purchase, (
            "check the snapshot, and that the amounts of purchases are above zero in the lines"
        )
    belong = "belongs" if unmatched == 1 else "belong"
    why = f"{unmatched:,} of its {rows} with an id {belong} to no customer of the lines"
    if counts.without_purchase:
        why = f"{no_purchase}, and {why}"
    return f"{why}: {_compared(join, counts, source)}", _next_step(join, counts, source)


def _compared(join: Join, counts: JoinCounts, source: Source) -> str:
    """Return the types of the ids of both sides, and some ids unless they are hashed.

    The ids of the table are those after the conversion to the type of the lines.
    """
    shows_ids = source.roles.id_key is None
    of_lines = _such_as(counts.unmatched_customers, source.id_type) if shows_ids else ""
    of_table = _such_as(counts.unmatched_rows, source.id_type) if shows_ids else ""
    both_text = is_text(join.id_type) and is_text(source.id_type)
    read = "" if both_text or join.id_type == source.id_type else f", read as {source.id_type}"
    return (
        f"ids in column '{source.roles.customer}' of the lines are {source.id_type}{of_lines}, "
        f"those in column '{join.id}' of the table are {join.id_type}{read}{of_table}"
    )


def _such_as(ids: UnmatchedIds, kind: pa.DataType) -> str:
    texts = [repr(text) if is_text(kind) else text for _, text in ids.examples]
    return f", such as {' and '.join(texts)}" if texts else ""


def _next_step(join: Join, counts: JoinCounts, source: Source) -> str:
    of_lines = counts.unmatched_customers.all_end_in_point_zero
    of_table = counts.unmatched_rows.all_end_in_point_zero
    if of_lines != of_table:
        return without_point_zero("the lines" if of_lines else "the table")
    columns = f"{source.roles.customer!r} of the lines and {join.id!r} of the table"
    return (
        "compare how the ids are written in both (1 and 1.0 are different texts), and check that "
        f"{columns} are columns of the same ids"
    )


def without_point_zero(side: str) -> str:
    """Return the next step where all ids of one side are text that ends in ".0".

    In pandas, a column of such text may also be one of floats.
    """
    return (
        f"all these ids of {side} end in '{POINT_ZERO}', as programs write whole numbers of a "
        "column with gaps: write them without it, for example with "
        f"column.astype('string').str.removesuffix('{POINT_ZERO}') in pandas"
    )
