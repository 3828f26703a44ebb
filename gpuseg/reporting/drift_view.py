"""Drift as the reports show it: measures with their chance level, the largest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from gpuseg import formatting as fmt
from gpuseg.drift_record import Alarm, CategoryDrift, Drift, FeatureDrift, SegmentDrift
from gpuseg.printable import printable_text
from gpuseg.reporting.drift_figure import distribution_figure, largest_change, range_names

N_OPEN = 12
"""Rows of a table that are open; the others are folded."""

_MAX_ROWS = 200
"""Rows of a table, the open and the folded ones."""

BEYOND, WITHIN = "beyond", "within"
"""Whether a measure is beyond its threshold, in a word."""


@dataclass(frozen=True)
class Measure:
    """A measure, and what chance alone would give."""

    value: str
    chance: str


@dataclass(frozen=True)
class FeatureRow:
    """A feature or a column of categories."""

    name: str
    psi: Measure
    ks: Measure | None
    wasserstein: Measure | None
    missing: str
    figure: Markup
    change: str
    verdict: str
    unseen: str

    @property
    def is_beyond(self) -> bool:
        """Whether the drift is beyond the threshold."""
        return self.verdict == BEYOND


@dataclass(frozen=True)
class SegmentRow:
    """The rows of a segment, at the fit and now."""

    title: str
    share: tuple[str, str]
    distance: tuple[str, str]
    far: tuple[str, str]
    feature: str
    psi: Measure | None


@dataclass(frozen=True)
class DriftView:
    """Drift: what is beyond a threshold, and the tables.

    Attributes
    ----------
    alarms : list of str
        Sentences on the measures beyond their thresholds.
    n_alarms : int
        Number of these measures, those without a sentence as well.
    facts : list of tuple
        Name, at the fit, and now, of the measures of all rows.
    features, categories, segments
        Rows, the largest drift first.
    n_hidden : int
        Features and columns without a row.
    """

    drift: Drift
    alarms: list[str]
    n_alarms: int
    facts: list[tuple[str, str, str]]
    features: list[FeatureRow]
    categories: list[FeatureRow]
    segments: list[SegmentRow]
    n_hidden: int

    @property
    def has_missing(self) -> bool:
        """Whether values are missing in a feature, at the fit or now."""
        shares = [(each.missing_before, each.missing_now) for each in self.drift.features]
        shares += [(each.missing_before, each.missing_now) for each in self.drift.categories]
        return any(map(any, shares))


def drift_view(drift: Drift, names: Mapping[int, str]) -> DriftView:
    """Return what the page shows of drift; `names` are those of the segments by number."""
    features = sorted(drift.features, key=_calm)
    categories = sorted(drift.categories, key=_calm)
    segments = sorted(
        drift.segments, key=lambda each: (-abs(each.share_now - each.share_before), each.segment)
    )
    hidden = max(len(features) - _MAX_ROWS, 0) + max(len(categories) - _MAX_ROWS, 0)
    hidden += drift.other_features + drift.other_categories
    return DriftView(
        drift=drift,
        alarms=[in_a_sentence(alarm) for alarm in drift.alarms],
        n_alarms=len(drift.alarms) + drift.other_alarms,
        facts=_facts(drift),
        features=[_feature(each) for each in features[:_MAX_ROWS]],
        categories=[_category(each) for each in categories[:_MAX_ROWS]],
        segments=[_segment(each, names) for each in segments[:_MAX_ROWS]],
        n_hidden=hidden,
    )


def in_a_sentence(alarm: Alarm) -> str:
    """Return an alarm in words, with a full stop; the name of a feature stays as it is written."""
    sentence = f"{alarm.sentence.removesuffix('.')}."
    if alarm.name is not None and sentence.startswith(printable_text(alarm.name)):
        return sentence
    return f"{sentence[:1].upper()}{sentence[1:]}"


def _calm(each: FeatureDrift | CategoryDrift) -> tuple[bool, float]:
    """Return what puts columns beyond a threshold first, and then those that drifted most."""
    return not each.is_beyond, each.psi_chance - each.psi


def _facts(drift: Drift) -> list[tuple[str, str, str]]:
    distances = _numbers(drift.mean_distance_before, drift.mean_distance_now)
    facts = [
        ("Customers", fmt.count(drift.rows_before), fmt.count(drift.rows_now)),
        ("Mean distance to the segment", *distances),
        ("Mean squared distance", *_numbers(drift.inertia_before, drift.inertia_now)),
        ("Far from their segment", fmt.percent(drift.far_before), fmt.percent(drift.far_now)),
    ]
    if drift.dropped_before or drift.dropped_now:
        shares = fmt.percent(drift.dropped_before), fmt.percent(drift.dropped_now)
        facts.insert(1, ("Left out, with a missing feature", *shares))
    return [fact for fact in facts if fact[1:] != (fmt.NOTHING, fmt.NOTHING)]


def _numbers(before: float | None, now: float | None) -> tuple[str, str]:
    return fmt.number(before), fmt.number(now)


def _measure(value: float, chance: float | None, unit: str = "") -> Measure:
    shown = "" if chance is None else f"{fmt.small_measure(chance)}{unit}"
    return Measure(f"{fmt.small_measure(value)}{unit}", shown)


def _feature(each: FeatureDrift) -> FeatureRow:
    ranges, distance = range_names(each.edges), each.wasserstein
    return FeatureRow(
        name=each.feature,
        psi=_measure(each.psi, each.psi_chance),
        ks=_measure(each.ks, each.ks_chance),
        wasserstein=None if distance is None else _measure(distance, each.wasserstein_chance, "σ"),
        missing=_missing(each),
        figure=distribution_figure(ranges, each.bins),
        change=largest_change(ranges, each.bins),
        verdict=BEYOND if each.is_beyond else WITHIN,
        unseen="",
    )


def _missing(each: FeatureDrift | CategoryDrift) -> str:
    before, now = fmt.percent(each.missing_before), fmt.percent(each.missing_now)
    return before if before == now else f"{before} → {now}"


def _category(each: CategoryDrift) -> FeatureRow:
    names, bins = list(each.categories), list(each.categories.values())
    unseen = ""
    if each.unseen:
        example = f", such as {each.example}" if each.example is not None else ""
        unseen = f"{fmt.percent(each.unseen_share)} of the customers{example}"
    return FeatureRow(
        name=each.column,
        psi=_measure(each.psi, each.psi_chance),
        ks=None,
        wasserstein=None,
        missing=_missing(each),
        figure=distribution_figure(names, bins),
        change=largest_change(names, bins),
        verdict=BEYOND if each.is_beyond else WITHIN,
        unseen=unseen,
    )


def _segment(each: SegmentDrift, names: Mapping[int, str]) -> SegmentRow:
    return SegmentRow(
        title=segment_title(each.segment, names),
        share=(fmt.percent(each.share_before), fmt.percent(each.share_now)),
        distance=_numbers(each.mean_distance_before, each.mean_distance_now),
        far=(fmt.percent(each.far_before), fmt.percent(each.far_now)),
        feature=each.feature or "",
        psi=None
        if each.psi is None or each.psi_chance is None
        else _measure(each.psi, each.psi_chance),
    )


def segment_title(segment: int, names: Mapping[int, str]) -> str:
    """Return the number of a segment, and its name if it has one."""
    if segment < 0:
        return "Noise"
    name = names.get(segment)
    return f"{fmt.segment_name(segment)}: {name}" if name else fmt.segment_name(segment)
