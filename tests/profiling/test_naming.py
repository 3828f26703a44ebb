"""Names of segments: from a fixed vocabulary, unique, and true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpuseg.manifest import FeatureSummary, Segment
from gpuseg.profiling.naming import name_segments

FEATURES = (
    "recency_days",
    "orders",
    "spend",
    "avg_order_value",
    "tenure_days",
    "items",
    "products",
)


def features(*names: str, **changes: dict[str, Any]) -> dict[str, FeatureSummary]:
    """Features with a mean of 10 and changes of some of them."""
    plain: dict[str, Any] = {
        "mean": 10.0, "std": 1.0, "min": 0.0, "max": 20.0, "missing": 0, "fill": None,
        "transform": "none", "shift": 0.0, "scale": 1.0,
    }  # fmt: skip
    return {name: FeatureSummary(**plain | changes.get(name, {})) for name in names}


def segment(number: int, center: dict[str, float] | None = None, **deviation: float) -> Segment:
    values = center or {name: 10 + value for name, value in deviation.items()}
    return Segment(
        segment=number, size=1, share=0.125, center=values, deviation=deviation, rule=None
    )


def names(*segments: Segment, of: dict[str, FeatureSummary] | None = None) -> list[str]:
    return [named.name for named in name_segments(segments, of or features(*FEATURES))]


@pytest.mark.parametrize(("deviation", "name"), [
    ({"spend": 0.5}, "high spend"),
    ({"spend": 1.5}, "very high spend"),
    ({"spend": -0.5}, "low spend"),
    ({"spend": -1.5}, "very low spend"),
    ({"spend": 0.49, "orders": -0.49}, "like everyone"),
    ({"recency_days": 2.0, "orders": -0.6}, "long lapsed, few orders"),
    ({"recency_days": -0.7, "tenure_days": 0.8}, "long-standing, recent"),
    ({"recency_days": -1.7, "tenure_days": -2.8}, "very new, very recent"),
    ({"items": -0.6, "products": 1.7}, "very many products, few items"),
    ({"orders": 3.0, "avg_order_value": -0.9}, "very many orders, low avg order value"),
    ({"spend": 0.6, "orders": 0.7, "recency_days": 0.8, "tenure_days": 0.9},
     "long-standing, lapsed, many orders"),
])  # fmt: skip
def test_words(deviation: dict[str, float], name: str) -> None:
    assert names(segment(0, **deviation)) == [name]


def test_names_that_would_be_one_say_more() -> None:
    same = {"spend": 2.0, "orders": 1.8, "recency_days": -1.6}
    result = names(
        segment(0, **same, tenure_days=0.7),
        segment(1, **same, tenure_days=-0.7),
        segment(2, **same),
        segment(3),
        segment(4),
        segment(-1),
    )
    short = "very high spend, very many orders, very recent"
    assert result == [
        f"{short}, long-standing", f"{short}, new", short, "like everyone", "like everyone (2)",
        "outliers",
    ]  # fmt: skip


def test_categories_are_named_where_half_are_of_them() -> None:
    known = features(
        "spend", "country=DE", "age is missing",
        **{"country=DE": {"category": "country DE", "mean": 0.3},
           "age is missing": {"category": "age missing", "mean": 0.1}},
    )  # fmt: skip
    center = {"spend": 10.0, "country=DE": 0.8, "age is missing": 0.4}
    deviation = {"spend": 0.1, "country=DE": 1.1, "age is missing": 0.9}
    many = segment(0, center, **deviation)
    few = segment(0, {**center, "country=DE": 0.1}, **{**deviation, "country=DE": -0.8})
    assert names(many, few, of=known) == ["country DE", "like everyone"]


def test_frequencies_are_rare_or_common() -> None:
    known = features("city", city={"is_frequency": True})
    assert names(segment(0, city=-0.6), segment(1, city=1.6), of=known) == [
        "rare city", "very common city",
    ]  # fmt: skip


def test_sentences_give_the_numbers() -> None:
    center = {"spend": 830.0, "orders": 2.0, "recency_days": 11.0}
    high = segment(0, center, spend=1.9, orders=-0.8, recency_days=0.1)
    (named,) = name_segments([high], features("spend", "orders", "recency_days"))
    assert named.sentence == ("12.5% of customers: spend 830 (everyone 10), orders 2 (everyone 10)")
    known = features("plan", plan={"mean": 1.4, "categories": ("basic", "plus", "pro")})
    (named,) = name_segments([segment(2, {"plan": 1.8}, plan=0.7)], known)
    assert named.sentence == "12.5% of customers: plan about pro (everyone plus to pro)"
    (named,) = name_segments([segment(1, spend=0.0)], features("spend"))
    assert named.sentence.endswith("near the average of all customers in every feature")


def test_sentences_give_the_share_of_a_category() -> None:
    known = features(
        "country=NEW_X", **{"country=NEW_X": {"mean": 0.5, "category": "country NEW_X"}}
    )
    (named,) = name_segments([segment(0, {"country=NEW_X": 1.0}, **{"country=NEW_X": 1.0})], known)
    assert named.sentence == "12.5% of customers: country NEW_X 100.0% (everyone 50.0%)"


def test_names_are_true_and_different_whatever_the_numbers() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        k = int(rng.integers(1, 9))
        rows = np.round(rng.normal(0, 1, (k, len(FEATURES))) * rng.choice([0.2, 1, 3]), 1)
        segments = [
            segment(i, **dict(zip(FEATURES, row.tolist(), strict=True)))
            for i, row in enumerate(rows)
        ]
        result = names(*segments)
        assert len(set(result)) == k
        for name, described in zip(result, segments, strict=True):
            for part in name.split(", "):
                if part.startswith(("high ", "low ", "very ")) and "recent" not in part:
                    sign = 1 if any(w in part for w in ("high", "many", "long-")) else -1
                    assert any(
                        sign * value >= (1.5 if "very" in part else 0.5)
                        for value in described.deviation.values()
                    )
