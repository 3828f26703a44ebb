"""Name segments in plain words, from a fixed vocabulary and from numbers only.

A name has up to three parts. They describe the features in which the segment differs most from all
customers, in standard deviations σ of the values that are clustered:

    =====================  ===============  ===========  =============  ==================
    feature                -1.5σ and below  -0.5σ        +0.5σ          +1.5σ and above
    =====================  ===============  ===========  =============  ==================
    recency_days, recency  very recent      recent       lapsed         long lapsed
    tenure_days, tenure    very new         new          long-standing  very long-standing
    orders, items,         very few orders  few orders   many orders    very many orders
    products, frequency
    any other, say spend   very low spend   low spend    high spend     very high spend
    =====================  ===============  ===========  =============  ==================

Smaller deviations are not mentioned. A category is named where at least half of the segment belongs
to it: "country DE". A feature that is a frequency is "rare city" or "common city"; a flag for
missing values is "spend missing". A segment that differs by half a σ in no feature is "like
everyone". Where two segments would have the same name, each name gets more parts until they differ;
if they never do, a number is added.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gpuseg.formatting import average, percent
from gpuseg.manifest import FeatureSummary, Segment

MIN_DEVIATION, STRONG = 0.5, 1.5
"""Deviations from the mean of all customers, in σ, that are mentioned, and that are "very"."""

_MAX_PARTS = 3
_VOCABULARY: dict[str, Sequence[str]] = {
    "recency_days": ("very recent", "recent", "lapsed", "long lapsed"),
    "recency": ("very recent", "recent", "lapsed", "long lapsed"),
    "tenure_days": ("very new", "new", "long-standing", "very long-standing"),
    "tenure": ("very new", "new", "long-standing", "very long-standing"),
    "frequency": ("very few orders", "few orders", "many orders", "very many orders"),
    **{
        name: tuple(f"{amount} {name}" for amount in ("very few", "few", "many", "very many"))
        for name in ("orders", "items", "products")
    },
}
_MIN_CATEGORY_SHARE = 0.5
DEFAULT_NAME = "like everyone"


class SegmentName(NamedTuple):
    """A unique name, and a sentence with the averages behind it."""

    name: str
    sentence: str


def name_segments(
    segments: Sequence[Segment], features: Mapping[str, FeatureSummary]
) -> list[SegmentName]:
    """Return a unique name and a sentence for each segment."""
    names = _unique([_parts(segment, features) for segment in segments])
    return [
        SegmentName(name, _sentence(segment, features))
        for name, segment in zip(names, segments, strict=True)
    ]


def distinctive_features(segment: Segment) -> list[str]:
    """Return the features that deviate enough to be mentioned, the largest deviation first."""
    deviation = {name: value for name, value in segment.deviation.items() if value is not None}
    distinctive = [name for name, value in deviation.items() if abs(value) >= MIN_DEVIATION]
    return sorted(distinctive, key=lambda name: -abs(deviation[name]))


def _parts(segment: Segment, features: Mapping[str, FeatureSummary]) -> list[str]:
    """Return all possible parts of a segment's name, the largest deviation first."""
    if segment.is_noise:
        return ["outliers"]
    parts = [_part(segment, name, features[name]) for name in distinctive_features(segment)]
    return [part for part in parts if part is not None]


def _part(segment: Segment, name: str, feature: FeatureSummary) -> str | None:
    deviation = segment.deviation[name] or 0.0
    if feature.category is not None:
        is_named = (segment.center[name] or 0.0) >= _MIN_CATEGORY_SHARE and deviation > 0
        return feature.category if is_named else None
    is_strong = abs(deviation) >= STRONG
    step = 2 + is_strong if deviation > 0 else 1 - is_strong
    if feature.is_frequency:
        return f"{('very rare', 'rare', 'common', 'very common')[step]} {name.replace('_', ' ')}"
    if name in _VOCABULARY:
        return _VOCABULARY[name][step]
    return f"{('very low', 'low', 'high', 'very high')[step]} {name.replace('_', ' ')}"


def _unique(parts: Sequence[list[str]]) -> list[str]:
    """Join the parts to names that are all different, with more parts where they are needed."""
    lengths = [_MAX_PARTS] * len(parts)
    while True:
        names = [
            ", ".join(words[:n]) or DEFAULT_NAME for words, n in zip(parts, lengths, strict=True)
        ]
        counts = Counter(names)
        extendable = [
            i for i, name in enumerate(names) if counts[name] > 1 and lengths[i] < len(parts[i])
        ]
        if not extendable:
            break
        for i in extendable:
            lengths[i] += 1
    seen: dict[str, int] = {}
    for i, name in enumerate(list(names)):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            names[i] = f"{name} ({seen[name]})"
    return names


def _sentence(segment: Segment, features: Mapping[str, FeatureSummary]) -> str:
    """Return the share of a segment, and its averages next to those of all customers."""
    share = f"{percent(segment.share)} of customers"
    averages = ", ".join(
        _average(segment, name, features[name])
        for name in distinctive_features(segment)[:_MAX_PARTS]
    )
    if segment.is_noise:
        return f"{share}, which belong to no segment" + (f": {averages}" if averages else "")
    return f"{share}: {averages or 'near the average of all customers in every feature'}"


def _average(segment: Segment, name: str, feature: FeatureSummary) -> str:
    """Return the average of a feature next to that of all customers."""
    phrase = feature.category or name.replace("_", " ")
    value, everyone = (
        average(x, is_share=feature.is_category, categories=feature.categories)
        for x in (segment.center[name], feature.mean)
    )
    return f"{phrase} {value} (everyone {everyone})"
