"""The terminal table: one row per segment, with what sets it apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gpuseg.formatting import (
    NOISE,
    count,
    number,
    percent,
    printable,
    segment_name,
    sigma,
)

_GAP = 3
_NAME_WIDTH = 30
_SHORTEST_NAME = 8
# A longer name may be shortened so that the features still stand side by side.
_LONG_NAME = 28


def ordered_segments(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Order the segments for reading: largest first, and noise, which is none, last.

    Parameters
    ----------
    manifest : mapping
        The manifest of a run.

    Returns
    -------
    list of mapping
        The manifest's segments.
    """
    return sorted(
        manifest["segments"], key=lambda s: (s["segment"] == NOISE, -s["size"], s["segment"])
    )


def top_features(
    segment: Mapping[str, Any], features: Sequence[str], n_features: int | None = None
) -> list[str]:
    """Name the features in which a segment differs most from everyone.

    Parameters
    ----------
    segment : mapping
        One of the manifest's segments.
    features : sequence of str
        The features in their order, which breaks ties.
    n_features : int, optional
        How many to name; all that have a deviation when omitted.

    Returns
    -------
    list of str
        The names, largest absolute deviation first; a feature without a deviation is left out.
    """
    deviation = segment["deviation"]
    known = [f for f in features if deviation.get(f) is not None and not math.isnan(deviation[f])]
    known.sort(key=lambda f: -abs(deviation[f]))
    return known if n_features is None else known[: max(n_features, 0)]


@dataclass(frozen=True)
class _Item:
    """A feature and what is said of it, kept together on one line."""

    name: str
    value: str

    def width(self, longest_name: int | None = None) -> int:
        name = cell_len(self.name)
        return min(name, longest_name or name) + 1 + cell_len(self.value)

    def text(self, width: int) -> Text:
        room = width - cell_len(self.value) - 1
        if room < min(cell_len(self.name), _SHORTEST_NAME):
            return Text.assemble(_shorten(self.name, width), "\n  ", (self.value, "bold"))
        text = Text.assemble(_shorten(self.name, room), " ", (self.value, "bold"))
        text.truncate(width, pad=True)
        return text


@dataclass(frozen=True)
class _Grid:
    """Items side by side where the column is wide enough, else below each other."""

    items: list[_Item]
    across: int
    unit: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        columns = max(min((width + _GAP) // (self.unit + _GAP), self.across), 1)
        cell = max((width - _GAP * (columns - 1)) // columns, 1)
        for start in range(0, len(self.items), columns):
            line = [item.text(cell) for item in self.items[start : start + columns]]
            yield Text(" " * _GAP, no_wrap=True).join(line)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        across = max(min(self.across, len(self.items)), 1)
        widest = max((item.width() for item in self.items), default=0)
        most = max(across * (self.unit + _GAP) - _GAP, widest)
        return Measurement(min(self.unit, options.max_width), min(most, options.max_width))


@dataclass(frozen=True)
class _Flow:
    """Items one after another as running text, broken only between them."""

    items: list[_Item]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        line = Text(no_wrap=True)
        for item in self.items:
            text = item.text(min(item.width(), width))
            if line and line.cell_len + 3 + text.cell_len > width:
                yield line
                line = Text(no_wrap=True)
            line.append_text(Text(" · ") if line else Text()).append_text(text)
        yield line


def segment_table(manifest: Mapping[str, Any], n_features: int = 3) -> Table:
    """Build the table that a run prints: its segments and what sets each apart.

    Parameters
    ----------
    manifest : mapping
        The manifest of a run.
    n_features : int, optional
        How many features to show for each segment.

    Returns
    -------
    rich.table.Table
        One row per segment, largest first, then one for everyone with the average values.
    """
    features = manifest["features"]
    segments = ordered_segments(manifest)
    rows: list[list[_Item]] = []
    shown: set[str] = set()
    for segment in segments:
        top = top_features(segment, list(features), n_features)
        shown.update(top)
        rows.append([_trait(segment, name) for name in top])
    averages = [
        _Item(printable(name), number(features[name]["mean"])) for name in features if name in shown
    ]
    unit = max((item.width(_LONG_NAME) for row in rows for item in row), default=1)
    table = _empty_table(manifest)
    for segment, row in zip(segments, rows, strict=True):
        table.add_row(*_head(segment), _Grid(row, n_features, unit))
    table.add_section()
    total = sum(segment["size"] for segment in segments)
    name = [""] if any("name" in segment for segment in segments) else []
    table.add_row("everyone", *name, count(total), "100.0%", _Flow(averages))
    return table


def _empty_table(manifest: Mapping[str, Any]) -> Table:
    segments = manifest["segments"]
    size = sum(segment["size"] for segment in segments)
    found = sum(segment["segment"] != NOISE for segment in segments)
    table = Table(
        title=f"{count(size, 'customer')} in {count(found, 'segment')}",
        caption=_caption(manifest),
        box=box.SIMPLE_HEAD,
        title_style="bold",
        title_justify="left",
        caption_style="",
        caption_justify="left",
        pad_edge=False,
    )
    table.add_column("Segment", no_wrap=True)
    if any("name" in segment for segment in segments):
        table.add_column("Name", max_width=_NAME_WIDTH)
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("Share", justify="right", no_wrap=True)
    table.add_column("Differs most in")
    return table


def _caption(manifest: Mapping[str, Any]) -> str:
    text = "σ: standard deviations above (+) or below (−) the average of everyone"
    transforms = {feature["transform"] for feature in manifest["features"].values()} - {"none"}
    if transforms:
        text += f"\naverages are taken under {' and '.join(sorted(transforms))} and mapped back"
    return text


def _head(segment: Mapping[str, Any]) -> list[str]:
    name = [printable(segment["name"])] if "name" in segment else []
    size, share = count(segment["size"]), percent(segment["share"])
    return [segment_name(segment["segment"]), *name, size, share]


def _trait(segment: Mapping[str, Any], name: str) -> _Item:
    value = number(segment["center"].get(name))
    return _Item(printable(name), f"{value} ({sigma(segment['deviation'][name])})")


def _shorten(name: str, width: int) -> str:
    """Cut the middle out of a long name: related features often share their beginning."""
    if cell_len(name) <= width:
        return name
    head, tail = "", ""
    for i in range(1, len(name)):
        if cell_len(name[:i]) > width // 2:
            break
        head = name[:i]
    for i in range(1, len(name)):
        if cell_len(head) + 1 + cell_len(name[-i:]) > width:
            break
        tail = name[-i:]
    return f"{head}…{tail}"
