"""The terminal table: one row per segment, with the features that distinguish it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gpuseg.formatting import average, count, listing, percent, segment_name, sigma
from gpuseg.manifest import FeatureSummary, Manifest, Segment
from gpuseg.printable import printable
from gpuseg.reporting.cells import cell

_GAP = 3
"""Columns of the terminal between two features."""

_MAX_LABEL_WIDTH = 30
"""Maximum width of a segment's name in words."""

_MIN_NAME_WIDTH = 8
"""A feature's name that would get less room is put on a line of its own."""

_MAX_ROWS = 50
"""Segments with a row of their own, the largest ones; noise has one in addition."""

_MAX_NAMED = 5
"""Features that the caption names one by one."""

_MAX_NAME_WIDTH = 28
"""Longer names of features are shortened, so that features fit side by side."""


def top_features(
    segment: Segment, features: Sequence[str], n_features: int | None = None
) -> list[str]:
    """Return the features in which a segment differs most from all customers.

    Parameters
    ----------
    segment : Segment
    features : sequence of str
        The features in their order, which breaks ties.
    n_features : int, optional
        Maximum number of features; all that have a deviation by default.

    Returns
    -------
    list of str
        Names, largest absolute deviation first; features without a deviation are left out.
    """
    deviation = {
        name: value
        for name in features
        if (value := segment.deviation.get(name)) is not None and not math.isnan(value)
    }
    ordered = sorted(deviation, key=lambda name: -abs(deviation[name]))
    return ordered if n_features is None else ordered[: max(n_features, 0)]


@dataclass(frozen=True)
class _Item:
    """A feature and its value, kept together on one line."""

    name: str
    value: str

    def width(self, max_name: int | None = None) -> int:
        name = cell_len(self.name)
        return min(name, max_name or name) + 1 + cell_len(self.value)

    def text(self, width: int) -> Text:
        room = width - cell_len(self.value) - 1
        if room < min(cell_len(self.name), _MIN_NAME_WIDTH):
            return Text.assemble(_shorten(self.name, width), "\n  ", (self.value, "bold"))
        text = Text.assemble(_shorten(self.name, room), " ", (self.value, "bold"))
        text.truncate(width, pad=True)
        return text


@dataclass(frozen=True)
class _Grid:
    """Items side by side if the column is wide enough, otherwise below each other."""

    items: list[_Item]
    max_columns: int
    item_width: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        columns = max(min((width + _GAP) // (self.item_width + _GAP), self.max_columns), 1)
        cell = max((width - _GAP * (columns - 1)) // columns, 1)
        for start in range(0, len(self.items), columns):
            line = [item.text(cell) for item in self.items[start : start + columns]]
            yield Text(" " * _GAP, no_wrap=True).join(line)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        n_columns = max(min(self.max_columns, len(self.items)), 1)
        widest = max((item.width() for item in self.items), default=0)
        maximum = max(n_columns * (self.item_width + _GAP) - _GAP, widest)
        return Measurement(min(self.item_width, options.max_width), min(maximum, options.max_width))


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


def segment_table(manifest: Manifest, n_features: int = 3) -> Table:
    """Build the table that a run prints: its segments and the features that distinguish them.

    Parameters
    ----------
    manifest : Manifest
    n_features : int, optional
        Maximum number of features of each segment.

    Returns
    -------
    rich.table.Table
        One row for each of the largest segments, one for noise and one for the others if there
        are some, then one for all customers with the average values.
    """
    features = manifest.features
    segments = [
        segment
        for i, segment in enumerate(manifest.ordered_segments)
        if i < _MAX_ROWS or segment.is_noise
    ]
    rows: list[list[_Item]] = []
    shown: set[str] = set()
    for segment in segments:
        top = top_features(segment, list(features), n_features)
        shown.update(top)
        rows.append([_item(segment, name, features[name]) for name in top])
    averages = [
        _Item(printable(name), _average(feature.mean, feature))
        for name, feature in features.items()
        if name in shown
    ]
    width = max((item.width(_MAX_NAME_WIDTH) for row in rows for item in row), default=1)
    has_names = any(segment.name is not None for segment in segments)
    table = _empty_table(manifest, has_names, shown)
    for segment, row in zip(segments, rows, strict=True):
        label = [cell(segment.name or "")] if has_names else []
        table.add_row(
            segment_name(segment.segment), *label, count(segment.size), percent(segment.share),
            _Grid(row, n_features, width),
        )  # fmt: skip
    label = [Text()] if has_names else []
    n_others = manifest.n_segments - sum(not segment.is_noise for segment in segments)
    if n_others:
        customers = manifest.n_customers - sum(segment.size for segment in segments)
        share = percent(customers / manifest.n_customers)
        text = count(n_others, "other segment")
        table.add_row("others", *label, count(customers), share, text)
    table.add_section()
    table.add_row("everyone", *label, count(manifest.n_customers), "100.0%", _Flow(averages))
    return table


def _empty_table(manifest: Manifest, has_names: bool, shown: Set[str]) -> Table:
    title = f"{count(manifest.n_customers, 'customer')} in {count(manifest.n_segments, 'segment')}"
    table = Table(
        title=title,
        caption=Text("\n").join(map(cell, _caption(manifest.features, shown))),
        box=box.SIMPLE_HEAD,
        title_style="bold",
        title_justify="left",
        caption_style="",
        caption_justify="left",
        pad_edge=False,
    )
    table.add_column("Segment", no_wrap=True)
    if has_names:
        table.add_column("Name", max_width=_MAX_LABEL_WIDTH)
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("Share", justify="right", no_wrap=True)
    table.add_column("Differs most in")
    return table


def _caption(features: Mapping[str, FeatureSummary], shown: Set[str]) -> list[str]:
    """Explain the deviations, and the averages of those features in the table that need it."""
    lines = ["σ: standard deviations above (+) or below (−) the average of everyone"]
    transforms = {
        name: feature.transform
        for name, feature in features.items()
        if name in shown and feature.transform != "none"
    }
    if transforms:
        kinds = listing(sorted(set(transforms.values())))
        lines.append(
            f"averages{_subject(transforms, shown)} are computed after {kinds} and converted back"
        )
    return lines


def _subject(transforms: Mapping[str, str], shown: Set[str]) -> str:
    """Return the features whose averages are transformed; nothing where all are."""
    if len(transforms) == len(shown):
        return ""
    if len(transforms) > _MAX_NAMED:
        return " of features with a transform"
    return f" of {listing([printable(name) for name in transforms])}"


def _item(segment: Segment, name: str, feature: FeatureSummary) -> _Item:
    value = _average(segment.center.get(name), feature)
    return _Item(printable(name), f"{value} ({sigma(segment.deviation[name])})")


def _average(x: float | None, feature: FeatureSummary) -> str:
    categories = [printable(category) for category in feature.categories]
    return average(x, is_share=feature.is_category, categories=categories)


def _shorten(name: str, width: int) -> str:
    """Cut out the middle of a long name, since related features often begin alike."""
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
