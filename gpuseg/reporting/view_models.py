"""The segments as the report shows them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from gpuseg import formatting as fmt
from gpuseg.manifest import (
    BasketSummary,
    FeatureSummary,
    Interval,
    Manifest,
    Quantiles,
    Segment,
    SegmentRule,
)
from gpuseg.reporting.terminal_table import top_features

_N_TOP = 5
"""Features in the table of a segment's card; the others are folded away."""

_MAX_DETAILS = 2000
"""Features in all cards together; each card tells of its share of them."""

_MIN_DEVIATION = 0.5
"""Smallest deviation that the sentence on a segment mentions, in standard deviations."""

_MIN_VISIBLE = 0.05
"""Smallest deviation that is not rounded to zero, in standard deviations."""

_LEVELS = (0.25, 0.5, 1.0, 2.0)
"""Lower bounds of the color levels of a deviation, in standard deviations."""

_BAR_SIGMAS = 3.0
"""Length of a bar in standard deviations, so that one outlier does not flatten all others."""


@dataclass(frozen=True)
class Trait:
    """A segment in one feature.

    Attributes
    ----------
    feature : str
    value, average : float or None
        Of the segment and of all customers, in the units of the input.
    deviation : float
        Difference in standard deviations, or NaN.
    is_share : bool
        Whether the values are shares of customers with a category.
    categories : sequence of str
        Ordered categories of which the values are positions, if they are.
    """

    feature: str
    value: float | None
    average: float | None
    deviation: float
    is_share: bool
    categories: Sequence[str] = ()

    @property
    def value_text(self) -> str:
        """The value as the page shows it."""
        return fmt.average(self.value, is_share=self.is_share, categories=self.categories)

    @property
    def average_text(self) -> str:
        """The average of all customers as the page shows it."""
        return fmt.average(self.average, is_share=self.is_share, categories=self.categories)

    @property
    def level(self) -> str:
        """The CSS class of the deviation's color: n4 (far below), z (zero) to p4 (far above)."""
        # Rounded as it is printed, so that equal numbers have equal colors.
        size = round(abs(self.deviation), 1)
        step = 0 if math.isnan(size) else bisect_right(_LEVELS, size)
        return f"{'p' if self.deviation > 0 else 'n'}{step}" if step else "z"

    @property
    def extent(self) -> float:
        """The length of the deviation's bar, in percent of one side."""
        size = 0.0 if math.isnan(self.deviation) else abs(self.deviation)
        return min(size / _BAR_SIGMAS, 1.0) * 100


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of a feature in a segment, and the median of all customers."""

    feature: str
    quantiles: Quantiles
    everyone: float | None
    interval: Interval | None
    categories: Sequence[str] = ()

    @property
    def median_text(self) -> str:
        """The median as the page shows it."""
        return self._text(self.quantiles.median)

    @property
    def everyone_text(self) -> str:
        """The median of all customers as the page shows it."""
        return self._text(self.everyone)

    @property
    def middle_half(self) -> str:
        """The range between the quartiles."""
        low, high = self.quantiles.p25, self.quantiles.p75
        if self.categories:
            low, high = math.floor(low), math.ceil(high)
        return fmt.span(self._text(low), self._text(high))

    def _text(self, x: float | None) -> str:
        return fmt.average(x, is_share=False, categories=self.categories)

    @property
    def difference(self) -> str:
        """The interval of the difference from all customers, in standard deviations."""
        if self.interval is None:
            return fmt.NOTHING
        return fmt.span(fmt.sigma(self.interval.low, ""), fmt.sigma(self.interval.high, ""))


@dataclass(frozen=True)
class SegmentView:
    """A segment as the page shows it.

    Attributes
    ----------
    name : str
        Its number.
    is_noise : bool
    size : int
        Customers.
    share : float
        Share of all customers, from 0 to 1.
    bar : float
        Length of the bar of its share, in percent.
    label, description : str
        Name and sentence in words; empty if the manifest has none.
    traits, ranked : list of Trait
        In the order of the features, and by deviation.
    rule : SegmentRule or None
    spread : list of Spread
        Of the features that distinguish the segment most, in the order of the features;
        categories have no spread.
    baskets : BasketSummary or None
    detailed : set of str
        The features that the card tells of: all, or those that distinguish the segment most.
    previous_name : str
        Its name in the output that this one continues, if that was another one.
    """

    name: str
    is_noise: bool
    size: int
    share: float
    bar: float
    label: str
    description: str
    traits: list[Trait]
    ranked: list[Trait]
    rule: SegmentRule | None
    spread: list[Spread]
    baskets: BasketSummary | None
    detailed: Set[str]
    previous_name: str = ""

    @property
    def title(self) -> str:
        """The heading of the segment."""
        if self.is_noise:
            return "Noise"
        return f"Segment {self.name}" + (f": {self.label}" if self.label else "")

    @property
    def anchor(self) -> str:
        """The id of the segment's section."""
        return f"segment-{self.name.replace(',', '')}"

    @property
    def top(self) -> list[Trait]:
        """The features that distinguish the segment most."""
        return self.ranked[:_N_TOP]

    @property
    def others(self) -> list[Trait]:
        """The remaining features that the card tells of, in their order."""
        folded = self.detailed - {trait.feature for trait in self.top}
        return [trait for trait in self.traits if trait.feature in folded]

    @property
    def n_hidden(self) -> int:
        """Features that the card does not tell of."""
        return len(self.traits) - len(self.detailed)

    @property
    def highlights(self) -> list[Trait]:
        """The features to name where there is little room."""
        return [t for t in self.ranked[:3] if abs(t.deviation) >= _MIN_VISIBLE]

    @property
    def sentence(self) -> str:
        """What distinguishes the segment, in words."""
        if self.description:
            return f"{self.description}."
        above = fmt.listing([t.feature for t in self.top if t.deviation >= _MIN_DEVIATION])
        below = fmt.listing([t.feature for t in self.top if t.deviation <= -_MIN_DEVIATION])
        if above and below:
            return f"Above the average in {above}; below it in {below}."
        if above or below:
            return f"{'Above' if above else 'Below'} the average in {above or below}."
        return "Close to the average in every feature."


