"""Names of segments in plain words, from a fixed vocabulary and from numbers alone.

A name has up to three parts, those features first in which the segment differs most from everyone,
in standard deviations σ of the values that are clustered. A part says that a feature is

    =====================  ===============  ===========  =============  ==================
    feature                -1.5σ and below  -0.5σ        +0.5σ          +1.5σ and above
    =====================  ===============  ===========  =============  ==================
    recency_days, recency  very recent      recent       lapsed         long lapsed
    tenure_days, tenure    very new         new          long-standing  very long-standing
    orders, items,         very few orders  few orders   many orders    very many orders
    products, frequency
    any other, say spend   very low spend   low spend    high spend     very high spend
    =====================  ===============  ===========  =============  ==================

and nothing of what lies between. A feature of a category is named where at least half of the
segment are of it: "country DE"; one that is a frequency is "rare city" or "common city"; a flag of
gaps is "spend missing". A segment that differs in nothing by half a σ is "like everyone". Where two
segments would have one name, each says more of its features, until they differ; at last a number
tells them apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gpuseg.formatting import NOISE, number, percent

TELLING, STRONG = 0.5, 1.5
"""Deviations from everyone's mean, in σ, from which on something is said, and said strongly."""

_PARTS = 3
_SPECIAL: dict[str, Sequence[str]] = {
    "recency_days": ("very recent", "recent", "lapsed", "long lapsed"),
    "recency": ("very recent", "recent", "lapsed", "long lapsed"),
    "tenure_days": ("very new", "new", "long-standing", "very long-standing"),
    "tenure": ("very new", "new", "long-standing", "very long-standing"),
    "frequency": ("very few orders", "few orders", "many orders", "very many orders"),
    **{
        name: tuple(f"{much} {name}" for much in ("very few", "few", "many", "very many"))
        for name in ("orders", "items", "products")
    },
}
_HALF = 0.5
NO_WORD = "like everyone"


def named(
    segments: Sequence[Mapping[str, Any]], features: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Return name and sentence of each segment.

    Parameters
    ----------
    segments : sequence of mapping
        As in the manifest: size, share, center, and deviation in σ, feature by feature.
    features : mapping
        As in the manifest: of each feature the mean of everyone.

    Returns
    -------
    list of dict
        ``name``, unique, and ``sentence``.
    """
    parts = [_parts(segment, features) for segment in segments]
    names = _unique(parts)
    return [
        {"name": name, "sentence": _sentence(segment, features)}
        for name, segment in zip(names, segments, strict=True)
    ]


def _parts(segment: Mapping[str, Any], features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return all that can be said of a segment, what sets it apart most first."""
    if segment["segment"] == NOISE:
        return ["outliers"]
    return [text for f in telling(segment) if (text := _part(segment, f, features)) is not None]


def telling(segment: Mapping[str, Any]) -> list[str]:
    """Return the features that are worth a word, those that deviate most first."""
    deviation = segment["deviation"]
    own = [name for name, value in deviation.items() if value is not None and abs(value) >= TELLING]
    return sorted(own, key=lambda name: -abs(deviation[name]))


def _part(
    segment: Mapping[str, Any], name: str, features: Mapping[str, Mapping[str, Any]]
) -> str | None:
    deviation, about = segment["deviation"][name], features[name]
    if about.get("of_category"):
        shown = segment["center"][name] >= _HALF and deviation > 0
        return str(about["of_category"]) if shown else None
    strong = abs(deviation) >= STRONG
    step = 2 + int(strong) if deviation > 0 else 1 - int(strong)
    if about.get("is_frequency"):
        return f"{('very rare', 'rare', 'common', 'very common')[step]} {name.replace('_', ' ')}"
    if name in _SPECIAL:
        return _SPECIAL[name][step]
    return f"{('very low', 'low', 'high', 'very high')[step]} {name.replace('_', ' ')}"


def _unique(parts: Sequence[list[str]]) -> list[str]:
    """Return names that are all different: longer ones where the short ones are not."""
    lengths = [_PARTS] * len(parts)
    while True:
        names = [", ".join(own[:n]) or NO_WORD for own, n in zip(parts, lengths, strict=True)]
        longer = [
            i for i, name in enumerate(names)
            if names.count(name) > 1 and lengths[i] < len(parts[i])
        ]  # fmt: skip
        if not longer:
            break
        for i in longer:
            lengths[i] += 1
    seen: dict[str, int] = {}
    for i, name in enumerate(list(names)):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            names[i] = f"{name} ({seen[name]})"
    return names


def _sentence(segment: Mapping[str, Any], features: Mapping[str, Mapping[str, Any]]) -> str:
    """Say how large a segment is, and what its averages are beside those of everyone."""
    share = f"{percent(segment['share'])} of customers"
    said = [
        f"{name.replace('_', ' ')} {number(segment['center'][name])} "
        f"(everyone {number(features[name]['mean'])})"
        for name in telling(segment)[:_PARTS]
    ]
    if segment["segment"] == NOISE:
        return f"{share}, which belong to no segment" + (": " + ", ".join(said) if said else "")
    return f"{share}: " + (", ".join(said) if said else "near everyone's average in all features")
