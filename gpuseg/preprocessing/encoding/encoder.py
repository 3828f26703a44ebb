"""How one column becomes features.

What becomes of it is settled once, from what was counted in the data (`tally`), and is then the
same for every row that comes later. The rules for a category that was not there at the fit:

* one-hot: it falls under "other" where there is such a column; else it is none of the known ones;
* frequency: its share is 0;
* ordinal: it has no place in the order, and is a missing value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpuseg.errors import DataError
from gpuseg.preprocessing.encoding.arrow_columns import as_text, gaps

Kind = Literal["number", "is missing", "onehot", "frequency", "ordinal"]

OTHER, MISSING = "(other)", "(missing)"


@dataclass(frozen=True)
class Encoder:
    """How one column becomes one or several features.

    Attributes
    ----------
    column : str
    kind : {"number", "is missing", "onehot", "frequency", "ordinal"}
    family : str
        What the column held at the fit: "text", "whole numbers" or "booleans"; "" of a number.
    categories : tuple of str
        Those with a code of their own.
    shares : tuple of float
        Of the rows, for "frequency"; last that of rows without a category.
    other : bool
        Whether a one-hot column stands for the remaining categories.
    missing : bool
        Whether a missing category is one of its own.
    stays : bool
        Whether a row without a category stays: where it is none of its own, it is as one that was
        not there at the fit; else it is a missing value.
    """

    column: str
    kind: Kind = "number"
    family: str = ""
    categories: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    other: bool = False
    missing: bool = False
    stays: bool = False

    def names(self) -> list[str]:
        """Return the names of the features."""
        if self.kind == "is missing":
            return [f"{self.column} is missing"]
        if self.kind != "onehot":
            return [self.column]
        more = [OTHER] * self.other + [MISSING] * self.missing
        return [f"{self.column}={name}" for name in (*self.categories, *more)]

    def write(self, column: pa.Array, out: NDArray[np.float32]) -> NDArray[np.int64]:
        """Write the features of a column that is no number into out (rows, width).

        Returns
        -------
        int64 (m,)
            The rows with a category that was not there at the fit.

        Raises
        ------
        DataError
            For a column that holds something else than at the fit.
        """
        if self.kind == "is missing":
            out[:, 0] = gaps(column)
            return np.empty(0, np.int64)
        code, gap = self._codes(column)
        unseen = (code < 0) & ~gap
        if self.stays and not self.missing:  # a gap, too, is new
            unseen, gap = code < 0, np.zeros_like(gap)
        if self.kind == "onehot":
            self._write_one_hot(out, code, gap, unseen)
        elif self.kind == "frequency":
            values = np.append(self.shares, [0.0])  # code -1 is the last
            out[:, 0] = values[code]
            out[gap, 0] = self.shares[-1] if self.missing else np.nan
        else:
            out[:, 0] = np.where(code < 0, np.nan, code)
        return np.flatnonzero(unseen & (not self.other))

    def _write_one_hot(
        self,
        out: NDArray[np.float32],
        code: NDArray[np.int64],
        gap: NDArray[np.bool_],
        unseen: NDArray[np.bool_],
    ) -> None:
        out[:] = 0
        known = np.flatnonzero(code >= 0)
        out[known, code[known]] = 1
        if self.other:
            out[unseen, len(self.categories)] = 1
        if self.missing:
            out[gap, -1] = 1
        else:
            out[gap] = np.nan

    def _codes(self, column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the place of each value among the categories, -1 of others, and the gaps."""
        family, text = as_text(column, self.column)
        if family not in (self.family, ""):
            raise DataError(
                f"column '{self.column}' holds {family}, and {self.family} at the fit: categories "
                "are compared as they are written; convert the column"
            )
        found = pc.index_in(text, value_set=pa.array(self.categories, pa.string()))
        code = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return code, pc.is_null(text).to_numpy(zero_copy_only=False)

    def described(self) -> dict[str, Any]:
        """Return the encoder as JSON holds it."""
        lists = {"categories": list(self.categories), "shares": list(self.shares)}
        return {**vars(self), **lists}

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> "Encoder":
        """Return the encoder that `described` describes."""
        lists = {name: tuple(described[name]) for name in ("categories", "shares")}
        return cls(**{**described, **lists})
