"""scikit-learn under `gpuseg.accel`: the same results, and who computed them."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import sklearn.cluster
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.cluster import DBSCAN, BisectingKMeans, KMeans, MiniBatchKMeans
from sklearn.metrics import silhouette_samples, silhouette_score
from sklearn.model_selection import GridSearchCV
from support.helpers import in_turn

from gpuseg import accel
from gpuseg.accel.engine import move_centers
from gpuseg.accel.replacements import REPLACEMENTS
from gpuseg.accel.settings import current_settings
from gpuseg.errors import ConfigError

Array = npt.NDArray[Any]


@pytest.fixture
def always() -> Iterator[None]:
    """Let gpuseg compute all it can."""
    accel.install(min_saving=0)
    yield
    accel.uninstall()


@pytest.fixture
def calls(always: None, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "gpuseg.accel")
    return caplog


def computed_by_gpuseg(calls: pytest.LogCaptureFixture) -> list[bool]:
    return [": gpuseg, " in record.getMessage() for record in calls.records]


def without_accel(estimator: Any, *arguments: Any, **options: Any) -> Any:
    """Fit a copy by scikit-learn alone."""
    before = current_settings().min_saving
    accel.uninstall()
    fitted = clone(estimator).fit(*arguments, **options)
    accel.install(min_saving=before)
    return fitted


def blobs(dtype: Any = np.float64, seed: int = 0) -> Array:
    """Return 600 rows around five centers that overlap, far from zero."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-5, 5, (5, 4))
    return np.asarray(100 + centers[np.arange(600) % 5] + rng.normal(size=(600, 4)), dtype)


WEIGHT = np.arange(600) % 4


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "tol": {"tol": 0},
    "max_iter": {"max_iter": 3},
    "random": {"init": "random", "n_init": 4},
    "elkan": {"algorithm": "elkan"},
    "copy_x": {"copy_x": False},
    "function": {
        "init": lambda X, k, random_state: X[random_state.permutation(len(X))[:k]],
        "n_init": 2,
    },
}


@pytest.mark.parametrize(
    ("options", "dtype", "weighted"),
    in_turn(OPTIONS, [np.float32, np.float64], [False, True], step=2),
)
def test_k_means_is_that_of_scikit_learn(
    options: str, dtype: Any, weighted: bool, calls: pytest.LogCaptureFixture
) -> None:
    weight = WEIGHT if weighted else None
    X, estimator = blobs(dtype), KMeans(5, random_state=3, **OPTIONS[options])
    expected = without_accel(estimator, X.copy(), sample_weight=weight)
    model = clone(estimator).fit(X, sample_weight=weight)
    assert any(computed_by_gpuseg(calls))
    rtol = 1e-9 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(model.cluster_centers_, expected.cluster_centers_, rtol)
    np.testing.assert_allclose(model.inertia_, expected.inertia_, rtol)
    assert model.labels_.tolist() == expected.labels_.tolist()
    assert model.labels_.dtype == expected.labels_.dtype
    assert model.cluster_centers_.dtype == dtype
    assert model.n_iter_ == expected.n_iter_
    assert model.predict(X).tolist() == model.labels_.tolist()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_size_of_the_values_does_not_matter(scale: float, calls: Any) -> None:
    X, estimator = (blobs() - 100) * scale, KMeans(5, random_state=0)
    expected = without_accel(estimator, X)
    model = estimator.fit(X)
    assert computed_by_gpuseg(calls) == [True]
    np.testing.assert_allclose(model.inertia_, expected.inertia_, 1e-9)


def test_clusters_below_the_resolution_of_float32(calls: Any) -> None:
    X = 1e6 * np.repeat(np.eye(4), 50, axis=0) + np.random.default_rng(0).normal(size=(200, 4))
    X[::2] += 1e-4 * blobs()[:100]
    estimator = KMeans(8, random_state=0)
    expected = without_accel(estimator, X)
    model = estimator.fit(X)
    assert computed_by_gpuseg(calls) == [False]
    assert "float32" in calls.text
    assert model.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()


