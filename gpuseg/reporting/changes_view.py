"""What has changed since the run that an output continues, as the reports show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpuseg import formatting as fmt
from gpuseg.manifest import Manifest, ScoresManifest
from gpuseg.refresh_record import Definition, Migration, Refresh, SegmentEvent
from gpuseg.reporting.drift_view import DriftView, drift_view
from gpuseg.reporting.flow_figure import FlowView, flow_view
from gpuseg.reporting.flow_layout import CustomerFlow
from gpuseg.reporting.history_view import HistoryView, history_view
from gpuseg.run_history import changed_rows, changed_share, history_of, moved_share

_MODES = {
    "score": "the older model scored the customers of today; no segment was redefined",
    "warm": "the fit continued from the centers of the older segments",
    "fresh": "the segments were fitted from the start and matched with the older ones",
    "append": "the older centers were updated with only the new rows, which is approximate",
}
"""What a mode does."""

_KINDS = ("split", "merged", "disappeared", "emerged", "survived")
"""Kinds of events in their order on a page."""

_MAX_LISTED = 30
"""Segments that the sentence on survivors names."""


@dataclass(frozen=True)
class Events:
    """What became of the segments of one level."""

    column: str
    sentences: list[str]


@dataclass(frozen=True)
class Figure:
    """A number in large print: its share, and what it counts."""

    value: str
    share: str
    text: str


@dataclass(frozen=True)
class ChangesView:
    """What has changed; any part may be missing.

    Attributes
    ----------
    is_refresh : bool
        Whether the output continues an older one; otherwise it has drift against the fit only.
    lead : str
        How the segments were refreshed and why; empty without a refresh.
    levels : list of Events
    renamed : list of str
        Sentences on segments with another name.
    flow : FlowView or None
    numbers : list of Figure
        What the definition changed, and what moved.
    explanation : str
        How the two numbers differ.
    no_migration : str
        Why the movement of customers is not known.
    drift : DriftView or None
    history : HistoryView or None
    """

    is_refresh: bool
    lead: str
    levels: list[Events]
    renamed: list[str]
    flow: FlowView | None
    numbers: list[Figure]
    explanation: str
    no_migration: str
    drift: DriftView | None
    history: HistoryView | None


def changes_view(manifest: Manifest | ScoresManifest) -> ChangesView | None:
    """Return what the page shows of changes; None where nothing is known of any."""
    refresh = manifest.refresh
    names = current_names(manifest)
    before = older_names(manifest)
    # The older model has counted the drift of its segments.
    drift = None if manifest.drift is None else drift_view(manifest.drift, before or names)
    history = history_view(history_of(manifest)) if manifest.history else None
    if refresh is None and drift is None and history is None:
        return None
    return ChangesView(
        is_refresh=refresh is not None,
        lead="" if refresh is None else lead(refresh),
        levels=[] if refresh is None else events_by_level(refresh),
        renamed=[] if refresh is None else renamed(refresh, names),
        flow=None if refresh is None else _flow(refresh, before, names),
        numbers=[] if refresh is None else _numbers(refresh),
        explanation="" if refresh is None else _explanation(refresh),
        no_migration="" if refresh is None else refresh.no_migration or "",
        drift=drift,
        history=history,
    )


def current_names(manifest: Manifest | ScoresManifest) -> dict[int, str]:
    """Return the names of the segments by number."""
    return {each.segment: each.name for each in manifest.segments if each.name is not None}


def older_names(manifest: Manifest | ScoresManifest) -> dict[int, str]:
    """Return the names that the segments had in the older output, as far as they are known."""
    if manifest.refresh is None:
        return {}
    names = current_names(manifest)
    for entry in manifest.history[-1:]:
        names |= {int(segment): name for segment, name in entry.names.items()}
    return names | {int(s): name for s, name in manifest.refresh.previous_names.items()}


def lead(refresh: Refresh) -> str:
    """Return how the segments were refreshed and why, in sentences."""
    mode = _MODES[refresh.mode]
    asked = ", chosen automatically" if refresh.requested == "auto" else ""
    if refresh.requested not in ("auto", refresh.mode):
        asked = f", though the job asks for {refresh.requested}"
    sentence = f"{mode[0].upper()}{mode[1:]} (mode {refresh.mode}{asked}: {refresh.reason})."
    if refresh.mode == "score":
        return sentence
    if refresh.preparation == "keep":
        return f"{sentence} Features are prepared with the statistics of the older fit."
    return f"{sentence} The statistics of the preparation were fitted again."


def events_by_level(refresh: Refresh) -> list[Events]:
    """Return the events of each level in sentences, those that ask for attention first."""
    return [Events(each.column, _sentences(each)) for each in refresh.definitions]


def _sentences(definition: Definition) -> list[str]:
    """Return splits and merges first; all survivors are one sentence."""
    ordered = sorted(definition.events, key=lambda event: _KINDS.index(event.kind))
    survived = [event for event in ordered if event.kind == "survived"]
    others = [_sentence(event.sentence) for event in ordered if event.kind != "survived"]
    if not survived:
        return others
    return [*others, _survivors(survived, bool(others))]


def _sentence(text: str) -> str:
    text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _survivors(events: Sequence[SegmentEvent], has_others: bool) -> str:
    segments = [segment for event in events for segment in event.now]
    n = len(segments)
    if not has_others:
        return "The only segment survived." if n == 1 else f"All {fmt.count(n)} segments survived."
    listed = [fmt.segment_name(segment) for segment in segments[:_MAX_LISTED]]
    if n > _MAX_LISTED:
        listed.append(f"{fmt.count(n - _MAX_LISTED)} more")
    return f"{fmt.count(n, 'segment')} survived: {fmt.listing(listed)}."


def renamed(refresh: Refresh, names: Mapping[int, str]) -> list[str]:
    """Return the segments that have another name now, with both names."""
    return [
        f"Segment {fmt.segment_name(int(segment))} was “{before}” and is “{now}” now."
        if (now := names.get(int(segment)))
        else f"Segment {fmt.segment_name(int(segment))} was “{before}” and has no name now."
        for segment, before in refresh.previous_names.items()
    ]


def _flow(refresh: Refresh, before: Mapping[int, str], now: Mapping[int, str]) -> FlowView | None:
    """Return the customers by migration; where that is not known, rows by the two definitions."""
    if refresh.migration is not None:
        flows = [CustomerFlow(*cell) for cell in refresh.migration.cells]
        return flow_view(flows, before, now, "customer")
    cells = refresh.definitions[0].overlap if refresh.definitions else ()
    return flow_view(
        [CustomerFlow(cell.before, cell.now, cell.rows) for cell in cells], before, now, "row"
    )


def _numbers(refresh: Refresh) -> list[Figure]:
    figures = []
    if (share := changed_share(refresh)) is not None:
        text = "in another segment because the definition moved"
        changed = fmt.count(changed_rows(refresh), "row")
        figures.append(Figure(changed, fmt.percent(share), text))
    if refresh.migration is not None and (share := moved_share(refresh)) is not None:
        text = "in another segment than in the older output"
        moved = fmt.count(refresh.migration.moved, "customer")
        figures.append(Figure(moved, fmt.percent(share), text))
    return figures


def _came_and_left(migration: Migration) -> str:
    came = "No customer is new"
    if migration.came:
        came = f"{fmt.count_with(migration.came, 'customer', 'is', 'are')} new"
    if not migration.left:
        return f"{came}, and none is gone."
    return f"{came}, and {fmt.count_with(migration.left, 'customer', 'is', 'are')} no longer there."


def _explanation(refresh: Refresh) -> str:
    """Say what the numbers count and how they differ, and who came and left."""
    definition = "the rows of today, by the older and by the new model"
    migration = refresh.migration
    if migration is None:
        return f"The number is of {definition}." if changed_share(refresh) is not None else ""
    cause = (
        "As the definition is the older one, they moved because their values changed."
        if refresh.mode == "score"
        else "It counts those whose values changed, and those whom the definition moved."
    )
    sentences = [
        f"The first number is of {definition}. The second is of the customers of both outputs, "
        f"joined by id. {cause}"
        if changed_share(refresh) is not None
        else f"The number is of the customers of both outputs, joined by id. {cause}",
        _came_and_left(migration),
    ]
    if migration.repeated:
        repeated = fmt.count_with(migration.repeated, "row", "was", "were")
        sentences.append(f"{repeated} left out because of repeated ids.")
    return " ".join(sentences)
