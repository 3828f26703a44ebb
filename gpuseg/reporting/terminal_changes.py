"""What has changed since the last run, and drift, in a few lines for the terminal."""

from gpuseg.drift_record import Drift
from gpuseg.formatting import count, listing, percent, segment_name, small_measure
from gpuseg.manifest import Manifest, ScoresManifest
from gpuseg.printable import printable
from gpuseg.refresh_record import Refresh
from gpuseg.reporting.changes_view import current_names, events_by_level
from gpuseg.reporting.drift_view import in_a_sentence
from gpuseg.run_history import changed_rows, changed_share, moved_share

_WIDTH = 10
"""Of the word at the beginning of a line."""

_MAX_LINES = 6
"""Lines of events, of names and of alarms; the report has all."""

_MAX_FEATURES = 3
"""Features that the line on drift names where there is no alarm."""


def changes_in_words(manifest: Manifest | ScoresManifest) -> list[str]:
    """Return the lines on events, movement and drift; none where nothing is known of them."""
    lines: list[str] = []
    if (refresh := manifest.refresh) is not None:
        lines += _block("continues", [f"{refresh.from_run_id} ({refresh.mode}: {refresh.reason})"])
        lines += _block("events", _events(refresh))
        lines += _block("names", _names(refresh, manifest))
        lines += _block("changed", _changed(refresh))
        lines += _block("moved", _moved(refresh))
    if manifest.drift is not None:
        lines += _block("drift", _drift(manifest.drift))
    return lines


def _block(head: str, texts: list[str]) -> list[str]:
    """Put the head before the first line, and room before the others; the rest is counted."""
    shown = texts[:_MAX_LINES]
    if len(texts) > _MAX_LINES:
        shown.append(f"and {count(len(texts) - _MAX_LINES)} more, which the report has")
    heads = [head, *[""] * len(shown)]
    return [f"{head:<{_WIDTH}} {text}" for head, text in zip(heads, shown, strict=False)]


def _events(refresh: Refresh) -> list[str]:
    """Return the events; those of the levels of a hierarchy are marked by their column."""
    levels = events_by_level(refresh)
    has_levels = len(levels) > 1
    return [
        f"{level.column}: {sentence}" if has_levels else sentence
        for level in levels
        for sentence in level.sentences
    ]


def _names(refresh: Refresh, manifest: Manifest | ScoresManifest) -> list[str]:
    names = current_names(manifest)
    return [
        f"{segment_name(int(segment))}: {before} → {names.get(int(segment), 'no name')}"
        for segment, before in refresh.previous_names.items()
    ]


def _changed(refresh: Refresh) -> list[str]:
    share = changed_share(refresh)
    if share is None:
        return []
    rows = count(changed_rows(refresh), "row")
    return [f"{rows} ({percent(share)}) in another segment by the new definition"]


def _moved(refresh: Refresh) -> list[str]:
    migration = refresh.migration
    if migration is None:
        return [f"not known: {refresh.no_migration}"] if refresh.no_migration else []
    moved = count(migration.moved, "customer")
    return [
        f"{moved} ({percent(moved_share(refresh))}) in another segment than before; "
        f"{count(migration.came)} came, {count(migration.left)} left"
    ]


def _drift(drift: Drift) -> list[str]:
    """Return the alarms; without any the largest PSI, so that one sees how close it is."""
    if drift.alarms:
        n_alarms = len(drift.alarms) + drift.other_alarms
        beyond = "1 measure is beyond its threshold"
        if n_alarms > 1:
            beyond = f"{count(n_alarms)} measures are beyond their thresholds"
        return [beyond, *map(in_a_sentence, drift.alarms)]
    values = [(each.psi, each.feature) for each in drift.features]
    values += [(each.psi, each.column) for each in drift.categories]
    largest = sorted(values, reverse=True)[:_MAX_FEATURES]
    named = listing([f"{printable(name)} {small_measure(psi)}" for psi, name in largest])
    return [f"no alarm{'; largest PSI: ' if named else ''}{named}"]