@pytest.mark.parametrize(
    ("estimator", "is_left"),
    [
        (KMeans(np.int64(3), random_state=0, max_iter=np.int32(20), tol=np.float32(1e-3)), False),
        (KMeans(3, random_state=0, max_iter=2_000_000), True),
        (DBSCAN(np.float32(1.0), min_samples=np.int64(4)), False),
        (DBSCAN(1.0, min_samples=2**40), True),
    ],
    ids=["k-means of NumPy", "k-means", "DBSCAN of NumPy", "DBSCAN"],
)
def test_numbers_of_numpy_and_beyond_the_limits(estimator: Any, is_left: bool, calls: Any) -> None:
    expected = without_accel(estimator, blobs())
    model = clone(estimator).fit(blobs())
    assert computed_by_gpuseg(calls) == [not is_left]
    assert model.labels_.tolist() == expected.labels_.tolist()


def test_random_states_are_used_up_as_by_scikit_learn(always: None) -> None:
    left = []
    for accelerated in (True, False):
        state = np.random.RandomState(5)
        estimator = KMeans(5, random_state=state, n_init=2)
        estimator.fit(blobs())
        left.append(state.randint(10**6))
        if accelerated:
            accel.uninstall()
    assert left[0] == left[1]


@pytest.mark.parametrize(
    ("X", "options"),
    [
        (csr_matrix(blobs()), {}),
        (blobs(), {"verbose": 1}),
    ],
    ids=["sparse", "verbose"],
)
def test_scikit_learn_computes_the_rest(X: Any, options: dict[str, Any], calls: Any) -> None:
    KMeans(3, random_state=0, n_init=1, **options).fit(X)
    assert computed_by_gpuseg(calls) == [False]


def test_negative_weights_are_left_to_scikit_learn(calls: Any) -> None:
    weight = np.ones(600)
    weight[0] = -0.5
    KMeans(3, init=blobs()[:3]).fit(blobs(), sample_weight=weight)
    assert computed_by_gpuseg(calls) == [False]


