"""Short scripts for other libraries, whose import alone is changed: they run, or say what to do."""

from __future__ import annotations

import pytest

RUN = {
    "quickstart": """
        X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        km = KMeans(n_clusters=2, random_state=0, n_init="auto").fit(X)
        assert km.labels_.tolist() == km.predict(X).tolist()
        """,
    "elbow": """
        inertias = []
        for k in range(1, 6):
            km = KMeans(n_clusters=k, init="k-means++", max_iter=300, n_init=10, random_state=42)
            inertias.append(km.fit(blobs).inertia_)
        assert inertias == sorted(inertias, reverse=True)
        """,
    "silhouettes": """
        scores = {
            k: silhouette_score(blobs, KMeans(k, random_state=10).fit_predict(blobs))
            for k in range(2, 6)
        }
        assert max(scores, key=scores.get) == 3
        """,
    "places": """
        places = np.radians([[48.1, 11.5], [48.1, 11.501], [52.5, 13.4]])
        db = DBSCAN(eps=1.5 / 6371, min_samples=1, algorithm="ball_tree", metric="haversine")
        assert db.fit(places).labels_.tolist() == [0, 0, 1]
        """,
    "all processors": """
        db = DBSCAN(eps=1, min_samples=4, metric="minkowski", p=1, leaf_size=40, n_jobs=-1)
        assert set(db.fit_predict(blobs)) >= {0, 1, 2}
        """,
    "search": """
        steps = Pipeline([("scale", StandardScaler()), ("km", KMeans(random_state=0))])
        grid = {"km__n_clusters": np.arange(2, 4), "km__algorithm": ["lloyd", "elkan"]}
        search = GridSearchCV(steps, grid, cv=3).fit(blobs)
        assert search.best_params_["km__n_clusters"] == 3
        """,
    "frame": """
        frame = pd.DataFrame({"income": [15, 16, 17, 80, 81, 82], "age": [3, 8, 6, 7, 4, 3]})
        frame["cluster"] = KMeans(n_clusters=2, random_state=0).fit_predict(frame)
        assert frame.groupby("cluster").income.mean().round().tolist() in ([16, 81], [81, 16])
        """,
    "colors": """
        picture = np.random.default_rng(0).integers(0, 255, (20, 20, 3)) / 255
        km = KMeans(n_clusters=4, random_state=0).fit(picture.reshape(-1, 3))
        assert km.cluster_centers_[km.labels_].reshape(picture.shape).max() <= 1
        """,
}

REFUSED = {
    "distances": ('DBSCAN(metric="precomputed").fit(blobs @ blobs.T)', "pass the rows"),
    "sparse": ("KMeans(2).fit(csr_matrix(blobs))", "toarray"),
    "text": ('KMeans(2).fit(pd.DataFrame({"sex": ["f", "m"] * 3}))', "Preprocessor"),
    "dates": ('KMeans(2).fit(pd.DataFrame({"day": pd.to_datetime(["2026-01-02"] * 3)}))', "days"),
    "old word": ("KMeans(3, n_jobs=-1)", "use n_threads"),
    "words of a GPU": ('KMeans(n_clusters=3, oversampling_factor=2, output_type="x")', "NumPy"),
    "memory of a GPU": ("DBSCAN(eps=0.6, max_mbytes_per_batch=100)", "leave it out"),
    "words of Dask": ("KMeans(3, init_max_iter=2)", "leave it out"),
    "seeding of others": ('KMeans(3, init="k-means||").fit(blobs)', r"use 'k-means\+\+'"),
    "slip": ("KMeans(n_cluster=3)", "did you mean 'n_clusters'"),
    "no client": ("KMeans(3).fit(da.from_array(blobs))", "start one"),
}

HEAD = """
import dask.array as da
import numpy as np
import pandas as pd
from gpuseg import DBSCAN, KMeans, silhouette_score
from scipy.sparse import csr_matrix
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

blobs, _ = make_blobs(90, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
"""


def run(script: str) -> None:
    exec(compile(f"{HEAD}\nif True:{script}", "script", "exec"), {})


@pytest.mark.parametrize("name", RUN)
def test_runs(name: str) -> None:
    run(RUN[name])


@pytest.mark.parametrize("name", REFUSED)
def test_says_what_to_do(name: str) -> None:
    script, step = REFUSED[name]
    with pytest.raises((ValueError, TypeError, RuntimeError), match=step):
        run(f"\n    {script}")
