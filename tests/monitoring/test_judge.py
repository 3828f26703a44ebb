"""Drift is judged: what is planted raises an alarm, and chance does not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.drift_samples import bin_counts_of, reference_of, sums_of
from support.helpers import in_turn

from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.drift_record import Drift, DriftThresholds
from gpuseg.monitoring.category_drift import UnseenValues
from gpuseg.monitoring.chance import ranks_differ, shares_differ
from gpuseg.monitoring.judge import measure_drift
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.pipeline import FeaturePipeline

Rows = NDArray[np.float32]

PLANS = ("basic", "plus", "pro")
CITIES = ("Bonn", "Köln", "Trier")
ENCODERS = (
    Encoder("orders"),
    Encoder("spend", origin=1000.0),
    Encoder("visits"),
    Encoder("income"),
    Encoder("income", "is missing"),
    Encoder("plan", "onehot", "text", PLANS),
    Encoder("level", "ordinal", "text", ("low", "middle", "high")),
    Encoder("shop", "onehot", "text", ("a", "b"), other=True),
    Encoder("city", "frequency", "text", CITIES, (0.2, 0.3, 0.5, 0.0)),
)
FEATURES = tuple(name for encoder in ENCODERS for name in encoder.feature_names())
F = {name: f for f, name in enumerate(FEATURES)}


def pipeline() -> FeaturePipeline:
    no_fill, zeros = np.full(len(FEATURES), np.nan, np.float32), np.zeros(len(FEATURES))
    transform = FeatureTransform(no_fill, zeros.astype(np.int64), zeros, zeros + 1)
    return FeaturePipeline(ENCODERS, FEATURES, transform)


def draw(rng: np.random.Generator, n: int) -> Rows:
    x = np.empty((n, len(FEATURES)), np.float32)
    x[:, F["orders"]] = rng.normal(size=n)
    x[:, F["spend"]] = rng.lognormal(0, 1, n)
    x[:, F["visits"]] = rng.poisson(2, n)
    x[:, F["income"]] = rng.normal(size=n)
    x[rng.random(n) < 0.05, F["income"]] = np.nan
    x[:, F["income is missing"]] = np.isnan(x[:, F["income"]])
    plan = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    x[:, F["plan=basic"] : F["plan=pro"] + 1] = plan[:, None] == np.arange(3)
    x[:, F["level"]] = rng.choice(3, n, p=[0.5, 0.4, 0.1])
    shop = rng.choice(3, n, p=[0.5, 0.4, 0.1])
    x[:, F["shop=a"] : F["shop=(other)"] + 1] = shop[:, None] == np.arange(3)
    x[:, F["city"]] = rng.choice(np.array([0.2, 0.3, 0.5]), n, p=[0.2, 0.3, 0.5])
    return x


def scored(x: Rows) -> tuple[NDArray[np.int32], Rows]:
    """Return segments and distances by two centers of the first feature."""
    distances = np.abs(x[:, :1] - np.array([-1, 1], np.float32))
    return distances.argmin(axis=1).astype(np.int32), distances.min(axis=1) + 1


def drift(n: int, m: int, change: Callable[[Rows], Any] | None = None, **options: Any) -> Drift:
    """Return the drift of m rows, some of them changed, against n rows."""
    rng = np.random.default_rng(n + m)
    x, y = draw(rng, n), draw(rng, m)
    if change is not None:
        change(y)
    reference = reference_of(FEATURES, x, *scored(x))
    segment, distance = scored(y)
    return measure_drift(
        reference, bin_counts_of(reference, y, segment),
        sums_of(segment, distance, reference.far_distance), options.get("unseen", {}), 0,
        pipeline(), DriftThresholds(**options.get("thresholds", {})), "run",
    )  # fmt: skip


def alarms(drift: Drift) -> list[tuple[str, str | None]]:
    return [(alarm.measure, alarm.name) for alarm in drift.alarms]


def shift(name: str, size: float) -> Callable[[Rows], None]:
    def change(y: Rows) -> None:
        y[:, F[name]] += size

    return change


def more_gaps(y: Rows) -> None:
    y[: len(y) // 20, F["income"]] = np.nan


def new_plan(y: Rows) -> None:
    y[: len(y) // 20, F["plan=basic"] : F["plan=pro"] + 1] = 0


def more_other_shops(y: Rows) -> None:
    y[: len(y) // 20, F["shop=a"] : F["shop=(other)"] + 1] = [0, 0, 1]


def plans_change(y: Rows) -> None:
    y[: len(y) // 2, F["plan=basic"] : F["plan=pro"] + 1] = [0, 0, 1]


def farther(y: Rows) -> None:
    y[:, F["orders"]] *= 1.5


UNSEEN_PLAN = {"unseen": {"plan": UnseenValues(250, "gold")}}


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        (None, {}, set()),
        (shift("income", 0.1), {}, set()),
        (shift("income", 0.3), {}, {("feature_wasserstein", "income")}),
        (shift("income", 1.0), {}, {("feature_psi", "income")}),
        (shift("spend", 0.65), {}, {("feature_psi", "spend")}),
        (shift("visits", 1.0), {}, {("feature_psi", "visits")}),
        (more_gaps, {}, {("missing_change", "income")}),
        (new_plan, UNSEEN_PLAN, {("unseen_share", "plan"), ("feature_psi", "plan")}),
        (more_other_shops, {}, {("unseen_share", "shop")}),
        (plans_change, {}, {("feature_psi", "plan")}),
        (farther, {}, {("inertia_increase", None)}),
    ],
)
def test_planted_drift_raises_its_alarm(
    change: Callable[[Rows], None] | None,
    options: dict[str, Any],
    expected: set[tuple[str, str | None]],
) -> None:
    result = drift(5000, 5000, change, **options)
    assert expected <= set(alarms(result))
    if change is not farther:
        assert set(alarms(result)) == expected
    beyond = {each.feature for each in result.features if each.is_beyond}
    beyond |= {each.column for each in result.categories if each.is_beyond}
    assert beyond == {name for _, name in alarms(result)} - {None}
    for alarm in result.alarms:
        assert alarm.value >= alarm.threshold == getattr(result.thresholds, alarm.measure)
        assert alarm.name is None or alarm.name in alarm.sentence


@pytest.mark.parametrize(("n", "m"), [(60, 60), (100, 3000), (3000, 100), (1000, 1000)])
def test_chance_raises_no_alarm(n: int, m: int) -> None:
    for i in range(12):
        assert not drift(n + i, m).alarms


def test_chance_raises_no_alarm_with_the_lowest_thresholds() -> None:
    lowest = dict.fromkeys(DriftThresholds.model_fields, 1e-9)
    for i in range(12):
        assert not drift(500 + i, 700, thresholds=lowest).alarms


def test_thresholds_decide() -> None:
    high = {"feature_wasserstein": 5.0, "feature_psi": 5.0}
    assert not drift(5000, 5000, shift("income", 1.0), thresholds=high).alarms
    low = {"feature_psi": 0.005}
    result = drift(50_000, 50_000, shift("income", 0.1), thresholds=low)
    assert alarms(result) == [("feature_psi", "income")]


def test_record_has_the_numbers() -> None:
    result = drift(4000, 2000)
    assert (result.rows_before, result.rows_now, result.fit_run_id) == (4000, 2000, "run")
    assert [each.feature for each in result.features] == ["orders", "spend", "visits", "income"]
    assert [each.column for each in result.categories] == ["plan", "level", "shop", "city"]
    spend = result.features[1]
    assert min(spend.edges) > 1000  # in units of the input, not from the origin
    for each in result.features:
        assert len(each.bins) == len(each.edges) + 1
        assert sum(b.before for b in each.bins) == pytest.approx(1)
        assert sum(b.now for b in each.bins) == pytest.approx(1)
        assert each.psi < 5 * each.psi_chance
        assert each.ks < 3 * each.ks_chance
    income = result.features[3]
    assert income.missing_before == pytest.approx(0.05, abs=0.02)
    plan, level, shop, city = result.categories
    assert plan.categories["basic"].before == pytest.approx(0.6, abs=0.03)
    assert level.categories["middle"].now == pytest.approx(0.4, abs=0.05)
    assert shop.categories["(other)"].now == pytest.approx(0.1, abs=0.03)
    assert city.categories["Trier"].now == pytest.approx(0.5, abs=0.05)
    assert sum(each.share_before for each in result.segments) == pytest.approx(1)
    assert result.inertia_before and result.inertia_now
    assert result.mean_distance_now == pytest.approx(result.mean_distance_before, rel=0.1)
    assert Drift.from_json(result.to_json()) == result


def test_segments_name_the_feature_that_differs_most() -> None:
    def change(y: Rows) -> None:
        y[scored(y)[0] == 1, F["visits"]] += 2

    result = drift(5000, 5000, change)
    second = result.segments[1]
    assert second.feature == "visits"
    assert second.psi is not None and second.psi > 0.5
    first = result.segments[0]
    assert first.psi is None or first.psi < 0.05


def test_a_share_of_new_rows_is_an_unseen_category() -> None:
    result = drift(5000, 5000, new_plan, **UNSEEN_PLAN)
    (plan,) = (each for each in result.categories if each.column == "plan")
    assert (plan.unseen, plan.unseen_share, plan.example) == (250, 0.05, "gold")
    assert plan.categories["(unseen)"].now == 0.05


@pytest.mark.parametrize(
    ("test", "shares", "sizes"),
    in_turn(
        [shares_differ, ranks_differ], [[0.5, 0.5], [0.97, 0.02, 0.01], [0.1] * 10],
        [(40, 4000), (300, 300), (4000, 40)], step=2,
    ),
)  # fmt: skip
def test_tests_of_chance_hold_their_level(
    test: Callable[..., bool], shares: list[float], sizes: tuple[int, int]
) -> None:
    n, m = sizes
    rng, level = np.random.default_rng(1), 0.01
    pairs = zip(rng.multinomial(n, shares, 4000), rng.multinomial(m, shares, 4000), strict=True)
    assert sum(test(*pair, level) for pair in pairs) <= 1.5 * level * 4000


def test_tests_of_chance_see_a_shift_of_a_third_of_a_sigma_in_a_thousand_rows() -> None:
    rng, edges = np.random.default_rng(2), np.linspace(-3, 3, 255)
    seen = 0
    for _ in range(100):
        x, y = rng.normal(size=1000), rng.normal(0.3, 1, 1000)
        counts = [np.bincount(np.searchsorted(edges, v), minlength=256) for v in (x, y)]
        seen += ranks_differ(*counts, 1e-6)
    assert seen >= 90
