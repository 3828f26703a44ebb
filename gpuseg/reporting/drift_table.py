"""The terminal tables of drift: features and segments, those that differ most first."""

from collections.abc import Mapping

from rich import box
from rich.table import Table
from rich.text import Text

from gpuseg.drift_record import CategoryDrift, Drift, FeatureDrift
from gpuseg.formatting import count, number, percent, segment_name, small_measure
from gpuseg.reporting.cells import cell

_MAX_ROWS = 30
"""Features and segments with a row of their own."""

_MIN_NAME_WIDTH, _MAX_NAME_WIDTH, _MAX_LABEL_WIDTH = 12, 30, 20

_CAPTION = """At the fit → now; the largest change of share is first.
Distance: the mean one to the segment. Far: rows beyond the distance that
about 1 in 1,000 exceeded at the fit. Differs in: the feature with most drift."""


def drift_tables(drift: Drift, names: Mapping[int, str]) -> list[Table]:
    """Return the tables of features and of segments; `names` are those of the segments."""
    return [_features(drift), _segments(drift, names)]


def alarms_in_words(drift: Drift) -> list[str]:
    """Return a line on each measure beyond its threshold; one line if there is none."""
    if not drift.alarms:
        return ["no drift: every measure is within its threshold, or within chance"]
    lines = [
        f"drift: {alarm.sentence}; threshold {alarm.measure} = {number(alarm.threshold)}"
        for alarm in drift.alarms
    ]
    return lines + [f"and {count(drift.other_alarms, 'more alarm')}"] * (drift.other_alarms > 0)


def _table(title: str) -> Table:
    return Table(
        title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left",
        caption_style="", caption_justify="left", pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip


def _features(drift: Drift) -> Table:
    both: list[FeatureDrift | CategoryDrift] = [*drift.features, *drift.categories]
    both.sort(key=lambda each: (-each.is_beyond, each.psi_chance - each.psi))
    has_missing = any(each.missing_before or each.missing_now for each in both)
    has_unseen = any(each.unseen for each in drift.categories)
    table = _table(f"{count(drift.rows_now, 'row')} against {count(drift.rows_before)} of the fit")
    table.add_column("Feature", min_width=_MIN_NAME_WIDTH, max_width=_MAX_NAME_WIDTH)
    names = ["PSI", "Chance", "KS", "Wasser-\nstein"]
    names += ["No value"] * has_missing + ["Unseen"] * has_unseen
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for each in both[:_MAX_ROWS]:
        table.add_row(
            cell(each.column if isinstance(each, CategoryDrift) else each.feature),
            small_measure(each.psi),
            small_measure(each.psi_chance),
            *(["", ""] if isinstance(each, CategoryDrift) else _distances(each)),
            *[_missing(each)] * has_missing,
            *[percent(each.unseen_share) if isinstance(each, CategoryDrift) else ""] * has_unseen,
            style="bold" if each.is_beyond else "",
        )
    others = len(both) - len(both[:_MAX_ROWS]) + drift.other_features + drift.other_categories
    if others:
        table.add_row(Text(count(others, "other feature")))
    return table


def _distances(each: FeatureDrift) -> list[str]:
    distance = "" if each.wasserstein is None else f"{small_measure(each.wasserstein)}σ"
    return [small_measure(each.ks), distance]


def _missing(each: FeatureDrift | CategoryDrift) -> str:
    if not (each.missing_before or each.missing_now):
        return ""
    return f"{percent(each.missing_before)} → {percent(each.missing_now)}"


def _segments(drift: Drift, names: Mapping[int, str]) -> Table:
    psi, chance = small_measure(drift.segment_psi), small_measure(drift.segment_psi_chance)
    table = _table(f"Segments: PSI of their shares {psi}, by chance {chance}")
    table.caption = _CAPTION
    table.add_column("Segment", no_wrap=True)
    has_names = bool(names)
    if has_names:
        table.add_column("Name", max_width=_MAX_LABEL_WIDTH)
    for name in ("Share", "Distance", "Far"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Differs in", min_width=_MIN_NAME_WIDTH, max_width=_MAX_NAME_WIDTH)
    segments = sorted(drift.segments, key=lambda s: -abs(s.share_now - s.share_before))
    for each in segments[:_MAX_ROWS]:
        table.add_row(
            segment_name(each.segment),
            *[cell(names.get(each.segment, ""))] * has_names,
            f"{percent(each.share_before)} → {percent(each.share_now)}",
            f"{number(each.mean_distance_before)} → {number(each.mean_distance_now)}",
            f"{percent(each.far_before)} → {percent(each.far_now)}",
            cell(each.feature or ""),
        )
    if others := len(segments) - len(segments[:_MAX_ROWS]):
        table.add_row(Text(count(others, "other")))
    table.add_section()
    table.add_row(
        "everyone", *[""] * has_names, "",
        f"{number(drift.mean_distance_before)} → {number(drift.mean_distance_now)}",
        f"{percent(drift.far_before)} → {percent(drift.far_now)}", "",
    )  # fmt: skip
    return table
