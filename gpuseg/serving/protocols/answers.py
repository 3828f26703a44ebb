"""What the answers of all protocols share: numbers as text, and rows that are wrong."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy
from gpuseg.formatting import count_with
from gpuseg.preprocessing.row_problems import RowProblem
from gpuseg.printable import printable_text, printable_value
from gpuseg.serving.loaded_model import MAX_PROBLEMS, RequestScores
from gpuseg.serving.request_rows import Misfit

WRONG_ROWS = "rows.wrong"
"""The code of the answer to a request with rows that have no scores."""

NULL = "null"


FEW = 32
"""Values whose text NumPy writes faster than Arrow or a kernel: a call takes as long as they do."""


def float_texts(values: NDArray[np.float32]) -> list[str]:
    """Return the shortest text of each float32, which reads back to the same bits."""
    if len(values) <= FEW:
        return [_float_text(value) for value in values]
    texts: list[str] = pc.cast(from_numpy(values), pa.string()).to_pylist()
    is_finite = np.isfinite(values)
    if is_finite.all():
        return texts
    return [t if f else NULL for t, f in zip(texts, is_finite.tolist(), strict=True)]


def _float_text(value: np.float32) -> str:
    """Return the text that Arrow writes: it has a point or an exponent for other numbers."""
    text = str(value)
    if "n" in text:  # nan, inf
        return NULL
    if "e" in text:
        return str(pc.cast(pa.scalar(value), pa.string()))
    return text.removesuffix(".0")


def int_texts(values: NDArray[np.int32]) -> list[str]:
    """Return whole numbers as text."""
    return list(map(str, values.tolist()))


def in_place(texts: Sequence[str], scored: RequestScores) -> Sequence[str]:
    """Return the texts of all rows of a request, null for rows without scores."""
    if not scored.n_wrong:
        return texts
    result = [NULL] * scored.n_rows
    for number, text in zip(scored.rows.tolist(), texts, strict=True):
        result[number] = text
    return result


def wrong_rows(scored: RequestScores) -> dict[str, Any]:
    """Return what an answer says of rows without scores, as keys of JSON.

    These are `error` and `code`, as every error has them, `wrong_rows`, their number, and
    `problems`: row, column, value and rule, of the first rows.
    """
    problems = [_as_json(problem) for problem in scored.problems[:MAX_PROBLEMS]]
    first = problems[0]
    where = f"row {first['row']}" + (f", column {first['column']!r}" if first["column"] else "")
    rows = count_with(scored.n_wrong, "row", "has", "have")
    return {
        "error": printable_text(
            f"{rows} no segment, the first is {where}: {first['rule']}; the answers of the others "
            "are here"
        ),
        "code": WRONG_ROWS,
        "wrong_rows": scored.n_wrong,
        "problems": problems,
    }


def _as_json(problem: RowProblem) -> dict[str, Any]:
    value, rule = problem.value, problem.rule
    if isinstance(value, Misfit):
        value, rule = value.value, value.rule
    return {
        "row": problem.row,
        "column": printable_text(problem.column) or None,
        "value": None if value is None else printable_value(value),
        "rule": printable_text(rule),
    }


def with_answers(scored: RequestScores, key: str, answers: str) -> bytes:
    """Return the body for a request with wrong rows: what is wrong, and the answers under `key`."""
    start = compact_json(wrong_rows(scored))
    return f'{start[:-1]},"{key}":{answers}}}'.encode()


def compact_json(content: Any) -> str:
    """Return a value as JSON without spaces."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=1024)
def json_text(text: str) -> str:
    """Return a text as JSON."""
    return json.dumps(text, ensure_ascii=False)
