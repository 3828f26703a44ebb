"""The terminal table of rows that a model has scored: the segments now and at the fit."""

from rich import box
from rich.table import Table
from rich.text import Text

from gpuseg.formatting import count, number, percent, segment_name
from gpuseg.manifest import LookalikeSummary, ScoredSegment, ScoresManifest
from gpuseg.reporting.cells import cell

_MAX_NAME_WIDTH = 30

_MAX_ROWS = 50
"""Segments with a row of their own, the largest ones."""


def scores_table(manifest: ScoresManifest) -> Table:
    """Build the table that scoring prints: rows, shares and mean distances of the segments."""
    segments = sorted(manifest.segments, key=lambda s: (s.segment < 0, -s.rows, s.segment))
    shown = segments[:_MAX_ROWS]
    has_names = any(segment.name is not None for segment in shown)
    has_fit = any(segment.fit_share is not None for segment in shown)
    table = _empty_table(manifest, has_names, has_fit)
    for segment in shown:
        table.add_row(*_cells(segment, has_names, has_fit))
    n_others = len(segments) - len(shown)
    if manifest.other_segments is not None:
        n_others += manifest.other_segments.segments
    if n_others:
        rows = manifest.input.rows - sum(segment.rows for segment in shown)
        label = [Text(count(n_others, "other segment"))] if has_names else []
        share = percent(rows / max(manifest.input.rows, 1))
        table.add_row("others", *label, count(rows), share, *[Text()] * has_fit, "")
    return table


def lookalikes_in_words(lookalikes: LookalikeSummary) -> str:
    """Return which rows of the table the output has."""
    name = lookalikes.name or f"{lookalikes.column} {lookalikes.segment}"
    farthest = f", within {number(lookalikes.farthest)} of it" if lookalikes.rows else ""
    outside = " of other segments" if lookalikes.excludes_members else ""
    return f"{count(lookalikes.rows, 'customer')}{outside} nearest to {name}{farthest}"


def _empty_table(manifest: ScoresManifest, has_names: bool, has_fit: bool) -> Table:
    dropped = manifest.input.rows_dropped
    left_out = f", {count(dropped)} left out" if dropped else ""
    table = Table(
        title=cell(f"{count(manifest.input.rows, 'customer')} scored{left_out}"),
        box=box.SIMPLE_HEAD,
        title_style="bold",
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("Segment", no_wrap=True)
    if has_names:
        table.add_column("Name", max_width=_MAX_NAME_WIDTH)
    table.add_column("Rows", justify="right", no_wrap=True)
    table.add_column("Share", justify="right", no_wrap=True)
    if has_fit:
        table.add_column("At the fit", justify="right", no_wrap=True)
    table.add_column("Mean distance", justify="right", no_wrap=True)
    return table


def _cells(segment: ScoredSegment, has_names: bool, has_fit: bool) -> list[str | Text]:
    return [
        segment_name(segment.segment),
        *([cell(segment.name or "")] if has_names else []),
        count(segment.rows),
        percent(segment.share),
        *([percent(segment.fit_share)] if has_fit else []),
        number(segment.mean_distance),
    ]
