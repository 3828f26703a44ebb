"""The base of text files: CSV files, and sheets of workbooks."""

from dataclasses import dataclass

from gpuseg.io.file_version import FileVersion
from gpuseg.io.storage import Storage
from gpuseg.io.text_files.text_format import TextFormat


@dataclass(frozen=True)
class TextFile:
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
