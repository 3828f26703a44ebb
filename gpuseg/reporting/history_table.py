"""The terminal tables of a history: the runs, and the shares of the segments."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from gpuseg.formatting import NOTHING, count, number, percent, segment_name, small_measure
from gpuseg.refresh_record import HistoryEntry
from gpuseg.reporting.cells import cell

_MAX_SEGMENTS = 50
"""Segments with a row of their own, those with the largest share in any run."""

_MAX_RUNS = 8
"""Runs with a column of their own in the table of shares, the latest ones."""

_MIN_NAME_WIDTH, _MAX_NAME_WIDTH = 12, 30


def runs_table(entries: Sequence[HistoryEntry]) -> Table:
    """Build the table of runs, the oldest first."""
    table = _empty_table(count(len(entries), "run"), padding=0)
    table.caption = "d²: mean squared distance to the own segment; a run begins with its date"
    table.add_column("Run", overflow="fold", min_width=len("20260701T000000-"))
    table.add_column("Mode", no_wrap=True)
    table.add_column("Rows", justify="right", no_wrap=True)
    for title in ("Seg-\nments", "Feature\nPSI", "Segment\nPSI", "Mean\nd²", "Changed", "Moved"):
        table.add_column(title, justify="right", no_wrap=True)
    for entry in entries:
        n_segments = sum(int(segment) >= 0 for segment in entry.sizes)
        table.add_row(
            cell(entry.run_id), entry.mode, count(entry.rows), count(n_segments),
            small_measure(entry.feature_psi), small_measure(entry.segment_psi),
            number(entry.inertia, 2), percent(entry.changed), percent(entry.moved),
        )  # fmt: skip
    return table


def shares_table(entries: Sequence[HistoryEntry]) -> Table:
    """Build the table of the share of each segment in each run."""
    shown = entries[-_MAX_RUNS:]
    segments = sorted_segments(shown)
    left_out = len(segments) - min(len(segments), _MAX_SEGMENTS)
    largest = sorted(segments, key=lambda s: -max(share_of(entry, s) or 0 for entry in shown))
    kept = set(largest[:_MAX_SEGMENTS])
    table = _empty_table("Shares of the segments", padding=0)
    if left_out:
        table.caption = cell(f"{count(left_out, 'smaller segment')} left out; --json has them")
    table.add_column("Segment", no_wrap=True)
    table.add_column("Name", min_width=_MIN_NAME_WIDTH, max_width=_MAX_NAME_WIDTH)
    for head in _heads(entries)[-_MAX_RUNS:]:
        table.add_column(head, justify="right", no_wrap=True)
    for segment in (segment for segment in segments if segment in kept):
        shares = [share_of(entry, segment) for entry in shown]
        table.add_row(
            segment_name(segment),
            cell(latest_name(entries, segment)),
            *(Text("" if share is None else percent(share)) for share in shares),
        )
    return table


def _heads(entries: Sequence[HistoryEntry]) -> list[Text]:
    """Return the date of each run; runs of one day have their place in the table of runs, too."""
    days = [entry.started[:10] for entry in entries]
    lines = [[day[:5], day[5:]] for day in days]
    if len(set(days)) < len(days):
        lines = [[*parts, f"run {place}"] for place, parts in enumerate(lines, 1)]
    return [Text("\n").join(map(cell, parts)) for parts in lines]


def sorted_segments(entries: Sequence[HistoryEntry]) -> list[int]:
    """Return the numbers of the segments of all runs in their order; noise is last."""
    numbers = {int(segment) for entry in entries for segment in entry.sizes}
    return sorted(numbers, key=lambda segment: (segment < 0, segment))


def share_of(entry: HistoryEntry, segment: int) -> float | None:
    """Return the share of a segment in a run; None where the run does not have it."""
    size = entry.sizes.get(str(segment))
    return None if size is None or not entry.rows else size / entry.rows


def latest_name(entries: Sequence[HistoryEntry], segment: int) -> str:
    """Return the last name of a segment; a dash where it never had one."""
    names = (entry.names.get(str(segment)) for entry in reversed(entries))
    return next((name for name in names if name is not None), NOTHING if segment >= 0 else "")


def _empty_table(title: str, **style: Any) -> Table:
    return Table(
        title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left",
        caption_style="", caption_justify="left", pad_edge=False, **style,
    )  # fmt: skip
