"""The history of the segments as small lines, one for each segment and measure, and a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gpuseg import formatting as fmt
from gpuseg.refresh_record import HistoryEntry
from gpuseg.reporting.history_table import latest_name, share_of, sorted_segments
from gpuseg.reporting.svg_element import svg_element

_WIDTH, _HEIGHT, _EDGE = 200, 56, 5

_MAX_LINES = 24
"""Segments with a line, those with the largest share in any run."""

_MAX_RUNS = 60
"""Runs in lines and table, the latest ones."""


@dataclass(frozen=True)
class HistoryLine:
    """A small line: its title, its last value, a remark, and the figure."""

    title: str
    value: str
    remark: str
    figure: Markup


@dataclass(frozen=True)
class RunRow:
    """A run, and the shares of the segments in it, in words."""

    entry: HistoryEntry
    n_segments: int
    shares: list[str]


@dataclass(frozen=True)
class HistoryView:
    """Small lines and a table of the latest runs.

    Attributes
    ----------
    measures, segments : list of HistoryLine
    n_hidden : int
        Segments without a line.
    titles : list of str
        Heads of the columns with the shares of the segments.
    runs : list of RunRow
        The oldest first.
    n_older : int
        Runs that are left out.
    """

    measures: list[HistoryLine]
    segments: list[HistoryLine]
    n_hidden: int
    titles: list[str]
    runs: list[RunRow]
    n_older: int

    @property
    def days(self) -> str:
        """The days of the first and the last run."""
        first, last = (self.runs[i].entry.started[:10] for i in (0, -1))
        return f"of {first}" if first == last else f"from {first} to {last}"


def history_view(entries: Sequence[HistoryEntry]) -> HistoryView | None:
    """Return what the page shows of the runs; None for fewer than two."""
    if len(entries) < 2:
        return None
    shown = entries[-_MAX_RUNS:]
    segments = sorted_segments(shown)
    by_share = sorted(segments, key=lambda s: -max(share_of(entry, s) or 0 for entry in shown))
    kept = [segment for segment in segments if segment in by_share[:_MAX_LINES]]
    top = max((share_of(entry, s) or 0.0 for s in kept for entry in shown), default=1.0)
    return HistoryView(
        measures=_measures(shown),
        segments=[_segment_line(shown, segment, top) for segment in kept],
        n_hidden=len(segments) - len(kept),
        titles=[fmt.segment_name(segment) for segment in kept],
        runs=[
            RunRow(
                entry,
                sum(int(segment) >= 0 for segment in entry.sizes),
                [_share_text(share_of(entry, segment)) for segment in kept],
            )
            for entry in shown
        ],
        n_older=len(entries) - len(shown),
    )


def _share_text(share: float | None) -> str:
    return "" if share is None else fmt.percent(share)


def _segment_line(entries: Sequence[HistoryEntry], segment: int, top: float) -> HistoryLine:
    shares = [share_of(entry, segment) for entry in entries]
    name = latest_name(entries, segment)
    title = "Noise" if segment < 0 else fmt.segment_name(segment)
    if segment >= 0 and name != fmt.NOTHING:
        title = f"{title} {name}"
    names = (entry.names.get(str(segment)) for entry in entries)
    former = [each for each in dict.fromkeys(names) if each is not None and each != name]
    remarks = [f"formerly “{former[-1]}”"] if former else []
    if len(former) > 1:
        remarks.append(f"and {fmt.count(len(former) - 1, 'other name')} before")
    present = [i for i, share in enumerate(shares) if share is not None]
    if present and shares[-1] is None:
        remarks.insert(0, f"until {entries[present[-1]].started[:10]}")
    if present and shares[0] is None:
        remarks.insert(0, f"since {entries[present[0]].started[:10]}")
    value = fmt.NOTHING if shares[-1] is None else fmt.percent(shares[-1])
    figure = line_figure(shares, top, f"Share of segment {title}", fmt.percent)
    return HistoryLine(title, value, "; ".join(remarks), figure)


def _measures(entries: Sequence[HistoryEntry]) -> list[HistoryLine]:
    """Return the lines of drift, distances, changes and rows that are known of any run."""
    columns: list[tuple[str, list[float | None], Callable[[float | None], str]]] = [
        ("Customers", [float(entry.rows) for entry in entries], lambda x: fmt.number(x, 3)),
        ("Largest PSI of a feature", [entry.feature_psi for entry in entries], _short),
        ("PSI of the segments", [entry.segment_psi for entry in entries], _short),
        ("Mean squared distance", [entry.inertia for entry in entries], fmt.number),
        ("Changed by the definition", [entry.changed for entry in entries], fmt.percent),
        ("Customers that moved", [entry.moved for entry in entries], fmt.percent),
    ]
    lines = []
    for title, values, text in columns:
        known = [value for value in values if value is not None]
        if not known:
            continue
        figure = line_figure(values, max(known), f"{title} by run", text)
        lines.append(HistoryLine(title, text(values[-1]), "", figure))
    return lines


def _short(x: float | None) -> str:
    return fmt.number(x, 2)


def line_figure(
    values: Sequence[float | None], top: float, label: str, text: Callable[[float | None], str]
) -> Markup:
    """Draw a line from 0 to `top`, with a point for each value and a gap where there is none."""
    step = (_WIDTH - 2 * _EDGE) / max(len(values) - 1, 1)
    height = _HEIGHT - 2 * _EDGE
    points = [
        None
        if value is None
        else (_EDGE + i * step, _HEIGHT - _EDGE - value / (top or 1.0) * height)
        for i, value in enumerate(values)
    ]
    path, is_down = [], False
    for point in points:
        if point is not None:
            path.append(f"{'L' if is_down else 'M'}{point[0]:.1f} {point[1]:.1f}")
        is_down = point is not None
    parts = [
        f'<path class="rule" d="M0 {_HEIGHT - _EDGE}h{_WIDTH}"/>',
        f'<path class="line" d="{"".join(path)}"/>',
        *(
            f'<circle class="c0" cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="2.5"/>'
            for point in points
            if point is not None
        ),
    ]
    words = ", ".join("none" if value is None else text(value) for value in values)
    return svg_element(parts, _WIDTH, _HEIGHT, f"{label}: {words}", "spark")
