"""Preparation: what scikit-learn's pipeline computes in float64, the same bits for any sharding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Place
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, RobustScaler, StandardScaler
from support.helpers import in_turn

from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.errors import DataError
from gpuseg.preprocessing.fit import PreprocessingFit, fit_preparation
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
    """A heavy tail with holes, counts with holes, all below 0, and ages far from 0."""
    rng = np.random.default_rng(n)
    x = np.stack(
        [rng.lognormal(3, 2, n), rng.poisson(2, n), -rng.random(n) / 2, 1e4 + rng.normal(size=n)],
        axis=1,
    )
    holes = rng.random((n, 4)) < 0.1
    holes[:, 2:] = False
    return np.where(holes, np.nan, x).astype(np.float32)


def prepared(
    place: Place, backend: str, x: Array, recipe: PreprocessingPlan, shards: int, threads: int = 1
) -> tuple[PreprocessingFit, Array]:
    executor, placed = place(x, None, shards, threads)
    found = fit_preparation(executor, backend, recipe, lambda s, row: f"shard {s}, row {row}")
    return found, np.concatenate([shard.x for shard in placed])


def bits(found: PreprocessingFit, x: Array) -> tuple[bytes, ...]:
    p, raw = found.preparation, found.raw
    arrays = (
        p.fill,
        p.bounds(),
        p.transform,
        p.shift,
        p.scale,
        found.mean,
        found.std,
        raw.counts,
        x,
    )
    return tuple(array.tobytes() for array in arrays)


def logged(transform: tuple[str, ...], x: Array) -> Array:
    return np.where([name == "log1p" for name in transform], np.log1p(x), x)


@pytest.mark.parametrize(
    ("n", "scale", "transform", "how"),
    in_turn([256, 257], SCALERS, TRANSFORMS, [
        ("mean", None), ("median", None), ("drop", None), ("zero", None), ("drop", (0.02, 0.9)),
        ("median", (0.0, 0.95)),
    ]),
)  # fmt: skip
def test_equals_the_scikit_learn_pipeline(
    place: Place,
    n: int,
    scale: str,
    transform: str,
    how: tuple[str, tuple[float, float] | None],
) -> None:
    missing, clip = how
    x = customers(n)
    if missing == "drop":  # rows are dropped where they are read
        x = x[~np.isnan(x).any(axis=1)]
    names = TRANSFORMS[transform]
    recipe = PreprocessingPlan(("a", "b", "c", "d"), missing, names, scale, clip=clip)
    strategy = {"median": "median", "zero": "constant"}.get(missing, "mean")
    ends = np.nanquantile(x.astype(np.float64), clip or (0, 1), axis=0)
    pipeline = make_pipeline(
        SimpleImputer(strategy=strategy, fill_value=0.0),
        FunctionTransformer(lambda values: np.clip(values, *ends) if clip else values),
        FunctionTransformer(lambda values: logged(names, values)),
        SCALERS[scale],
    )
    expected = pipeline.fit_transform(x.astype(np.float64))
    found = [
        prepared(place, backend, x, recipe, shards, threads)
        for backend in ("numpy", "numba")
        for shards, threads in ((1, 1), (2, 2), (7, 1))
    ]
    assert len({bits(*one) for one in found}) == 1
    fit, z = found[0]
    # What float32 rounds off the feature, in the scaled units, and once more at the end.
    unscaled = pipeline[:3].transform(x.astype(np.float64))
    rounding = 2.0**-22 * np.abs(unscaled).max(axis=0)
    tolerance = rounding / fit.preparation.scale + 2.0**-22 * np.abs(expected)
    assert (np.abs(z - expected) <= tolerance).all()
    assert (np.abs(fit.mean - unscaled.mean(axis=0)) <= rounding).all()
    assert (np.abs(fit.std - unscaled.std(axis=0)) <= rounding).all()


def test_the_saved_preparation_gives_the_same_rows(backend: Backend, place: Place) -> None:
    """What scores a new customer is applied in one step, what fitted may have taken two."""
    for scale in SCALERS:
        for missing, clip in (("mean", None), ("median", (0.05, 0.8)), ("zero", None)):
            x = customers(257)
            recipe = PreprocessingPlan(
                ("a", "b", "c", "d"), missing, TRANSFORMS["mixed"], scale, clip=clip
            )
            found, z = prepared(place, backend.name, x, recipe, 3)
            backend.prepare(x, found.preparation)
            assert x.tobytes() == z.tobytes()


def test_the_sign_of_zero_depends_on_nothing(place: Place) -> None:
    """Two zeros of other signs may both be the least value; the shift is the one without."""
    recipe = PreprocessingPlan(("a",), "error", ("none",), "minmax")
    for values in ([0.0, 1.0, -0.0], [-0.0, 1.0, 0.0], [-0.0, 1.0, -0.0]):
        x = np.tile(np.float32(values)[:, None], (5, 1))
        for backend in ("numpy", "numba"):
            for shards in (1, 2, 3):
                found, _ = prepared(place, backend, x, recipe, shards)
                assert np.signbit(found.preparation.shift).tolist() == [False]


REFUSED = {
    "missing": ("error", "none", "standard", [1, np.nan, np.nan, 4],
                "feature 'a': 2 values are missing .* first in shard 1, row 0; .* allows none"),
    "infinite": ("mean", "none", "none", [1, 2, 3, -np.inf],
                 "feature 'a': 1 value is infinite, first in shard 1, row 2; .* finite"),
    "outside": ("mean", "log1p", "none", [1, -1, 3, 4],
                "feature 'a': 1 value is at or below -1, first in shard 1, row 0; .* 'none'"),
    "empty": ("mean", "none", "none", [np.nan] * 4,
              "feature 'a': all 4 values are missing; leave it out"),
    "constant": ("mean", "none", "standard", [7, 7, np.nan, 7],
                 "feature 'a': constant .value 7., .* standard deviation, which is 0"),
    "constant, minmax": ("mean", "none", "minmax", [7, 7, np.nan, 7],
                         "feature 'a': constant .value 7., .* max - min, which is 0"),
    "constant middle": ("mean", "none", "robust", [0, 7, 7, 7, 7, 9],
                        "feature 'a': constant in its middle half .* interquartile range"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_with_feature_count_place_and_rule(
    backend: Backend, place: Place, case: str
) -> None:
    missing, transform, scale, values, message = REFUSED[case]
    recipe = PreprocessingPlan(("a",), missing, (transform,), scale)
    with pytest.raises(DataError, match=message):
        prepared(place, backend.name, np.array(values)[:, None], recipe, shards=2)


def test_rows_on_a_device_are_prepared_alike(place: Place, cuda: Backend) -> None:
    """Powers, components, and a feature left out that repeats another."""
    rng = np.random.default_rng(0)
    x = rng.lognormal(0, 1, (600, 4)).astype(np.float32)
    x[:, 2], x[::7, 0] = x[:, 1] * 2, np.nan
    how = ("yeo-johnson", "none", "none", "log1p")
    for unit in (False, True):
        recipe = PreprocessingPlan(
            ("a", "b", "c", "d"), "median", how, "standard", unit,
            drop_correlated=0.99, pca=2,
        )  # fmt: skip
        results = []
        for backend in ("numpy", "numba", "cuda"):
            executor, placed = place(x, None, 3)
            executor.apply(passes.move, backend)
            found = fit_preparation(executor, backend, recipe, lambda s, row: "")
            assert found.features == ("a", "b", "d") and list(found.dropped) == ["c"]
            z = np.concatenate([registry.get(backend).to_host(shard.x) for shard in placed])
            assert z.shape == (600, 2)
            projection = found.preparation.projection
            assert projection is not None
            components = projection.components.tobytes()
            results.append((*bits(found, z), found.preparation.powers().tobytes(), components))
        assert len(set(results)) == 1


def test_powers_of_many_rows_are_found_from_a_part(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).lognormal(1, 1, (4000, 2)).astype(np.float32)
    recipe = PreprocessingPlan(("a", "b"), "error", ("yeo-johnson",) * 2, "standard")
    whole, _ = prepared(place, "numba", x, recipe, 1)
    monkeypatch.setattr("gpuseg.preprocessing.yeo_johnson_fit.SAMPLE_ROWS", 1000)
    parts = [prepared(place, "numba", x, recipe, shards) for shards in (1, 3)]
    assert len({bits(*one) for one in parts}) == 1
    found = parts[0][0].preparation.powers()
    assert found.tobytes() != whole.preparation.powers().tobytes()
    np.testing.assert_allclose(found, whole.preparation.powers(), atol=0.1)
    for _, own in parts:  # scaled by all rows all the same
        np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(own.std(axis=0), 1, atol=1e-5)
