"""Score lines of JSON: one line of JSON for each, in the same order."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.arrow import from_numpy
from gpuseg.features.definitions import CUSTOMER_ID
from gpuseg.manifest import Manifest
from gpuseg.models.scores import Scores
from gpuseg.output_columns import SEGMENT
from gpuseg.preprocessing.pipeline import UnseenCategory
from gpuseg.preprocessing.row_problems import RowProblem
from gpuseg.printable import printable_value, shortened
from gpuseg.scoring.json_lines import ParsedLines, parse_lines, raw_value
from gpuseg.scoring.score_rows import RowScorer

ID, NAME, ERROR = "id", "name", "error"
"""Keys of the lines that are written, beside those of `Scores`."""

_COMPACT = (",", ":")
"""Between the items of JSON, as in the lines of scores."""

_MAX_RULE = 500
"""Most characters of a rule: that of an order names all its values."""


class LineScorer:
    """Scores lines of JSON, and counts them.

    Parameters
    ----------
    scorer : RowScorer
    names : mapping of int to str
        Names of segments.
    id_column : str or None
        The key of a row whose value is written as ``id``, as it is.

    Attributes
    ----------
    n_rows, n_failed : int
        Lines scored, and lines that cannot be scored.
    unseen : dict of str to UnseenCategory
        By column: categories that were not in the data of the fit. `first_row` is the number of a
        line, from 1.
    """

    def __init__(self, scorer: RowScorer, names: Mapping[int, str], id_column: str | None) -> None:
        self._scorer, self._id_column = scorer, id_column
        self._names = {segment: encode_basestring(name) for segment, name in names.items()}
        self._n_lines = self.n_rows = self.n_failed = 0
        self.unseen: dict[str, UnseenCategory] = {}

    def score(self, lines: Sequence[bytes]) -> bytes:
        """Return a line for each line that is not blank.

        Parameters
        ----------
        lines : sequence of bytes
            They follow those of the last call.
        """
        parsed = parse_lines(lines)
        scored = self._scorer.score(parsed.rows)
        ids, positions = self._ids(parsed, lines), parsed.positions
        problems = {
            int(positions[problem.row]): self._error(problem, positions, ids[problem.row])
            for problem in scored.problems
        }
        problems |= {
            problem.row: self._error(problem, np.arange(len(lines)), "")
            for problem in parsed.problems
        }
        good = ids if not scored.problems else [ids[row] for row in scored.rows.tolist()]
        written = self._written(scored.scores, good)
        self.n_rows += len(written)
        self.n_failed += len(problems)
        if problems:
            by_position = {
                **dict(zip(positions[scored.rows].tolist(), written, strict=True)),
                **problems,
            }
            written = [by_position[position] for position in sorted(by_position)]
        for item in scored.unseen:
            self._count_unseen(item, positions)
        self._n_lines += len(lines)
        return "".join(written).encode()

    def _ids(self, parsed: ParsedLines, lines: Sequence[bytes]) -> list[str]:
        """Return how each written line begins: with the id, if the row has one."""
        name = self._id_column
        if name is None:
            return [""] * len(parsed.rows)
        values = [row.get(name, self) for row in parsed.rows]
        types = {*map(type, values)}
        if types <= {int}:
            return [f'"id":{value},' for value in values]
        if types <= {str} and all(map(str.isascii, values)):
            return [f'"id":{text},' for text in map(encode_basestring, values)]
        return [
            "" if value is self else f'"id":{_text_of(value, lines[position], name)},'
            for value, position in zip(values, parsed.positions.tolist(), strict=True)
        ]

    def _written(self, scores: Scores, ids: Sequence[str]) -> list[str]:
        """Return the lines of scored rows."""
        columns = scores.columns()
        named = {
            segment: f'"{SEGMENT}":{segment},"{NAME}":{self._names.get(segment, "null")}'
            for segment in np.unique(scores.segment).tolist()
        }
        of_rows = map(named.__getitem__, columns.pop(SEGMENT).tolist())
        parts: list[Iterator[str]] = [iter(ids), of_rows]
        template = "{%s%s"
        for name, values in columns.items():
            template += f",{encode_basestring(name).replace('%', '%%')}:%s"
            parts.append(iter(_texts(values)))
        template += "}\n"
        return [template % row for row in zip(*parts, strict=True)]

    def _error(self, problem: RowProblem, positions: NDArray[np.int64], begin: str) -> str:
        """Return the line of a row that cannot be scored."""
        error = {
            "column": problem.column or None,
            "value": _shown(problem.value),
            "rule": shortened(problem.rule, _MAX_RULE),
            "line": self._number(positions[problem.row]),
        }
        return f'{{{begin}"{ERROR}":{json.dumps(error, separators=_COMPACT)}}}\n'

    def _count_unseen(self, item: UnseenCategory, positions: NDArray[np.int64]) -> None:
        before = self.unseen.get(item.column)
        if before is None:
            line = self._number(positions[item.first_row])
            self.unseen[item.column] = item._replace(first_row=line)
        else:
            self.unseen[item.column] = before._replace(n_rows=before.n_rows + item.n_rows)

    def _number(self, position: np.int64) -> int:
        """Return the number of a line, from 1 for the first one of all."""
        return self._n_lines + int(position) + 1


def _texts(values: NDArray[Any]) -> Iterator[str]:
    """Return numbers as JSON, float32 as its shortest text, and null for what is not finite."""
    if values.dtype.kind != "f":
        return map(str, values.tolist())
    texts, are_finite = from_numpy(values).cast(pa.string()).to_pylist(), np.isfinite(values)
    if are_finite.all():
        return iter(texts)
    return (text if finite else "null" for text, finite in zip(texts, are_finite, strict=True))


def _text_of(value: Any, line: bytes, key: str) -> str:
    """Return the value of a key as JSON, others than plain text and numbers as the line has it."""
    if isinstance(value, str) and value.isascii():
        return encode_basestring(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return str(value)
    return raw_value(line, key)


def _shown(value: Any) -> Any:
    """Return a value of a row for an error, as JSON has it if it is short and simple."""
    if isinstance(value, str):
        return shortened(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return printable_value(value)


def id_column_of(manifest: Manifest | None) -> str | None:
    """Return the id column of the rows that a run has clustered; None if there is none."""
    if manifest is None:
        return None
    if manifest.transactions is not None:
        return CUSTOMER_ID
    name = manifest.job.get("input", {}).get("id")
    return name if isinstance(name, str) else None
