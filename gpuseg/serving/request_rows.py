"""Rows of requests, before their values are checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.request_columns import RequestColumn
from gpuseg.serving.row_limit import may_have_more, parsed_rows

_NUMBERS = {float, int, type(None)}


class Misfit:
    """Stands for a value, or for a row, that its protocol does not allow.

    Parameters
    ----------
    value : object
        What the request has.
    rule : str
    """

    def __init__(self, value: Any, rule: str) -> None:
        self.value, self.rule = value, rule

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class RequestRows:
    """Rows of a request.

    Attributes
    ----------
    rows : sequence
        Objects of JSON, as `scoring.json_rows.JsonRowReader` reads them; or, with `are_numbers`,
        rows of int, float and None in the order of the columns.
    are_numbers : bool
    """

    rows: Sequence[Any]
    are_numbers: bool = False


class RowForms:
    """The forms of rows that a model's protocols share.

    Parameters
    ----------
    columns : sequence of RequestColumn
    """

    def __init__(self, columns: Sequence[RequestColumn]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in columns)
        self.width = sum(column.width for column in columns)
        self.are_numbers = all(column.kind == "number" for column in columns)
        self._decode_numbers = self._decoder_of_numbers()

    def read_objects(self, body: bytes, limits: RequestLimits) -> RequestRows:
        """Return the rows of a body ``{"rows": [{column: value}, …]}``.

        Numbers are decoded by their type first, which takes half as long as without types. Where
        that fails, the body is decoded again, and a wrong row is told by the value that is wrong.

        Raises
        ------
        RequestError
            For a body that does not have this form, and for too many rows.
        """
        # Rows with a value in each column have as many commas: of fewer there are not too many.
        may_be_too_many = may_have_more(body, limits.rows * len(self.names))
        if self._decode_numbers is not None and not may_be_too_many:
            try:
                objects = self._decode_numbers(body).rows
                return RequestRows(list(map(msgspec.structs.astuple, objects)), True)
            except (msgspec.MsgspecError, RecursionError):
                pass  # what is wrong is said below, or by the reader of the rows
        return RequestRows(parsed_rows(body, "rows", limits))

    def of_values(self, rows: Sequence[Any]) -> RequestRows:
        """Return rows of values in the order of the columns; other items stay as they are.

        A vector is a list, or its elements stand one after the other.
        """
        are_numbers = (
            self.are_numbers
            and all(isinstance(row, list | tuple) and len(row) == self.width for row in rows)
            and set(map(type, chain.from_iterable(rows))) <= _NUMBERS
        )
        if are_numbers:
            return RequestRows(rows, True)
        return RequestRows([self._named(row) for row in rows])

    def _named(self, row: Any) -> Any:
        if not isinstance(row, list | tuple):
            return row
        if len(row) == self.width and not (
            len(row) == len(self.columns) and any(isinstance(value, list) for value in row)
        ):
            return dict(zip(self.names, self._nested(row), strict=True))
        if len(row) == len(self.columns):
            return dict(zip(self.names, row, strict=True))
        return Misfit(row, f"must have {self.width:,} values, in the order of the columns")

    def _nested(self, flat: Sequence[Any]) -> list[Any]:
        """Return a row with the elements of each vector as a list."""
        values: list[Any] = []
        at = 0
        for column in self.columns:
            if column.kind == "vector":
                values.append(list(flat[at : at + column.width]))
            else:
                values.append(flat[at])
            at += column.width
        return values

    def _decoder_of_numbers(self) -> Callable[[bytes], Any] | None:
        if not self.are_numbers:
            return None
        fields = [f"column_{i}" for i in range(len(self.names))]
        rename = dict(zip(fields, self.names, strict=True))
        try:
            row = msgspec.defstruct(
                "NumberRow", [(field, float | None) for field in fields], rename=rename, gc=False
            )
            return msgspec.json.Decoder(msgspec.defstruct("Body", [("rows", list[row])])).decode  # type: ignore[valid-type]
        except ValueError:  # msgspec knows no names with quotation marks
            return None
