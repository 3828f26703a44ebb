"""Names of segments: from a fixed vocabulary, all different, and saying only what numbers say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpuseg.profiling.naming import named

FEATURES = (
    "recency_days",
    "orders",
    "spend",
    "avg_order_value",
    "tenure_days",
    "items",
    "products",
)


def about(*names: str, **more: dict[str, Any]) -> dict[str, Any]:
    return {name: {"mean": 10.0, **more.get(name, {})} for name in names}


def segment(number: int, center: dict[str, float] | None = None, **deviation: float) -> Any:
    values = center or {name: 10 + value for name, value in deviation.items()}
    return {"segment": number, "share": 0.125, "center": values, "deviation": deviation}


def names(*segments: Any, features: dict[str, Any] | None = None) -> list[str]:
    return [own["name"] for own in named(segments, features or about(*FEATURES))]


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
    found = names(
        segment(0, **same, tenure_days=0.7),
        segment(1, **same, tenure_days=-0.7),
        segment(2, **same),
        segment(3),
        segment(4),
        segment(-1),
    )
    short = "very high spend, very many orders, very recent"
    assert found == [
        f"{short}, long-standing", f"{short}, new", short, "like everyone", "like everyone (2)",
        "outliers",
    ]  # fmt: skip


def test_categories_are_named_where_half_are_of_them() -> None:
    features = about(
        "spend", "country=DE", "age is missing",
        **{"country=DE": {"of_category": "country DE", "mean": 0.3},
           "age is missing": {"of_category": "age missing", "mean": 0.1}},
    )  # fmt: skip
    center = {"spend": 10.0, "country=DE": 0.8, "age is missing": 0.4}
    deviation = {"spend": 0.1, "country=DE": 1.1, "age is missing": 0.9}
    one = {"segment": 0, "share": 0.5, "center": center, "deviation": deviation}
    few = {**one, "center": {**center, "country=DE": 0.1},
           "deviation": {**deviation, "country=DE": -0.8}}  # fmt: skip
    assert names(one, few, features=features) == ["country DE", "like everyone"]


def test_frequencies_are_rare_or_common() -> None:
    features = about("city", city={"is_frequency": True})
    assert names(segment(0, city=-0.6), segment(1, city=1.6), features=features) == [
        "rare city", "very common city",
    ]  # fmt: skip


def test_sentences_give_the_numbers() -> None:
    own = segment(0, {"spend": 830.0, "orders": 2.0, "recency_days": 11.0},
                  spend=1.9, orders=-0.8, recency_days=0.1)  # fmt: skip
    (found,) = named([own], about("spend", "orders", "recency_days"))
    assert found["sentence"] == (
        "12.5% of customers: spend 830 (everyone 10), orders 2 (everyone 10)"
    )
    (plain,) = named([segment(1, spend=0.0)], about("spend"))
    assert plain["sentence"].endswith("near everyone's average in all features")


def test_names_are_true_and_different_whatever_the_numbers() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        k = int(rng.integers(1, 9))
        rows = np.round(rng.normal(0, 1, (k, len(FEATURES))) * rng.choice([0.2, 1, 3]), 1)
        segments = [segment(i, **dict(zip(FEATURES, row.tolist(), strict=True)))
                    for i, row in enumerate(rows)]  # fmt: skip
        found = names(*segments)
        assert len(set(found)) == k
        for name, own in zip(found, segments, strict=True):
            for part in name.split(", "):
                if part.startswith(("high ", "low ", "very ")) and "recent" not in part:
                    sign = 1 if any(w in part for w in ("high", "many", "long-")) else -1
                    assert any(
                        sign * value >= (1.5 if "very" in part else 0.5)
                        for value in own["deviation"].values()
                    )
