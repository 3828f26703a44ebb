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
from collections.abc import Collection, Mapping, Sequence
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
_MIN_CATEGORY_SHARE, _CATEGORY_TOLERANCE = 0.5, 0.05
_NOISE_NAME = "outliers"
DEFAULT_NAME = "like everyone"


class SegmentName(NamedTuple):
    """A unique name, and a sentence with the averages behind it."""

    name: str
    sentence: str


def name_segments(
    segments: Sequence[Segment],
    features: Mapping[str, FeatureSummary],
    taken: Collection[str] = (),
) -> list[SegmentName]:
    """Return a unique name and a sentence for each segment; names that are taken are not given."""
    names = _unique([_parts(segment, features) for segment in segments], taken)
    return [
        SegmentName(name, _sentence(segment, features))
        for name, segment in zip(names, segments, strict=True)
    ]


def tolerated_parts(
    segment: Segment, features: Mapping[str, FeatureSummary], tolerance: float
) -> set[str]:
    """Return the parts of names that suit a segment if its deviations were off by `tolerance` σ."""
    if segment.is_noise:
        return {_NOISE_NAME}
    parts = {
        word
        for name, deviation in segment.deviation.items()
        if deviation is not None and name in features
        for word in _tolerated_words(segment, name, features[name], deviation, tolerance)
    }
    least = MIN_DEVIATION + tolerance
    is_average = all(abs(deviation or 0) < least for deviation in segment.deviation.values())
    return parts | ({DEFAULT_NAME} if is_average else set())


def _tolerated_words(
    segment: Segment, name: str, feature: FeatureSummary, deviation: float, tolerance: float
) -> list[str]:
    if feature.category is not None:
        least = _MIN_CATEGORY_SHARE - _CATEGORY_TOLERANCE
        is_named = (segment.center[name] or 0.0) >= least and deviation > 0
        return [feature.category] if is_named else []
    steps = {_step(deviation + by) for by in (-tolerance, 0, tolerance)}
    return [_word(name, feature, step) for step in steps if step is not None]


def distinctive_features(segment: Segment) -> list[str]:
    """Return the features that deviate enough to be mentioned, the largest deviation first."""
    deviation = {name: value for name, value in segment.deviation.items() if value is not None}
    distinctive = [name for name, value in deviation.items() if abs(value) >= MIN_DEVIATION]
    return sorted(distinctive, key=lambda name: -abs(deviation[name]))


def _parts(segment: Segment, features: Mapping[str, FeatureSummary]) -> list[str]:
    """Return all possible parts of a segment's name, the largest deviation first."""
    if segment.is_noise:
        return [_NOISE_NAME]
    parts = [_part(segment, name, features[name]) for name in distinctive_features(segment)]
    return [part for part in parts if part is not None]


def _part(segment: Segment, name: str, feature: FeatureSummary) -> str | None:
    deviation = segment.deviation[name] or 0.0
    if feature.category is not None:
        is_named = (segment.center[name] or 0.0) >= _MIN_CATEGORY_SHARE and deviation > 0
        return feature.category if is_named else None
    step = _step(deviation)
    return None if step is None else _word(name, feature, step)


def _step(deviation: float) -> int | None:
    """Return the column of the vocabulary for a deviation; None if it is not mentioned."""
    if abs(deviation) < MIN_DEVIATION:
        return None
    is_strong = abs(deviation) >= STRONG
    return 2 + is_strong if deviation > 0 else 1 - is_strong


def _word(name: str, feature: FeatureSummary, step: int) -> str:
    """Return the words of one column of the vocabulary."""
    if feature.is_frequency:
        return f"{('very rare', 'rare', 'common', 'very common')[step]} {name.replace('_', ' ')}"
    if name in _VOCABULARY:
        return _VOCABULARY[name][step]
    return f"{('very low', 'low', 'high', 'very high')[step]} {name.replace('_', ' ')}"


def _unique(parts: Sequence[list[str]], taken: Collection[str] = ()) -> list[str]:
    """Join the parts to names that are all different, with more parts where they are needed."""
    lengths = [_MAX_PARTS] * len(parts)
    while True:
        names = [
            ", ".join(words[:n]) or DEFAULT_NAME for words, n in zip(parts, lengths, strict=True)
        ]
        counts = Counter([*names, *taken])
        extendable = [
            i for i, name in enumerate(names) if counts[name] > 1 and lengths[i] < len(parts[i])
        ]
        if not extendable:
            break
        for i in extendable:
            lengths[i] += 1
    return _numbered(names, taken)


def _numbered(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """Add a number to each name that another one before it has, or that is taken."""
    used = {*taken}
    numbered = []
    for name in names:
        unique, number = name, 1
        while unique in used:
            number += 1
            unique = f"{name} ({number})"
        used.add(unique)
        numbered.append(unique)
    return numbered


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
