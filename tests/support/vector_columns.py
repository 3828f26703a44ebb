"""Columns of vectors of every type, and the same numbers as columns of numbers."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

Rows = list[list[float | None] | None]
"""Vectors of six elements; None is missing."""

WIDTH = 6

SPARK_VECTOR = pa.struct([
    ("type", pa.int8()), ("size", pa.int32()),
    ("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float64())),
])  # fmt: skip
"""How Spark ML writes its vectors to Parquet."""


def rows(n: int = 240, *, with_missing: bool = True) -> Rows:
    """Return vectors of whole numbers around three places; some are missing, or have gaps."""
    rng = np.random.default_rng(0)
    places = rng.integers(-40, 40, (3, WIDTH))
    x = places[np.arange(n) % 3] + rng.integers(-3, 4, (n, WIDTH))
    vectors: Rows = x.astype(float).tolist()
    if with_missing:
        vectors[0] = vectors[100] = None
        vectors[7] = [None, *vectors[8][1:]]  # type: ignore[index]
    return vectors


def _of(kind: pa.DataType, convert: Callable[[float], Any] = float) -> Callable[[Rows], pa.Array]:
    def column(vectors: Rows) -> pa.Array:
        return pa.array(
            [v and [None if e is None else convert(e) for e in v] for v in vectors], kind
        )

    return column


def _nested(vectors: Rows) -> pa.Array:
    return pa.array([v and [v[:3], v[3:]] for v in vectors], pa.list_(pa.list_(pa.float32())))


def _tensors(vectors: Rows) -> pa.Array:
    kind = pa.fixed_shape_tensor(pa.float64(), [2, 3])
    return pa.ExtensionArray.from_storage(kind, _of(kind.storage_type)(vectors))


def _tensors_by_column(vectors: Rows) -> pa.Array:
    """Return tensors that lie in memory column by column."""
    kind = pa.fixed_shape_tensor(pa.float32(), [3, 2], permutation=[1, 0])
    moved: Rows = [v and [v[i] for i in (0, 3, 1, 4, 2, 5)] for v in vectors]
    return pa.ExtensionArray.from_storage(kind, _of(kind.storage_type)(moved))


def _spark(vectors: Rows, kind: pa.DataType | None = SPARK_VECTOR) -> pa.Array:
    """Return vectors of which every other one is sparse."""

    def vector(i: int, v: list[float | None] | None) -> dict[str, Any] | None:
        if v is None or None in v or i % 2:
            return v and {"type": 1, "values": [float("nan") if e is None else e for e in v]}
        there = [e for e, value in enumerate(v) if value]
        return {"type": 0, "size": WIDTH, "indices": there, "values": [v[e] for e in there]}

    return pa.array([vector(i, v) for i, v in enumerate(vectors)], kind)


KINDS: dict[str, Callable[[Rows], pa.Array]] = {
    "list of float32": _of(pa.list_(pa.float32())),
    "list of float64": _of(pa.list_(pa.float64())),
    "list of int16": _of(pa.list_(pa.int16()), int),
    "large list": _of(pa.large_list(pa.int64()), int),
    "fixed size": _of(pa.list_(pa.float32(), WIDTH)),
    "fixed size of decimals": _of(pa.list_(pa.decimal128(6, 1), WIDTH), lambda e: Decimal(int(e))),
    "list of lists": _nested,
    "tensor": _tensors,
    "tensor by column": _tensors_by_column,
    "Spark": _spark,
    "dicts of Spark": partial(_spark, kind=None),
}


def names(kind: str, column: str) -> list[str]:
    """Return the names of the features of a column."""
    if kind in ("list of lists", "tensor", "tensor by column"):
        return [f"{column}[{i},{j}]" for i in range(2) for j in range(3)]
    return [f"{column}[{i}]" for i in range(WIDTH)]


def as_numbers(vectors: Rows, names: list[str]) -> pa.Table:
    """Return the elements as columns of numbers."""
    return pa.table({
        name: pa.array([v and v[f] for v in vectors], pa.float64()) for f, name in enumerate(names)
    })  # fmt: skip
