"""The protocol of SageMaker's containers: ``POST /invocations``.

Rows come as JSON, JSON lines or CSV, and leave in the type that the request accepts.
"""

import csv
from collections.abc import Iterable, Sequence
from io import BytesIO, StringIO
from itertools import islice
from typing import Any, TypeVar

from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel, RequestScores
from gpuseg.serving.media_types import CSV, JSON_LINES
from gpuseg.serving.protocols.answers import in_place, with_answers
from gpuseg.serving.protocols.row_texts import rows_as_bytes, rows_as_list
from gpuseg.serving.request_columns import RequestColumn
from gpuseg.serving.request_errors import RequestError, malformed
from gpuseg.serving.request_json import parsed_json
from gpuseg.serving.request_rows import Misfit, RequestRows, RowForms
from gpuseg.serving.row_limit import parsed_rows

_INSTANCES, _FEATURES, _DATA = "instances", "features", "data"

_T = TypeVar("_T")

_BOOLEANS = {"true": True, "false": False}

_MAX_DIGITS = 20
"""Digits of a whole number of 64 bits."""


def read_json(body: bytes, model: LoadedModel, limits: RequestLimits) -> RequestRows:
    """Return the rows of ``{"instances": [row, …]}``, or of a list of rows.

    A row is an object of columns, a list of values in the order of the columns, ``{"features":
    list}`` or ``{"data": {"features": {"values": list}}}``.

    Raises
    ------
    RequestError
        For a body of another form, and for too many rows; a row of another form is one of the
        problems.
    """
    instances = parsed_rows(body, _INSTANCES, limits, may_be_list=True)
    return model.forms.of_values([_uncovered(row, model.forms) for row in instances])


def read_json_lines(body: bytes, model: LoadedModel, limits: RequestLimits) -> RequestRows:
    """Return the rows of lines of JSON, each as `read_json` has a row; empty lines are skipped.

    Raises
    ------
    RequestError
        For too many rows.
    """
    lines = _within((line for line in BytesIO(body) if line.strip()), limits)
    rows = [_uncovered(_line(line), model.forms) for line in lines]
    return model.forms.of_values(rows)


def read_csv(
    body: bytes, model: LoadedModel, limits: RequestLimits, has_header: bool | None = None
) -> RequestRows:
    """Return the rows of CSV in UTF-8; an empty cell is a gap, and a vector has several cells.

    Parameters
    ----------
    has_header : bool or None
        Whether the first line names the columns; by default, if it has the name of each.

    Raises
    ------
    RequestError
        For text that is not CSV in UTF-8, for a header without one of the columns, and for too
        many rows.
    """
    try:
        text = StringIO(body.decode("utf-8-sig"), newline="")
        lines = _within((line for line in csv.reader(text) if line), limits, n_headers=1)
    except (UnicodeDecodeError, csv.Error) as error:
        raise malformed("body.not_csv", f"the body is not CSV in UTF-8: {error}") from None
    forms = model.forms
    names = [name for column in forms.columns for name in column.flat_names]
    column_of = [column for column in forms.columns for _ in range(column.width)]
    if has_header is None:
        has_header = bool(lines) and set(names) <= set(lines[0])
    header = lines.pop(0) if has_header and lines else names
    position = {name: i for i, name in enumerate(header)}
    for name in names:
        if name not in position:
            raise malformed("column.missing", f"the header has no column {name!r}")
    cells = [(position[name], column) for name, column in zip(names, column_of, strict=True)]

    def values(line: Sequence[str]) -> Any:
        if len(line) != len(header):
            return Misfit(",".join(line), f"must have {len(header):,} cells")
        return [_cell(line[i], column) for i, column in cells]

    return forms.of_values([values(line) for line in lines])


def write(scored: RequestScores, accept: str) -> bytes:
    """Return ``{"predictions": [{"closest_cluster", "distance_to_cluster"}, …]}``.

    As JSON lines each of them is a line; as CSV the two numbers are. If rows are wrong, the answer
    is JSON whatever the request accepts, with null for these rows.

    Parameters
    ----------
    accept : {"application/json", "application/jsonlines", "text/csv"}
    """
    segment, distance = scored.scores.segment, scored.scores.distance
    n_rows = len(segment)
    if not scored.n_wrong and accept == CSV:
        return rows_as_bytes([segment, ".0,", distance, "\n"], n_rows)
    fields = ('{"closest_cluster":', segment, '.0,"distance_to_cluster":', distance, "}")
    if not scored.n_wrong and accept == JSON_LINES:
        return rows_as_bytes([*fields, "\n"], n_rows)
    if not scored.n_wrong:
        return b'{"predictions":[%b]}' % rows_as_bytes([*fields, ","], n_rows)[:-1]
    rows = in_place(rows_as_list(fields, n_rows), scored)
    return with_answers(scored, "predictions", f"[{','.join(rows)}]")


def _uncovered(row: Any, forms: RowForms) -> Any:
    """Return the list of values that a row has inside, or the row itself."""
    if not isinstance(row, dict):
        return row
    if isinstance(row.get(_FEATURES), list) and _FEATURES not in forms.names:
        return row[_FEATURES]
    data = row.get(_DATA)
    if isinstance(data, dict) and _DATA not in forms.names:
        features = data.get(_FEATURES)
        if isinstance(features, dict) and isinstance(features.get("values"), list):
            return features["values"]
    return row


def _within(lines: Iterable[_T], limits: RequestLimits, n_headers: int = 0) -> list[_T]:
    """Return the lines of a body; of too many, no more than are needed to refuse them."""
    taken = list(islice(lines, limits.rows + n_headers + 1))
    limits.check_rows(len(taken) - n_headers)
    return taken


def _line(line: bytes) -> Any:
    try:
        return parsed_json(line)
    except RequestError as error:
        return Misfit(line.rstrip(b"\r\n").decode(errors="replace"), error.message)


def _cell(text: str, column: RequestColumn) -> Any:
    """Return the value of a cell as JSON would have it; the text itself if it has none."""
    if column.kind == "text":
        return text or None
    text = text.strip()
    if not text:
        return None
    if column.kind == "booleans":
        return _BOOLEANS.get(text.lower(), text)
    digits = text.removeprefix("-")
    if column.kind == "whole numbers" and digits.isdecimal() and len(digits) <= _MAX_DIGITS:
        return int(text)
    if "_" in text or not text.isascii():  # Python reads more than CSV has
        return text
    try:
        return float(text)
    except ValueError:
        return text
