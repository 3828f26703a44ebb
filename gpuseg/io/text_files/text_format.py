"""The format of one text file, as it was found or as the user named it."""

from dataclasses import dataclass

from gpuseg.formatting import count
from gpuseg.io.text_files.encodings import UTF8

CSV = "CSV"
WORKBOOK = "Excel"

_SEPARATED = {"\t": "delimiter tab", " ": "columns separated by spaces"}


@dataclass(frozen=True)
class TextFormat:
    """The format of a file; it says how the file is read.

    Attributes
    ----------
    kind : str
        `CSV` or `WORKBOOK`.
    columns : tuple of str
        Names of the columns, in the order of the file.
    encoding, delimiter, quote : str
        Of CSV files.
    skip_rows : int
        Lines or rows above the header, or above the data if there is no header.
    has_header : bool
    has_rows : bool
        Whether a CSV file has more than a header; Arrow reads no header without a line end.
    sheet : str
        Of workbooks.
    n_sheets : int
        Sheets of the workbook.
    decimal : str
        The decimal sign with which numbers of a workbook are written as text.
    skip_footer : int
        Rows at the end that are left out.
    """

    kind: str
    columns: tuple[str, ...]
    encoding: str = UTF8
    delimiter: str = ","
    quote: str = '"'
    skip_rows: int = 0
    has_header: bool = True
    has_rows: bool = True
    sheet: str = ""
    n_sheets: int = 0
    decimal: str = "."
    skip_footer: int = 0

    def describe(self) -> str:
        """Return the format in words."""
        words = [self.kind]
        unit = "row" if self.kind == WORKBOOK else "line"
        if self.kind == WORKBOOK:
            words.append(f"sheet {self.sheet!r}" + f" of {self.n_sheets}" * (self.n_sheets > 1))
        else:
            separated = _SEPARATED.get(self.delimiter, f"delimiter '{self.delimiter}'")
            words += [f"encoding {self.encoding}", separated]
        if self.skip_rows:
            table = "header" if self.has_header else "table"
            words.append(f"{count(self.skip_rows, unit)} above the {table} skipped")
        if self.skip_footer:
            words.append(f"{count(self.skip_footer, unit)} at the end skipped")
        if not self.has_header:
            words.append("no header")
        return ", ".join(words)
