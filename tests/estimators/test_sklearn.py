"""With scikit-learn: pipelines, searches, containers for the output, tags."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from gpuseg import KMeans

Array = npt.NDArray[Any]

NAMES = ["recency", "orders", "spend"]


@pytest.fixture(scope="module")
def x() -> Array:
    """Four blobs, in features of very different sizes."""
    rng = np.random.default_rng(0)
    centers = rng.uniform(-10, 10, (4, 3))
    rows = centers[np.arange(240) % 4] + 0.5 * rng.normal(size=(240, 3))
    return np.asarray(rows * [1.0, 1e-3, 1e4] + [0.0, 5.0, 1e5])


@pytest.fixture
def frame(x: Array) -> pd.DataFrame:
    return pd.DataFrame(x, columns=NAMES, index=np.arange(240) + 7)


def model(**params: Any) -> KMeans:
    return KMeans(**{"n_clusters": 4, "random_state": 0, **params})


def piped(**params: Any) -> Pipeline:
    return make_pipeline(StandardScaler(), model(**params))


def test_a_pipeline_is_its_steps(x: Array, frame: pd.DataFrame) -> None:
    scaled = StandardScaler().fit_transform(x)
    single, whole = model().fit(scaled), piped().fit(frame)
    assert whole.fit_predict(frame).tolist() == single.labels_.tolist()
    assert whole.predict(frame).tolist() == single.labels_.tolist()
    assert whole.transform(frame).tobytes() == single.transform(scaled).tobytes()
    assert whole.score(frame) == single.score(scaled)
    assert np.bincount(single.labels_).tolist() == [60] * 4
    names = whole.get_feature_names_out()
    assert names.tolist() == ["kmeans0", "kmeans1", "kmeans2", "kmeans3"]


def test_weights_reach_the_last_step(x: Array) -> None:
    weight = np.arange(240) % 3
    scaled = StandardScaler().fit_transform(x)
    whole = piped().fit(x, kmeans__sample_weight=weight)
    single = model().fit(scaled, sample_weight=weight)
    assert whole[-1].cluster_centers_.tobytes() == single.cluster_centers_.tobytes()


def test_weights_are_routed(x: Array) -> None:
    weight = np.arange(240) % 3
    scaled = StandardScaler().fit_transform(x)
    with sklearn.config_context(enable_metadata_routing=True):
        requesting = (
            model().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        steps = [StandardScaler().set_fit_request(sample_weight=False), requesting]
        whole = make_pipeline(*steps).fit(x, sample_weight=weight)
    single = model().fit(scaled, sample_weight=weight)
    assert whole[-1].cluster_centers_.tobytes() == single.cluster_centers_.tobytes()


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_output_containers(frame: pd.DataFrame, container: str) -> None:
    pytest.importorskip(container)
    whole = piped().set_output(transform=container)
    distances = whole.fit_transform(frame)
    assert type(distances).__module__.startswith(container)
    assert list(distances.columns) == [f"kmeans{i}" for i in range(4)]
    assert np.array_equal(distances.to_numpy(), piped().fit_transform(frame.to_numpy()))
    assert whole[-1].feature_names_in_.tolist() == NAMES
    if container == "pandas":
        assert distances.index.tolist() == frame.index.tolist()


def test_distances_among_other_features(frame: pd.DataFrame) -> None:
    table = frame.assign(country=np.where(np.arange(240) % 2, "DE", "FR"))
    columns = ColumnTransformer(
        [("near", piped(), NAMES), ("where", OneHotEncoder(sparse_output=False), ["country"])]
    ).set_output(transform="pandas")
    made = columns.fit_transform(table)
    assert list(made.columns) == [
        *(f"near__kmeans{i}" for i in range(4)), "where__country_DE", "where__country_FR",
    ]  # fmt: skip
    union = FeatureUnion([("few", model(n_clusters=2)), ("many", model())])
    assert union.fit_transform(frame).shape == (240, 6)


def test_distances_are_features_of_a_classifier(x: Array) -> None:
    blob = np.arange(240) % 4
    whole = make_pipeline(StandardScaler(), model(), LogisticRegression())
    assert cross_val_score(whole, x, blob, cv=3).min() == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_grid_search_over_the_number_of_clusters(x: Array, metric: str) -> None:
    folds = KFold(3, shuffle=True, random_state=0)
    counts = [1, 2, 4]
    search = GridSearchCV(piped(metric=metric), {"kmeans__n_clusters": counts}, cv=folds)
    search.fit(x)
    expected = [
        [
            piped(metric=metric, n_clusters=k).fit(x[train]).score(x[test])
            for train, test in folds.split(x)
        ]
        for k in counts
    ]
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores, np.mean(expected, axis=1), rtol=1e-12)
    assert scores.tolist() == sorted(scores)
    assert search.best_params_ == {"kmeans__n_clusters": 4}
    best = search.best_estimator_
    assert best.predict(x).tolist() == piped(metric=metric).fit(x)[-1].labels_.tolist()


def test_parameters_that_break_a_rule_fail_the_search(x: Array) -> None:
    search = GridSearchCV(model(), {"n_clusters": [0]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="n_clusters = 0: must be at least 1"):
        search.fit(x)


def test_parameters(x: Array) -> None:
    estimator = model(metric="cosine", n_init=2)
    assert estimator.get_params()["metric"] == "cosine"
    assert estimator.set_params(metric="euclidean", n_clusters=3) is estimator
    assert estimator.fit(x).cluster_centers_.shape == (3, 3)
    with pytest.raises(ValueError, match="Invalid parameter 'distance'"):
        estimator.set_params(distance="cosine")
    assert repr(model(metric="cosine")) == "KMeans(metric='cosine', n_clusters=4, random_state=0)"


def test_tags() -> None:
    tags = model().__sklearn_tags__()
    assert tags.estimator_type == "clusterer"
    assert tags.transformer_tags is not None
    assert not tags.target_tags.required
    assert not tags.input_tags.sparse
    assert tags.input_tags.two_d_array
    assert not tags.input_tags.allow_nan
    assert not tags.no_validation
    assert sklearn.base.is_clusterer(model())
