"""A segment of an output, at one level."""

import re
from dataclasses import dataclass

from gpuseg.formatting import segment_name
from gpuseg.output_columns import SEGMENT

_FILE = re.compile(rf"({SEGMENT}(?:_[1-9][0-9]{{0,8}})?)-(-?[0-9]{{1,10}})\.csv")
LEAVERS_END = "-leavers.csv"
"""The end of the names of files of customers to remove."""

_LEVEL = re.compile(rf"{SEGMENT}_([1-9][0-9]{{0,8}})")


@dataclass(frozen=True)
class LevelSegment:
    """A segment, by the column that has its number.

    Attributes
    ----------
    number : int
    column : str
        ``segment``, or that of a level of a hierarchy, such as ``segment_4``.
    """

    number: int
    column: str = SEGMENT

    @property
    def file(self) -> str:
        """The name of the file of its customers."""
        return f"{self.column}-{self.number}.csv"

    @property
    def leavers_file(self) -> str:
        """The name of the file of the customers to remove."""
        return f"{self.column}-{self.number}{LEAVERS_END}"

    @property
    def shown(self) -> str:
        """The segment after the word "segment", in messages."""
        if self.column == SEGMENT:
            return segment_name(self.number)
        return f"{self.number} of {self.column}"


def segments_of_level(column: str) -> int | None:
    """Return how many segments the level of a column has; None for another column."""
    match = _LEVEL.fullmatch(column)
    return None if match is None else int(match[1])


def segment_of_file(name: str) -> LevelSegment | None:
    """Return the segment of a file by its name; None for a name that gpuseg does not give."""
    match = _FILE.fullmatch(name)
    return None if match is None else LevelSegment(int(match[2]), match[1])
