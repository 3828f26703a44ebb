"""The segments as the report shows them, from the manifest."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpuseg import formatting as fmt
from gpuseg.reporting.terminal_table import ordered_segments, top_features

_TOP = 5
# Deviations worth a word, and those that do not round to zero.
_TELLING, _VISIBLE = 0.5, 0.05
# A deviation's colour: level i from the i-th bound on, in standard deviations.
_LEVELS = (0.25, 0.5, 1.0, 2.0)
# The bars end here, so that one outlier does not flatten all the others.
_BAR_SIGMAS = 3.0


@dataclass(frozen=True)
class Trait:
    """A segment in one feature: its value, everyone's, and how far apart they are (or NaN)."""

    feature: str
    value: float | None
    average: float | None
    deviation: float

    @property
    def level(self) -> str:
        """The CSS class of the deviation's colour: n4 (far below) to z to p4 (far above)."""
        # Rounded as it is printed, so that equal numbers have equal colours.
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
    """How a feature's values are spread in a segment: median, quartiles, everyone's median."""

    feature: str
    low: float
    median: float
    high: float
    everyone: float | None
    interval: Sequence[float] | None

    @property
    def between(self) -> str:
        """The interval of the difference from everyone, in standard deviations."""
        if self.interval is None:
            return fmt.NOTHING
        low, high = (fmt.sigma(end, "") for end in self.interval)
        return f"{low} to {high}"


@dataclass(frozen=True)
class Segment:
    """A segment as the page shows it, its traits in the features' order and ranked."""

    name: str
    is_noise: bool
    size: int
    share: float
    bar: float
    label: str
    said: str
    traits: list[Trait]
    ranked: list[Trait]
    rule: Mapping[str, Any] | None
    spread: list[Spread]
    together: Mapping[str, Any] | None

    @property
    def title(self) -> str:
        """The segment's name in a heading."""
        if self.is_noise:
            return "Noise"
        return f"Segment {self.name}" + (f": {self.label}" if self.label else "")

    @property
    def anchor(self) -> str:
        """The id of the segment's section."""
        return f"segment-{self.name}"

    @property
    def apart(self) -> list[Trait]:
        """The features that set the segment apart most."""
        return self.ranked[:_TOP]

    @property
    def others(self) -> list[Trait]:
        """The remaining features, in their order."""
        apart = {trait.feature for trait in self.apart}
        return [trait for trait in self.traits if trait.feature not in apart]

    @property
    def telling(self) -> list[Trait]:
        """The features to name where there is room for few."""
        return [t for t in self.ranked[:3] if abs(t.deviation) >= _VISIBLE]

    @property
    def sentence(self) -> str:
        """What sets the segment apart, in words."""
        if self.said:
            return f"{self.said}."
        above = fmt.listing([t.feature for t in self.apart if t.deviation >= _TELLING])
        below = fmt.listing([t.feature for t in self.apart if t.deviation <= -_TELLING])
        if above and below:
            return f"Above the average in {above}; below it in {below}."
        if above or below:
            return f"{'Above' if above else 'Below'} the average in {above or below}."
        return "Close to the average in every feature."


def segments_of(manifest: Mapping[str, Any]) -> list[Segment]:
    """Return the segments of a manifest, the largest first."""
    features = manifest["features"]
    ordered = ordered_segments(manifest)
    largest = max((segment["share"] for segment in ordered), default=0.0)
    everyone = manifest.get("portrait", {}).get("quantiles", {})
    return [_segment(segment, features, largest, everyone) for segment in ordered]


def _segment(
    segment: Mapping[str, Any],
    features: Mapping[str, Mapping[str, Any]],
    largest: float,
    everyone: Mapping[str, Any],
) -> Segment:
    traits = {
        name: Trait(
            feature=name,
            value=segment["center"].get(name),
            average=about["mean"],
            deviation=_or_nan(segment["deviation"].get(name)),
        )
        for name, about in features.items()
    }
    return Segment(
        name=fmt.segment_name(segment["segment"]),
        is_noise=segment["segment"] == fmt.NOISE,
        size=segment["size"],
        share=segment["share"],
        bar=segment["share"] / largest * 100 if largest > 0 else 0.0,
        label=segment.get("name", ""),
        said=segment.get("sentence", ""),
        traits=list(traits.values()),
        ranked=[traits[name] for name in top_features(segment, list(features))],
        rule=segment.get("rule"),
        spread=_spread(segment, everyone),
        together=segment.get("together"),
    )


def _spread(segment: Mapping[str, Any], everyone: Mapping[str, Any]) -> list[Spread]:
    intervals = segment.get("interval", {})
    return [
        Spread(
            name, own[1], own[2], own[3],
            everyone[name][2] if name in everyone else None, intervals.get(name),
        )
        for name, own in segment.get("quantiles", {}).items()
    ]  # fmt: skip


def _or_nan(x: float | None) -> float:
    return math.nan if x is None else x
