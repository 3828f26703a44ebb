"""The base of text files: CSV files, and sheets of workbooks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from gpuseg.formatting import numbered_row
from gpuseg.io.file_version import FileVersion
from gpuseg.io.storage import Storage
from gpuseg.io.text_files.text_format import TextFormat

MOST_COUNTED = 1_000_000
"""A message gives the line of these first rows, for which it reads the file again."""


@dataclass(frozen=True)
class TextFile(ABC):
    """A file of text whose format is known.

    Attributes
    ----------
    storage : Storage
    path : str
    version : FileVersion
        The version that the file must have, before and after.
    format : TextFormat
    """

    storage: Storage
    path: str
    version: FileVersion
    format: TextFormat

    @property
    def name(self) -> str:
        """Name of the file, for messages."""
        return self.storage.relative(self.path)

    @abstractmethod
    def place_of(self, row: int) -> str | None:
        """Return the line or the row of the sheet that a row begins in, such as "line 7".

        The file is read again. None if the place is not known.
        """

    def describe_row(self, row: int) -> str:
        """Describe the origin of a row by its line, as an editor counts, or else by its number."""
        place = self.place_of(row) if row < MOST_COUNTED else None
        return numbered_row(self.name, row) if place is None else f"{place} of {self.name}"
