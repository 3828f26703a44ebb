"""Cells of terminal tables that show data."""

from rich.text import Text

from gpuseg.printable import printable_text


def cell(text: str) -> Text:
    """Return text that may have data in it: escaped and shortened, and no markup of rich's."""
    return Text(printable_text(text))
