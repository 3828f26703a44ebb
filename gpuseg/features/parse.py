"""Parse the columns of a batch of lines to numbers.

Errors name the column, the file, the row and the rule.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import decimals_to_numpy, first_invalid, from_numpy, is_text, plain, to_numpy
from gpuseg.backends.customers import LATER, NOTHING, PURCHASE, RETURN, UNUSABLE
from gpuseg.errors import DataError, literal, without_value
from gpuseg.features.missing_text import NullValues
from gpuseg.features.text_formats import next_step
from gpuseg.features.times import times
from gpuseg.features.transactions import DescribeRow, Parsed, Roles, ScanCounts
from gpuseg.io.parquet.ids import hash_ids
from gpuseg.io.privacy.pseudonyms import Key, pseudonyms
from gpuseg.io.text_files.amounts import currencies_of, without_signs_of_amounts
from gpuseg.io.text_files.damaged_ids import refuse_damaged_ids
from gpuseg.io.text_files.number_format import NumberFormat
from gpuseg.numerics.hashing import splitmix64

UNREADABLE = "transactions.unreadable_value"
"""Code of the error for text that is no number."""

_REASONS = (
    *("without_customer", "without_time", "without_amount", "zero_quantity", "zero_price"),
    *("negative_price", "on_or_after_snapshot"),
)
"""Reasons why a line is neither a purchase nor a return; the first one counts."""


def parse(batch: pa.RecordBatch, roles: Roles, describe: DescribeRow) -> tuple[Parsed, ScanCounts]:
    """Parse the values of a batch.

    Raises
    ------
    DataError
        For a time or a number that is unreadable text, and for infinite amounts.
    """
    n = batch.num_rows
    nulls = NullValues(roles.null_values, n)
    column = {role: plain(batch.column(name)) for role, name in roles.columns().items()}
    for role in ("customer", "order", "product", "category"):
        if role in column:
            column[role] = nulls.removed(column[role])
    _refuse_damaged_ids(column["customer"], roles, describe)
    currencies: dict[str, frozenset[str]] = {}
    with without_value(roles.id_key is not None):  # an id may be in the wrong column
        subject = f"time '{roles.time}'"
        read = times(column["time"], roles.time_format, subject, describe, nulls)
        quantity, price, amount = _amounts(column, roles, n, describe, nulls, currencies)
    time, no_time = read.micros, read.is_missing
    signed = quantity if roles.amount is None else amount
    known = has_id(column["customer"])
    snapshot = roles.snapshot_us()
    later = np.zeros(n, bool) if snapshot is None else time >= snapshot
    is_free = (signed == 0) | (amount == 0)
    flags = (
        ~known, no_time, np.isnan(amount), signed == 0, (price == 0) | is_free, price < 0,
        later,
    )  # fmt: skip
    reason = np.select(flags, range(len(_REASONS)), len(_REASONS))
    kind = np.where(signed > 0, PURCHASE, RETURN).astype(np.uint8)
    kind[reason < len(_REASONS)] = UNUSABLE
    kind[reason == _REASONS.index("on_or_after_snapshot")] = LATER
    times_of_customers = time[known & ~no_time]
    counts = ScanCounts(
        lines=n,
        purchases=int(np.count_nonzero(kind == PURCHASE)),
        returns=int(np.count_nonzero(kind == RETURN)),
        with_null_values=int(np.count_nonzero(nulls.rows)),
        times_with_offset=int(np.count_nonzero(read.has_offset)),
        times_without_offset=int(np.count_nonzero(~read.has_offset & ~no_time)),
        currencies=currencies,
        earliest=int(times_of_customers.min(initial=ScanCounts.earliest)),
        latest=int(times_of_customers.max(initial=ScanCounts.latest)),
        **{name: int(np.count_nonzero(reason == i)) for i, name in enumerate(_REASONS)},
    )
    kept = np.flatnonzero(known)
    customer = column["customer"].filter(from_numpy(known))
    if roles.id_key is not None:
        customer = keyed(customer, roles.id_key)
    nothing = np.full(n, NOTHING)
    return Parsed(
        as_id(customer),
        hash_of(customer),
        kind[kept],
        time[kept],
        _hashed(column.get("order"), splitmix64(time.view(np.uint64)))[kept],
        _hashed(column.get("product"), nothing)[kept],
        _hashed(column.get("category"), nothing)[kept],
        quantity[kept],
        amount[kept],
    ), counts


def numbers(
    column: pa.Array,
    subject: str,
    describe: DescribeRow,
    nulls: NullValues,
    roles: Roles,
    currencies: dict[str, frozenset[str]],
) -> NDArray[np.float64]:
    """Return float64 with NaN for missing values; text has numbers of the roles' format.

    The currencies of amounts are added by the subject.

    Raises
    ------
    DataError
    """
    if is_text(column.type):
        if not roles.number_format.is_plain:
            column = _in_plain_format(
                column, subject, describe, nulls, roles.number_format, currencies
            )
        column = _read_text(
            column, pa.float64(), subject, describe, nulls,
            "must be a number such as 2.67, with a decimal point", currencies, roles.are_of_job,
        )  # fmt: skip
    if pa.types.is_decimal(column.type):
        return decimals_to_numpy(column)
    column = pc.cast(column, pa.float64(), safe=False)
    values: NDArray[np.float64] = to_numpy(column)
    return values


def _in_plain_format(
    column: pa.Array,
    subject: str,
    describe: DescribeRow,
    nulls: NullValues,
    format: NumberFormat,
    currencies: dict[str, frozenset[str]],
) -> pa.Array:
    """Return numbers of a format as programs write them; missing values are null.

    Raises
    ------
    DataError
    """
    text = pc.utf8_trim_whitespace(nulls.removed(column).dictionary_decode())
    text = pc.if_else(pc.equal(text, ""), None, text)
    row = pc.index(format.matches(text), False).as_py()
    if row >= 0:
        raise DataError(
            UNREADABLE,
            f"{subject} in {describe(row)}",
            value=text[row].as_py(),
            rule=f"must be a number such as {literal(format.example)}, as the job says",
            hint="fix the line, or change `decimal` and `thousands`",
        )
    currencies[subject] = currencies_of(text)
    return format.to_plain(without_signs_of_amounts(text))


def _refuse_damaged_ids(customer: pa.Array, roles: Roles, describe: DescribeRow) -> None:
    if not pa.types.is_dictionary(customer.type):
        return
    with without_value(roles.id_key is not None):
        refuse_damaged_ids(
            customer.dictionary, f"customer '{roles.customer}'",
            lambda code: describe(pc.index(customer.indices, code).as_py()),
        )  # fmt: skip


def keyed(customer: pa.Array, key: Key) -> pa.Array:
    """Return the keyed hash of each id, computed once per distinct id."""
    encoded = customer.dictionary_encode()
    return pseudonyms(encoded.dictionary, key).take(encoded.indices)


def _amounts(
    column: dict[str, pa.Array],
    roles: Roles,
    n: int,
    describe: DescribeRow,
    nulls: NullValues,
    currencies: dict[str, frozenset[str]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return quantities, prices and amounts; missing columns are ones.

    The currencies of a column are added under its role and name.
    """
    names, one = roles.columns(), np.ones(n)
    values = {
        role: numbers(
            column[role],
            f"{role} '{names[role]}'",
            describe,
            nulls,
            roles,
            currencies,
        )
        for role in ("quantity", "price", "amount")
        if role in column
    }
    for role, numeric in values.items():
        if np.isinf(numeric).any():
            row = int(np.flatnonzero(np.isinf(numeric))[0])
            raise DataError(
                "transactions.infinite",
                f"{role} '{names[role]}' in {describe(row)}",
                value=float(numeric[row]),
                rule="amounts must be finite",
                hint="fix the line, or make it null",
            )
    quantity, price = values.get("quantity", one), values.get("price", one)
    if "amount" in values:
        return np.nan_to_num(quantity), price, values["amount"]
    with np.errstate(over="ignore"):
        amount = quantity * price
    if np.isinf(amount).any():
        row = int(np.flatnonzero(np.isinf(amount))[0])
        raise DataError(
            "transactions.overflow",
            f"quantity times price in {describe(row)} is beyond float64",
            value=(float(quantity[row]), float(price[row])),
            hint="fix the line, or make it null",
        )
    return quantity, price, amount