def segment_views(manifest: Manifest) -> list[SegmentView]:
    """Return the segments of a manifest, the largest first."""
    segments = manifest.ordered_segments
    largest = max((segment.share for segment in segments), default=0.0)
    everyone = manifest.profile.quantiles if manifest.profile else {}
    details = max(_MAX_DETAILS // max(len(segments), 1), _N_TOP)
    views = [_view(segment, manifest.features, largest, everyone, details) for segment in segments]
    previous = {} if manifest.refresh is None else manifest.refresh.previous_names
    return [
        replace(view, previous_name=previous.get(str(segment.segment), ""))
        for view, segment in zip(views, segments, strict=True)
    ]


def _view(
    segment: Segment,
    features: Mapping[str, FeatureSummary],
    largest: float,
    everyone: Mapping[str, Quantiles],
    max_details: int,
) -> SegmentView:
    traits = {
        name: Trait(
            feature=name,
            value=segment.center.get(name),
            average=feature.mean,
            deviation=_or_nan(segment.deviation.get(name)),
            is_share=feature.is_category,
            categories=feature.categories,
        )
        for name, feature in features.items()
    }
    ranked = top_features(segment, list(features))
    detailed = set(ranked[:max_details]) if len(features) > max_details else set(features)
    return SegmentView(
        name=fmt.segment_name(segment.segment),
        is_noise=segment.is_noise,
        size=segment.size,
        share=segment.share,
        bar=segment.share / largest * 100 if largest > 0 else 0.0,
        label=segment.name or "",
        description=segment.sentence or "",
        traits=list(traits.values()),
        ranked=[traits[name] for name in ranked],
        rule=segment.rule,
        spread=[
            Spread(
                feature=name,
                quantiles=quantiles,
                everyone=everyone[name].median if name in everyone else None,
                interval=segment.deviation_interval.get(name),
                categories=features[name].categories,
            )
            for name, quantiles in segment.quantiles.items()
            if name in detailed and not features[name].is_category
        ],
        baskets=segment.baskets,
        detailed=detailed,
    )


def _or_nan(x: float | None) -> float:
    return math.nan if x is None else x