def test_what_is_small_is_left_to_scikit_learn(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gpuseg.accel")
    accel.install()
    X = blobs()
    labels = KMeans(3, random_state=0).fit_predict(X)
    DBSCAN().fit(X)
    silhouette_score(X, labels)
    accel.uninstall()
    assert computed_by_gpuseg(caplog) == [False] * 3


@pytest.mark.slow
def test_gpuseg_takes_over_when_many_iterations_are_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "gpuseg.accel")
    monkeypatch.setattr("gpuseg.accel.costs.loading_seconds", lambda: 0.0)
    X = np.random.default_rng(0).normal(size=(200_000, 8)).astype(np.float32)
    estimator = KMeans(8, init=X[:8], n_init=1, max_iter=40, tol=0)
    accel.install(min_saving=0.001)
    model = clone(estimator).fit(X)
    accel.uninstall()
    assert computed_by_gpuseg(caplog) == [True]
    assert "iterations 1 " not in caplog.text
    assert model.n_iter_ == 40
    np.testing.assert_allclose(model.inertia_, estimator.fit(X).inertia_, 1e-4)


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
@pytest.mark.parametrize(
    ("metric", "p"),
    [("euclidean", None), ("l1", None), ("chebyshev", None), ("minkowski", 2), ("minkowski", 1)],
)
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_dbscan_is_that_of_scikit_learn(
    weight: Array | None, metric: str, p: float | None, dtype: Any, calls: Any
) -> None:
    grid = np.round(blobs() * (10 if dtype == np.int32 else 1), 1)  # many pairs at distance eps
    X = pd.DataFrame(grid.astype(dtype), columns=list("abcd"))
    eps = 1.5 if metric == "l1" or p == 1 else 0.7
    estimator = DBSCAN(10 * eps if dtype == np.int32 else eps, metric=metric, p=p)
    expected = without_accel(estimator, X, sample_weight=weight)
    model = clone(estimator).fit(X, sample_weight=weight)
    assert computed_by_gpuseg(calls) == [True]
    assert 0 < len(model.core_sample_indices_) < 600
    for name in ("labels_", "core_sample_indices_", "components_", "feature_names_in_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))
        assert getattr(model, name).dtype == getattr(expected, name).dtype


@pytest.mark.parametrize(
    "options",
    [{"metric": "cosine"}, {"metric": "euclidean", "metric_params": {}, "n_jobs": 0}],
    ids=str,
)
def test_dbscan_that_is_left_to_scikit_learn(options: dict[str, Any], calls: Any) -> None:
    try:
        DBSCAN(**options).fit(blobs())
    except ValueError:
        assert options.get("n_jobs") == 0
    assert computed_by_gpuseg(calls) == [False]


def test_fractions_as_weights_are_left_to_scikit_learn(calls: Any) -> None:
    DBSCAN().fit(blobs(), sample_weight=np.full(600, 0.1))
    assert computed_by_gpuseg(calls) == [False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_silhouettes_are_those_of_scikit_learn(dtype: Any, calls: Any) -> None:
    X, labels = blobs(dtype), np.arange(600) % 5 * (np.arange(600) > 0) + 7
    samples = silhouette_samples(X, labels)
    score = silhouette_score(X, labels, sample_size=300, random_state=0)
    assert computed_by_gpuseg(calls) == [True, True]
    accel.uninstall()
    np.testing.assert_allclose(samples, silhouette_samples(X, labels), atol=2e-6)
    expected = silhouette_score(X, labels, sample_size=300, random_state=0)
    np.testing.assert_allclose(score, expected, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-50, 1e50])
def test_silhouettes_do_not_depend_on_the_size_of_the_values(scale: float, calls: Any) -> None:
    X, labels = blobs(), np.arange(600) % 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = [silhouette_score(values, labels) for values in (X, X * scale)]
    assert computed_by_gpuseg(calls) == [True, True]
    np.testing.assert_allclose(*scores, atol=2e-6)


def test_k_means_of_values_whose_reciprocal_is_beyond_float32() -> None:
    X = np.float32([[-100], [-99], [99], [100]]) * np.float32(2.0**-140)
    moved = move_centers(X, np.ones(4, np.float32), X[[0, 3]], 10, 1e-4, 1)
    assert (moved.centers * 2.0**140).tolist() == [[-99.5], [99.5]]


def test_other_metrics_of_silhouettes_are_left_to_scikit_learn(calls: Any) -> None:
    silhouette_score(blobs(), WEIGHT, metric="manhattan")
    assert computed_by_gpuseg(calls) == [False]


def test_mini_batch_k_means_where_asked(calls: Any) -> None:
    X = blobs()
    estimator = MiniBatchKMeans(5, random_state=0, n_init=1)
    expected = clone(estimator).fit(X)
    assert computed_by_gpuseg(calls) == [False]
    accel.install(mini_batch=True)
    model = clone(estimator).fit(X)
    assert model.inertia_ <= expected.inertia_ * (1 + 1e-9)
    assert set(vars(expected)) - set(vars(model)) <= {
        name for name in vars(expected) if name.startswith("_")
    }
    assert model.predict(X).tolist() == model.labels_.tolist()
    assert isinstance(model.partial_fit(X[:100]), MiniBatchKMeans)


@pytest.mark.parametrize("init", [blobs()[:5], "random", lambda X, k, random_state: X[:k]])
def test_mini_batch_k_means_starts_where_it_should(init: Any, calls: Any) -> None:
    accel.install(mini_batch=True)
    MiniBatchKMeans(5, init=init, random_state=0).fit(blobs())
    assert computed_by_gpuseg(calls) == [True] * (1 if isinstance(init, np.ndarray) else 3)


def test_a_bisection_uses_the_same_runs(calls: Any) -> None:
    estimator = BisectingKMeans(4, random_state=0)
    expected = without_accel(estimator, blobs())
    model = estimator.fit(blobs())
    assert any(computed_by_gpuseg(calls))
    assert model.labels_.tolist() == expected.labels_.tolist()
    assert pickle.loads(pickle.dumps(model)).predict(blobs()).tolist() == model.labels_.tolist()


def test_pickles_know_nothing_of_gpuseg(always: None) -> None:
    for model in (KMeans(3, n_init=1).fit(blobs()), DBSCAN().fit(blobs())):
        assert b"gpuseg" not in pickle.dumps(model)


def test_a_search_goes_on_working(always: None) -> None:
    search = GridSearchCV(KMeans(random_state=0), {"n_clusters": [2, 5]}).fit(blobs())
    assert search.best_params_ == {"n_clusters": 5}


def test_warnings_and_errors_are_those_of_scikit_learn(always: None) -> None:
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="distinct clusters"):
        KMeans(3, n_init=1).fit([[0.0], [0.0], [1.0]])
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        KMeans(3).fit([[0.0], [1.0]])
    with pytest.raises(ValueError, match="NaN"):
        DBSCAN().fit([[np.nan], [1.0]])
    with pytest.raises(ValueError, match="eps"):
        DBSCAN(eps=-1).fit([[0.0], [1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DBSCAN().fit([[0.0], [1.0]])


def test_uninstalling_puts_everything_back() -> None:
    modules = [sys.modules[name] for name in REPLACEMENTS]
    before = [dict(vars(module)) for module in modules]
    fit = sklearn.cluster.DBSCAN.fit
    accel.install()
    accel.install()
    assert sklearn.cluster.DBSCAN.fit is not fit
    accel.uninstall()
    assert [dict(vars(module)) for module in modules] == before
    assert sklearn.cluster.DBSCAN.fit is fit


def test_a_notebook_loads_it_as_an_extension() -> None:
    fit = DBSCAN.fit
    accel.load_ipython_extension(None)
    assert DBSCAN.fit is not fit
    accel.unload_ipython_extension(None)
    assert DBSCAN.fit is fit


def test_unknown_versions_compute_by_themselves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fit = DBSCAN.fit
    monkeypatch.setattr(sklearn, "__version__", "2.0")
    accel.install()
    assert DBSCAN.fit is fit
    accel.uninstall()
    assert "knows versions" in caplog.text


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError) as caught:
        accel.install(min_saving=-1)
    assert caught.value.code == "min_saving.invalid"
    accel.uninstall()


def run(*arguments: str, code: int = 0) -> str:
    """Run ``python -m gpuseg.accel``; return what it writes."""
    done = subprocess.run(
        [sys.executable, "-m", "gpuseg.accel", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


SCRIPT = """
import pickle, sys
from sklearn.cluster import KMeans

class Kept:
    pass

kept = pickle.loads(pickle.dumps(Kept()))
assert type(kept) is Kept and __name__ == "__main__"
print(sys.argv[1:], KMeans(2, random_state=0).fit([[0.0], [1.0], [9.0]]).inertia_)
sys.exit(3)
"""


@pytest.mark.slow
def test_a_script_runs_unchanged(tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    text = run("-v", "--min-saving", "0", str(script), "-v", "--x", code=3)
    assert "['-v', '--x'] 0.5" in text
    assert "3 × 1, 2 clusters: gpuseg" in text


def test_a_script_without_scikit_learn_stays_light() -> None:
    heavy = "('numpy', 'sklearn', 'numba', 'pyarrow')"
    text = run("-c", f"import sys; print([m for m in {heavy} if m in sys.modules], sys.argv)", "a")
    assert text.strip() == "[] ['-c', 'a']"
    assert "usage" in run("-m", "json.tool", "--help")


def test_a_script_keeps_its_annotations() -> None:
    """Postponed evaluation of annotations is for the scripts that ask for it."""
    text = run("-c", "def f(x: int): pass\nprint(f.__annotations__)")
    assert text.strip() == "{'x': <class 'int'>}"


@pytest.mark.parametrize(
    "arguments", [[], ["-x"], ["-m"], ["--min-saving", "much", "a.py"], ["no-such-file.py"]]
)
def test_wrong_command_lines_are_refused(arguments: list[str]) -> None:
    assert "usage:" in run(*arguments, code=2)


@pytest.mark.slow
def test_some_of_scikit_learns_tests_pass() -> None:
    """The guide says how to run all of them; these are of what gpuseg computes."""
    chosen = "relocated or weighted_vs_repeated or float_precision or result_equal or dbscan_core"
    text = run(
        *("--min-saving", "0", "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("-p", "no:xdist", "-k", f"({chosen}) and not sparse and not MiniBatch", "--pyargs"),
        *("sklearn.cluster.tests.test_k_means", "sklearn.cluster.tests.test_dbscan"),
    )
    assert " passed" in text and "failed" not in text
