"""Rows of answers as text: of many rows by a kernel, of few without its call."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba import row_texts as kernels
from gpuseg.serving.protocols.answers import FEW, float_texts, int_texts


class Choice(NamedTuple):
    """A field whose text each row chooses.

    Attributes
    ----------
    texts : sequence of str
    numbers : int64 (n,)
        Each row's text among them.
    """

    texts: Sequence[str]
    numbers: NDArray[np.int64]


Field = str | Choice | NDArray[Any]
"""What rows have in one place: all the same text, each a text of its choice, or int32 or float32.
"""


def rows_as_list(fields: Sequence[Field], n_rows: int) -> list[str]:
    """Return the text of each row."""
    columns = [_texts(field, n_rows) for field in fields]
    return list(map("".join, zip(*columns, strict=True)))


def rows_as_bytes(fields: Sequence[Field], n_rows: int) -> bytes:
    """Return the texts of all rows, one after the other."""
    if n_rows > FEW:
        written = _written(fields, n_rows)
        if written is not None:
            return written
    return "".join(rows_as_list(fields, n_rows)).encode()


def warm_up() -> None:
    """Load the kernel."""
    numbers = np.zeros(1, np.int64)
    _written((Choice([""], numbers), "", numbers.astype(np.int32), numbers.astype(np.float32)), 1)


def _texts(field: Field, n_rows: int) -> Iterable[str]:
    match field:
        case str():
            return repeat(field, n_rows)
        case Choice(texts, numbers):
            return [texts[number] for number in numbers.tolist()]
    return float_texts(field) if field.dtype == np.float32 else int_texts(field)


def _written(fields: Sequence[Field], n_rows: int) -> bytes | None:
    """Return what `rows_as_bytes` does; None if the kernel does not write one of the numbers."""
    texts: list[bytes] = []
    program: list[tuple[int, int]] = []
    choices = np.zeros(n_rows, np.int64)
    numbers: dict[int, list[NDArray[Any]]] = {kernels.INTEGER: [], kernels.FLOAT: []}
    n_bytes = 0
    for field in fields:
        match field:
            case str():
                program.append((kernels.TEXT, len(texts)))
                texts.append(field.encode())
                n_bytes += len(texts[-1])
            case Choice():
                program.append((kernels.CHOICE, 0))
                choices = field.numbers + len(texts)
                texts += [text.encode() for text in field.texts]
                n_bytes += max(map(len, texts))
            case _:
                kind = kernels.FLOAT if field.dtype == np.float32 else kernels.INTEGER
                program.append((kind, len(numbers[kind])))
                numbers[kind].append(field)
                n_bytes += kernels.FIELD_BYTES
    out = np.empty(n_rows * n_bytes, np.uint8)
    n_written = kernels.write_rows(
        out,
        np.frombuffer(b"".join(texts), np.uint8),
        np.cumsum([0, *map(len, texts)]),
        np.array(program),
        choices,
        _stacked(numbers[kernels.INTEGER], n_rows, np.int32),
        _stacked(numbers[kernels.FLOAT], n_rows, np.float32),
    )
    return None if n_written < 0 else out[:n_written].tobytes()


def _stacked(columns: Sequence[NDArray[Any]], n_rows: int, dtype: type[Any]) -> NDArray[Any]:
    stacked = np.empty((len(columns), n_rows), dtype)
    for row, column in zip(stacked, columns, strict=True):
        row[:] = column
    return stacked
