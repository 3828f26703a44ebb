"""`Preparer`: scikit-learn's scalers on twenty data sets, and what jobs do, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from helpers import FEATURES, customers, matrix, read_parts, run, write_files
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gpuseg
from gpuseg import KMeans, Preparer

Array = npt.NDArray[Any]

SCALERS = {"standard": StandardScaler, "robust": RobustScaler, "minmax": MinMaxScaler}


def data_sets() -> dict[str, Array]:
    """Four real ones, and sixteen of other shapes, offsets and tails; no column is constant."""
    found = {
        load.__name__: load(return_X_y=True)[0]
        for load in (load_breast_cancer, load_digits, load_iris, load_wine)
    }
    rng = np.random.default_rng(0)
    for i in range(16):
        n, d = int(rng.integers(20, 3000)), int(rng.integers(1, 40))
        x = rng.normal(size=(n, d)) if i % 2 else rng.lognormal(0, 1 + i / 8, (n, d))
        found[f"synthetic {i}"] = x * 10.0 ** (i % 5 - 2) + (0, 1e3)[i % 3 == 0]
    varied = {name: x[:, np.ptp(x, axis=0) > 0] for name, x in found.items()}
    return {name: x.astype(np.float32).astype(np.float64) for name, x in varied.items()}


DATA = data_sets()


@pytest.mark.parametrize("scale", SCALERS)
@pytest.mark.parametrize("name", DATA)
def test_equals_scikit_learns_scalers(name: str, scale: str) -> None:
    x = DATA[name]
    if scale == "robust":
        low, high = np.quantile(x, [0.25, 0.75], axis=0)
        x = x[:, high > low]
    expected = SCALERS[scale]().fit(x)
    found = Preparer(scale=scale).fit(x)
    z = found.transform(x)
    assert z.dtype == np.float32
    assert z.tobytes() == found.fit_transform(x).tobytes()
    np.testing.assert_allclose(z, expected.transform(x), rtol=1e-6, atol=1e-6)
    back = found.inverse_transform(expected.transform(x[:9]))
    np.testing.assert_allclose(back, x[:9], rtol=1e-9, atol=1e-9 * np.abs(x).max())


def test_prepares_as_a_job_does(tmp_path: Path) -> None:
    table = customers(600)
    x = matrix(table)
    result = run(
        write_files(tmp_path / "in", [table]), tmp_path / "out",
        prepare={"clip": [0.05, 0.9], "scale": "robust"},
    )  # fmt: skip
    preparer = Preparer(clip=(0.05, 0.9), scale="robust").fit(x)
    p = result.model.preparation
    assert p.shift.tobytes() == preparer.shift_.tobytes()
    assert p.scale.tobytes() == preparer.scale_.tobytes()
    assert p.bounds().tobytes() == preparer.clip_.tobytes()
    labels = KMeans(3, random_state=0).fit_predict(preparer.transform(x))
    assert labels.tolist() == read_parts(tmp_path / "out")["segment"].to_pylist()
    assert gpuseg.load_model(tmp_path / "out" / "_model").predict(x).tolist() == labels.tolist()


def test_in_a_pipeline_with_names() -> None:
    frame = customers(300).to_pandas()[list(FEATURES)].abs()
    frame.loc[[3, 77], "spend"] = np.nan
    preparer = Preparer(missing="median", transforms={"spend": "log1p"}, clip=(0, 0.95))
    pipeline = make_pipeline(preparer, KMeans(3, random_state=0)).fit(frame)
    fitted = pipeline[0]
    assert fitted.get_feature_names_out().tolist() == list(FEATURES)
    assert fitted.fill_[2] == np.float32(frame.spend.median())
    centers = fitted.inverse_transform(pipeline[-1].cluster_centers_)
    assert (centers >= frame.min().to_numpy() - 1e-6).all()
    assert (centers <= frame.max().to_numpy()).all()
    assert pipeline.predict(frame).tolist() == pipeline[-1].labels_.tolist()
    named = clone(preparer).set_output(transform="pandas").fit_transform(frame)
    assert isinstance(named, pd.DataFrame) and named.columns.tolist() == list(FEATURES)


@pytest.mark.parametrize(("params", "x", "message"), [
    ({"missing": "drop"}, [[1.0], [2.0]], "a transformer returns every row"),
    ({"scale": "l2"}, [[1.0], [2.0]], "scale = 'l2': must be 'none', 'standard', 'robust'"),
    ({"clip": (0.9, 0.1)}, [[1.0], [2.0]], "clip = (0.9, 0.1): must be two quantiles that rise"),
    ({"transforms": {"y": "log1p"}}, [[1.0], [2.0]], "transforms.y: not a feature"),
    ({"transforms": "log1p"}, [[1.0], [-1.0]], "'x0': 1 value is at or below -1, first in row 1"),
    ({}, [[1.0], [np.nan]], "'x0': 1 value is missing (null or NaN), first in row 1; missing ="),
    ({}, [[1.0, 2], [1, 3]], "'x0': constant (value 1), and scale = 'standard' divides"),
])  # fmt: skip
def test_refuses(params: dict[str, Any], x: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError) as error:
        Preparer(**params).fit(np.array(x))
    assert message in str(error.value)
    assert "prepare." not in str(error.value) and "input." not in str(error.value)


def test_new_rows_that_cannot_be_prepared() -> None:
    preparer = Preparer(transforms="log1p").fit([[1.0], [2.0]])
    for value in (np.nan, np.inf, -2.0):
        with pytest.raises(gpuseg.DataError, match="first row 1"):
            preparer.transform([[1.0], [value]])


@parametrize_with_checks(
    [Preparer(n_threads=1), Preparer(n_threads=1, missing="mean")],
    expected_failed_checks=lambda _: {
        "check_dtype_object": "object arrays are refused: an object a value is slow, and hides text"
    },
)
def test_scikit_learns_checks(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)
