"""What no page or text that is shown may have, whatever the data: scripts, control characters."""

import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser

from rich.console import Console
from rich.table import Table

VOID = {"meta", "link", "br", "wbr"}
"""Tags without an end tag."""

TAGS = VOID | {
    "html", "head", "title", "style", "body", "a", "header", "main", "footer", "nav", "section",
    "h1", "h2", "h3", "p", "code", "pre", "ul", "li", "dl", "dt", "dd", "table", "caption", "thead",
    "tbody", "tr", "th", "td", "span", "i", "b", "strong", "small", "details", "summary", "div",
    "svg", "text", "tspan", "desc", "h4", "figure", "figcaption",
    "rect", "line", "circle", "path", "polyline",
}  # fmt: skip
"""Tags that a report has."""


class _Checker(HTMLParser):
    """Refuses what only data could have brought into a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert name != "href" or re.fullmatch(r"#[\w-]+|data:,", value or ""), value
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"comment {data!r}")


def check_page(page: str) -> None:
    """Refuse a page with scripts, handlers, unknown or unbalanced tags, or control characters."""
    checker = _Checker()
    checker.feed(page)
    checker.close()
    assert not checker.open, checker.open
    check_text(page)


def check_text(text: str) -> None:
    """Refuse text with characters that a terminal obeys or hides."""
    for line in text.split("\n"):
        hidden = {c for c in line if not c.isprintable() and c != "\xa0"}
        assert not hidden, hidden


def shown_table(table: Table, width: int) -> str:
    """Return a table as a terminal without colors shows it."""
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(table)
    return stream.getvalue()
