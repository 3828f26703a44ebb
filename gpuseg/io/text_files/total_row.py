"""A last row with the totals of a table, which would be a customer with the spend of all others."""

from dataclasses import dataclass, field
from math import isclose
from typing import Any

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.errors import DataError, set_keys
from gpuseg.io.text_files.dialect import shown_values

_WORDS = frozenset({
    *("total", "totals", "grand total", "sum", "gesamt", "gesamtergebnis", "gesamtsumme"),
    *("summe", "somme", "total général", "totale", "total general", "total geral", "suma"),
    *("razem", "totaal", "summa", "итого", "合計", "総計", "总计", "合计", "총계", "합계"),
})  # fmt: skip
"""What programs call totals, in lower case."""

_FEWEST_ROWS = 3
_TOLERANCE = 1e-6
"""Of totals that were added up before their values were rounded."""


@dataclass
class LastRow:
    """The last row of a file, and the sums of all rows.

    Attributes
    ----------
    id : str or None
        The column of ids.
    """

    id: str | None
    _n_rows: int = 0
    _sums: dict[str, Any] = field(default_factory=dict)
    _last: dict[str, Any] = field(default_factory=dict)
    _texts: dict[str, str | None] = field(default_factory=dict)

    def add(self, texts: pa.RecordBatch, values: pa.RecordBatch) -> None:
        """Take rows as text and with their types."""
        if not values.num_rows:
            return
        self._n_rows += values.num_rows
        self._texts = texts.slice(texts.num_rows - 1).to_pylist()[0]
        self._last = values.slice(values.num_rows - 1).to_pylist()[0]
        for name, column in zip(values.schema.names, values.columns, strict=True):
            if name != self.id and (pa.types.is_int64(column.type) or _is_double(column)):
                self._sums[name] = self._sums.get(name, 0) + (pc.sum(column).as_py() or 0)

    def refuse_totals(self, file: str, skipped: int) -> None:
        """Refuse a last row that has totals of the rows above.

        One column is no evidence alone, since 1 is the sum of 0, 1 and 0. The row is called a
        total, or it has no id and mostly totals, or it has several totals and no other number.

        Parameters
        ----------
        file : str
            For messages.
        skipped : int
            Rows below it that are left out.

        Raises
        ------
        DataError
        """
        totals = [name for name, total in self._sums.items() if self._is_total(name, total)]
        is_called_total = any(
            text is not None and text.strip().rstrip(":").casefold() in _WORDS
            for text in self._texts.values()
        )
        has_no_id = self.id is not None and self._texts.get(self.id) is None
        has_mostly_totals = 2 * len(totals) > len(self._sums)
        has_only_totals = 1 < len(totals) == len(self._sums)
        if self._n_rows < _FEWEST_ROWS or not totals:
            return
        if is_called_total or (has_no_id and has_mostly_totals) or has_only_totals:
            is_customer = "" if skipped else "; if it is a customer, write skip_footer = 0"
            raise DataError(
                "file.total_row",
                f"{file}: the last row has the totals of the rows above, in {_listed(totals)}",
                reason=shown_values([text or "" for text in self._texts.values()]),
                rule="each row must be a customer",
                hint=f"to leave it out, {set_keys(f'skip_footer = {skipped + 1}')}; or remove the "
                f"row{is_customer}",
            )

    def _is_total(self, name: str, total: Any) -> bool:
        last = self._last[name]
        return bool(last) and isclose(last, total - last, rel_tol=_TOLERANCE)


def _is_double(column: pa.Array) -> bool:
    return bool(pa.types.is_float64(column.type))


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (", …" if len(names) > 3 else "")
