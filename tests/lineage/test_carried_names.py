"""Names stay with their segments as long as they are true."""

import pytest

from gpuseg.lineage.names import carried_names
from gpuseg.manifest import FeatureSummary, Segment
from gpuseg.profiling.naming import name_segments

PLAIN = {
    "mean": 0.0, "std": 1.0, "min": -9.0, "max": 9.0, "missing": 0, "fill": None,
    "transform": "none", "shift": 0.0, "scale": 1.0,
}  # fmt: skip
FEATURES = {
    name: FeatureSummary(**PLAIN, **more)
    for name, more in {
        "recency": {},
        "spend": {},
        "orders": {},
        "country=DE, AT": {"category": "country DE, AT"},
    }.items()
}


def segments(*deviations: dict[str, float]) -> list[Segment]:
    """Return named segments, numbered from 0 on, with their shares of the category as centers."""
    unnamed = [
        Segment(
            segment=number, size=9, share=0.1, center=dict(deviation), deviation=dict(deviation),
            rule=None,
        )
        for number, deviation in enumerate(deviations)
    ]  # fmt: skip
    names = name_segments(unnamed, FEATURES)
    return [each.model_copy(update=n._asdict()) for each, n in zip(unnamed, names, strict=True)]


def carried(old: dict[int, str], *deviations: dict[str, float]) -> tuple[list[str], dict[int, str]]:
    names, previous = carried_names(segments(*deviations), old, FEATURES)
    assert len(set(names.values())) == len(names)
    return list(names.values()), previous


@pytest.mark.parametrize(
    ("old", "deviation", "is_kept"),
    [
        ("recent, high spend", {"recency": -0.7, "spend": 0.6}, True),
        ("recent, high spend", {"recency": -0.41, "spend": 0.41, "orders": 2.0}, True),
        ("recent, high spend", {"recency": -0.7, "spend": 0.39}, False),
        ("recent, high spend", {"recency": -0.7, "spend": 1.59}, True),
        ("recent, high spend", {"recency": -0.7, "spend": 1.61}, False),
        ("recent, very high spend", {"recency": -0.7, "spend": 1.41}, True),
        ("recent, high spend", {"recency": 0.7, "spend": 0.6}, False),
        ("high spend (2)", {"spend": 0.6}, True),
        ("like everyone", {"spend": 0.59, "recency": -0.2}, True),
        ("like everyone", {"spend": 0.61}, False),
        ("country DE, AT, high spend", {"country=DE, AT": 0.46, "spend": 0.6}, True),
        ("country DE, AT", {"country=DE, AT": 0.44}, False),
        ("recent, high income", {"recency": -0.7, "spend": 0.6}, False),
    ],
)
def test_old_name_stays_while_it_is_true(
    old: str, deviation: dict[str, float], is_kept: bool
) -> None:
    names, previous = carried({0: old}, deviation)
    assert (names[0] == old) == is_kept
    assert previous == ({} if is_kept else {0: old})


def test_names_that_are_kept_are_given_to_no_other() -> None:
    names, previous = carried(
        {0: "long lapsed", 1: "high spend", 7: "recent"},
        {"spend": 0.6},
        {"spend": 0.45, "recency": -0.6},
        {"spend": 0.6, "orders": 0.5},
        {"recency": -0.9},
    )
    assert names == ["high spend (2)", "high spend", "high spend, many orders", "recent"]
    assert previous == {0: "long lapsed"}


def test_segments_without_names_get_none() -> None:
    bare = [each.model_copy(update={"name": None}) for each in segments({"spend": 1.0})]
    assert carried_names(bare, {0: "high spend"}, FEATURES) == ({}, {})


def test_noise_stays_outliers() -> None:
    noise = segments({"spend": 1.0})[0].model_copy(update={"segment": -1, "name": "outliers"})
    assert carried_names([noise], {-1: "outliers"}, FEATURES) == ({-1: "outliers"}, {})