def _read_text(
    column: pa.Array,
    kind: pa.DataType,
    subject: str,
    describe: DescribeRow,
    nulls: NullValues,
    rule: str,
    currencies: dict[str, frozenset[str]],
    is_of_job: bool,
) -> pa.Array:
    """Parse text as values of another type; blank text and null values are missing values.

    Null values are looked for only if one could be read as a value, or text is not readable.
    """
    if nulls.may_be(kind):
        column = nulls.removed(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.equal(text, ""), None, text)
    try:
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        pass
    text = nulls.removed(text).dictionary_decode()
    currencies[subject] = currencies_of(text)
    number = without_signs_of_amounts(text)
    try:
        return pc.cast(number, kind)
    except pa.ArrowInvalid:
        row = first_invalid(lambda part: pc.cast(part, kind), number)
        raise DataError(
            UNREADABLE,
            f"{subject} in {describe(row)}",
            value=text[row].as_py(),
            rule=rule,
            hint=next_step(number, row, kind, bool(currencies[subject]), is_of_job),
        ) from None


def as_id(column: pa.Array) -> pa.Array:
    """Return ids as they are written: text has one type for all kinds of files."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return pc.cast(column, pa.string()) if is_text(column.type) else column


def has_id(column: pa.Array) -> NDArray[np.bool_]:
    """Return whether rows have an id: null and NaN are missing, after `NullValues.removed`."""
    known = column.is_valid()
    if pa.types.is_floating(column.type):
        known = pc.and_(known, pc.invert(pc.is_nan(column)))
    flags: NDArray[np.bool_] = to_numpy(pc.fill_null(known, False))
    return flags


def _hashed(column: pa.Array | None, missing: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a hash of each value, or `missing` for a missing value."""
    if column is None:
        return missing
    is_missing = column.is_null()
    if pa.types.is_floating(column.type):
        is_missing = pc.or_(is_missing, pc.fill_null(pc.is_nan(column), False))
    hashes = np.maximum(hash_of(column), NOTHING + np.uint64(1))
    return np.where(to_numpy(is_missing), missing, hashes)


def hash_of(column: pa.Array) -> NDArray[np.uint64]:
    """Hash the values; text is hashed once per distinct value."""
    if not is_text(column.type):
        return hash_ids(column)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    hashes = hash_ids(encoded.dictionary)
    codes = to_numpy(pc.fill_null(encoded.indices, 0))
    return hashes[codes] if len(hashes) else np.zeros(len(column), np.uint64)
