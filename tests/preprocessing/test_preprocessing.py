"""Preprocessing equals a scikit-learn pipeline in float64, with the same bits for any sharding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Place
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, RobustScaler, StandardScaler
from support.errors import raises
from support.helpers import THOROUGH, in_turn

from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.errors import DataError
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.fit import PreprocessingFit, fit_preprocessing, summarize_raw
from gpuseg.preprocessing.params import PreprocessingParams
from gpuseg.preprocessing.plan import PreprocessingPlan
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding import shard as shard_module

Array = npt.NDArray[Any]

SCALERS = {
    "none": FunctionTransformer(),
    "standard": StandardScaler(),
    "robust": RobustScaler(),
    "minmax": MinMaxScaler(),
}
TRANSFORMS = {
    "none": ("none",) * 4,
    "log1p": ("log1p",) * 4,
    "mixed": ("log1p", "none", "none", "log1p"),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "BLOCK_ROWS", 64)


def customers(n: int) -> Array:
    """Heavy tail and counts, both with missing values; negative values; values far from 0."""
    rng = np.random.default_rng(n)
    x = np.stack(
        [rng.lognormal(3, 2, n), rng.poisson(2, n), -rng.random(n) / 2, 1e4 + rng.normal(size=n)],
        axis=1,
    )
    missing = rng.random((n, 4)) < 0.1
    missing[:, 2:] = False
    return np.where(missing, np.nan, x).astype(np.float32)


def preprocess(
    place: Place, backend: str, x: Array, plan: PreprocessingPlan, shards: int, threads: int = 1
) -> tuple[PreprocessingFit, Array]:
    """Return the fit, and all rows after it."""
    executor, loaded = place(x, None, shards, threads)
    raw = summarize_raw(executor, backend, plan, lambda s, row: f"shard {s}, row {row}")
    fit = fit_preprocessing(executor, backend, plan, raw)
    return fit, np.concatenate([shard.x for shard in loaded])


def bits(fit: PreprocessingFit, z: Array) -> tuple[bytes, ...]:
    t = fit.feature_transform
    arrays = (t.fill, t.bounds(), t.transform, t.shift, t.scale)
    statistics = (fit.mean, fit.std, fit.raw.counts)
    return tuple(array.tobytes() for array in (*arrays, *statistics, z))


def apply_log1p(transform: tuple[str, ...], x: Array) -> Array:
    return np.where([name == "log1p" for name in transform], np.log1p(x), x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "scale", "transform", "missing_and_clip"),
    in_turn([256, 257], SCALERS, TRANSFORMS, [
        ("mean", None), ("median", None), ("drop", None), ("zero", None), ("drop", (0.02, 0.9)),
        ("median", (0.0, 0.95)),
    ], step=7),
)  # fmt: skip
def test_equals_the_scikit_learn_pipeline(
    place: Place,
    n: int,
    scale: str,
    transform: str,
    missing_and_clip: tuple[str, tuple[float, float] | None],
) -> None:
    missing, clip = missing_and_clip
    x = customers(n)
    if missing == "drop":  # rows are dropped where they are read
        x = x[~np.isnan(x).any(axis=1)]
    names = TRANSFORMS[transform]
    plan = PreprocessingPlan(("a", "b", "c", "d"), missing, names, scale, clip=clip)
    strategy = {"median": "median", "zero": "constant"}.get(missing, "mean")
    bounds = np.nanquantile(x.astype(np.float64), clip or (0, 1), axis=0)
    pipeline = make_pipeline(
        SimpleImputer(strategy=strategy, fill_value=0.0),
        FunctionTransformer(lambda values: np.clip(values, *bounds) if clip else values),
        FunctionTransformer(lambda values: apply_log1p(names, values)),
        SCALERS[scale],
    )
    expected = pipeline.fit_transform(x.astype(np.float64))
    results = [
        preprocess(place, backend, x, plan, shards, threads)
        for backend in ("numpy", "numba")
        for shards, threads in ((1, 1), (2, 2), (7, 1))
        if THOROUGH or (backend, shards) in (("numpy", 2), ("numba", 1), ("numba", 7))
    ]
    assert len({bits(*result) for result in results}) == 1
    fit, z = results[0]
    # The rounding of the feature to float32, in scaled units, and the rounding of the result.
    unscaled = pipeline[:3].transform(x.astype(np.float64))
    rounding = 2.0**-22 * np.abs(unscaled).max(axis=0)
    tolerance = rounding / fit.feature_transform.scale + 2.0**-22 * np.abs(expected)
    assert (np.abs(z - expected) <= tolerance).all()
    assert (np.abs(fit.mean - unscaled.mean(axis=0)) <= rounding).all()
    assert (np.abs(fit.std - unscaled.std(axis=0)) <= rounding).all()


@pytest.mark.slow
def test_the_fitted_transform_gives_the_same_rows(backend: Backend, place: Place) -> None:
    """New rows are transformed in one step, rows of the fit may have been in two."""
    for scale in SCALERS:
        for missing, clip in (("mean", None), ("median", (0.05, 0.8)), ("zero", None)):
            x = customers(257)
            plan = PreprocessingPlan(
                ("a", "b", "c", "d"), missing, TRANSFORMS["mixed"], scale, clip=clip
            )
            fit, z = preprocess(place, backend.name, x, plan, 3)
            backend.prepare(x, fit.feature_transform)
            assert x.tobytes() == z.tobytes()


def test_a_shift_of_zero_has_no_sign(place: Place) -> None:
    """The minimum may be 0.0 and -0.0 at the same time; the shift must not depend on the order."""
    plan = PreprocessingPlan(("a",), "error", ("none",), "minmax")
    for values in ([0.0, 1.0, -0.0], [-0.0, 1.0, 0.0], [-0.0, 1.0, -0.0]):
        x = np.tile(np.float32(values)[:, None], (5, 1))
        for backend in ("numpy", "numba"):
            for shards in (1, 2, 3):
                fit, _ = preprocess(place, backend, x, plan, shards)
                assert np.signbit(fit.feature_transform.shift).tolist() == [False]


REFUSED: dict[str, tuple[str, str, str, list[float], str, str, str]] = {
    "missing": ("error", "none", "standard", [1, np.nan, np.nan, 4],
                "feature.missing", "missing", "2 values are missing (null or NaN), first"),
    "infinite": ("mean", "none", "none", [1, 2, 3, -np.inf],
                 "feature.infinite", "features", "1 value is infinite, first in shard 1, row 2"),
    "outside": ("mean", "log1p", "none", [1, -1, 3, 4],
                "feature.outside_log1p", "transform", "1 value is at or below -1, first in shard"),
    "empty": ("mean", "none", "none", [np.nan] * 4,
              "feature.all_missing", "features", "4 rows were read, and none has a value"),
    "no rows": ("drop", "none", "none", [], "rows.none_left", "missing", "no rows"),
    "constant": ("mean", "none", "standard", [7, 7, np.nan, 7],
                 "feature.constant", "scale", "is constant (value 7)"),
    "constant, minmax": ("mean", "none", "minmax", [7, 7, np.nan, 7],
                         "feature.constant", "scale", "is constant (value 7)"),
    "constant middle": ("mean", "none", "robust", [0, 7, 7, 7, 7, 9],
                        "feature.constant", "scale", "in its middle half"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_values(backend: Backend, place: Place, case: str) -> None:
    """Errors have the feature, the count and the first row."""
    missing, transform, scale, values, code, parameter, detail = REFUSED[case]
    plan = PreprocessingPlan(("a",), missing, (transform,), scale)
    with raises(code, DataError, parameter=parameter) as caught:
        preprocess(place, backend.name, np.array(values)[:, None], plan, shards=2)
    assert detail in caught.value.problem


@pytest.mark.slow
def test_rows_on_a_device_get_the_same_bits(place: Place, cuda: Backend) -> None:
    """With powers, components, and a dropped feature that repeats another."""
    rng = np.random.default_rng(0)
    x = rng.lognormal(0, 1, (600, 4)).astype(np.float32)
    x[:, 2], x[::7, 0] = x[:, 1] * 2, np.nan
    transform = ("yeo-johnson", "none", "none", "log1p")
    for unit in (False, True):
        plan = PreprocessingPlan(
            ("a", "b", "c", "d"), "median", transform, "standard", unit, drop_correlated=0.99, pca=2
        )
        results = []
        for backend in ("numpy", "numba", "cuda"):
            executor, loaded = place(x, None, 3)
            executor.apply(passes.to_device, backend)
            raw = summarize_raw(executor, backend, plan, lambda s, row: "")
            fit = fit_preprocessing(executor, backend, plan, raw)
            assert fit.features == ("a", "b", "d") and list(fit.dropped) == ["c"]
            z = np.concatenate([registry.get(backend).to_host(shard.x) for shard in loaded])
            assert z.shape == (600, 2)
            projection = fit.feature_transform.projection
            assert projection is not None
            powers, components = fit.feature_transform.powers(), projection.components
            results.append((*bits(fit, z), powers.tobytes(), components.tobytes()))
        assert len(set(results)) == 1


def test_powers_of_many_rows_are_fitted_to_a_sample(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).lognormal(1, 1, (4000, 2)).astype(np.float32)
    plan = PreprocessingPlan(("a", "b"), "error", ("yeo-johnson",) * 2, "standard")
    full_fit, _ = preprocess(place, "numba", x, plan, 1)
    monkeypatch.setattr("gpuseg.preprocessing.yeo_johnson_fit.SAMPLE_ROWS", 1000)
    results = [preprocess(place, "numba", x, plan, shards) for shards in (1, 3)]
    assert len({bits(*result) for result in results}) == 1
    powers = results[0][0].feature_transform.powers()
    assert powers.tobytes() != full_fit.feature_transform.powers().tobytes()
    np.testing.assert_allclose(powers, full_fit.feature_transform.powers(), atol=0.1)
    for _, z in results:  # the scale is that of all rows
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-5)


def test_roles_of_features() -> None:
    """The one-hot features of a category belong together; flags are no numbers."""
    params = PreprocessingParams(categorical={"c": "onehot", "d": "frequency"})
    encoders = [
        Encoder("x"),
        Encoder("c", "onehot", "text", ("a", "b")),
        Encoder("d", "frequency", "text", ("u",), (0.5, 0.5)),
        Encoder("x", "is missing"),
    ]
    plan = params.plan(encoders, unit=False)
    assert plan.features == ("x", "c=a", "c=b", "d", "x is missing")
    assert plan.is_number().tolist() == [True, False, False, True, False]
    assert [features.tolist() for features in plan.categories()] == [[1, 2]]
    assert [features.tolist() for features in plan.take([2, 4]).categories()] == [[0]]
