"""Lookalikes: the rows nearest to a segment, by brute force, and however they are divided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.errors import raises
from support.fitted_outputs import fitted, new_rows
from support.helpers import Array

from gpuseg import SegmentModel, load_model
from gpuseg.errors import ConfigError
from gpuseg.models.dbscan import DBSCANModel
from gpuseg.models.hierarchical import HierarchicalModel
from gpuseg.models.kmeans import KMeansModel
from gpuseg.models.segment_points import SegmentPoints
from gpuseg.runtime.executor import TaskContext
from gpuseg.scoring.lookalikes import LIKE_DISTANCE, NearestRows, liked_segment

BACKENDS = ("numpy", "numba")


def rows_of(name: str) -> tuple[SegmentModel, Array]:
    model = load_model(fitted(name))
    return model, model.pipeline.transform(new_rows(name), "numpy")


def to_points(z: Array, points: Array) -> Array:
    """Return the distance of each row to its nearest point, features added in their order."""
    squares = np.zeros((len(z), len(points)))
    for f in range(z.shape[1]):
        squares += (z[:, f, None].astype(np.float64) - points[None, :, f]) ** 2
    return np.sqrt(squares.min(axis=1))


def of_segment(model: SegmentModel, column: str, number: int) -> Array:
    """Return the points that stand for a segment."""
    match model:
        case KMeansModel():
            return model.centers.values[number : number + 1]
        case HierarchicalModel():
            n = model.n_clusters if column == "segment" else int(column.removeprefix("segment_"))
            return model.micro.centers.values[model.hierarchy.cut(n) == number]
        case DBSCANModel():
            return model.core_rows.x[model.core_rows.label == number].astype(np.float64)
    raise TypeError(model)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "segment", "column", "number"),
    [
        ("plain", "2", "segment", 2),
        ("all_steps", "0", "segment", 0),
        ("hierarchy", "4", "segment", 4),
        ("hierarchy", "segment_3=1", "segment_3", 1),
        ("dbscan", "1", "segment", 1),
    ],
)
@pytest.mark.filterwarnings("ignore:column")
def test_distances_are_those_to_the_points_of_the_segment(
    backend: str, name: str, segment: str, column: str, number: int
) -> None:
    model, z = rows_of(name)
    liked = liked_segment(model, segment, {})
    assert (liked.number, liked.column) == (number, column)
    distances = liked.distances(z, backend, TaskContext(2))
    expected = to_points(z, of_segment(model, column, number))
    assert distances.tobytes() == expected.tobytes()
    parts = [liked.distances(z[i : i + 7], backend, TaskContext()) for i in range(0, len(z), 7)]
    assert np.concatenate(parts).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["dbscan_of_all", "dbscan_cosine", "dbscan_haversine"])
@pytest.mark.filterwarnings("ignore:column")
def test_distances_to_the_nearest_segment_are_those_of_scores(name: str) -> None:
    model, z = rows_of(name)
    scores = model.score_rows(z, "numba", TaskContext(), with_next=False)
    points = model.segment_points()
    assert points is not None
    numbers = np.unique(points.segment_of["segment"]).tolist()
    distances = [
        liked_segment(model, str(n), {}).distances(z, "numba", TaskContext()) for n in numbers
    ]
    assert np.min(distances, axis=0).astype(np.float32).tobytes() == scores.distance.tobytes()


def test_a_name_comes_before_a_number() -> None:
    model, _ = rows_of("plain")
    names = {0: "high spend", 1: "3", 2: "a=1"}
    numbers = [liked_segment(model, text, names).number for text in ("high spend", "3", "a=1", "2")]
    assert numbers == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("plain", "4"), ("plain", "-1"), ("plain", ""), ("plain", "1.0"), ("plain", " 1"),
        ("plain", "segment_4=1"), ("hierarchy", "segment_3=3"), ("hierarchy", "segment_4=1"),
        ("dbscan", "-1"), ("dbscan", "loyal"),
    ],
)  # fmt: skip
def test_segments_that_do_not_exist(name: str, segment: str) -> None:
    model, _ = rows_of(name)
    with raises("like.unknown_segment", ConfigError):
        liked_segment(model, segment, {0: "loyal customers"})


def test_models_without_points(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_points(model: KMeansModel) -> SegmentPoints | None:
        return None

    monkeypatch.setattr(KMeansModel, "segment_points", no_points)
    with raises("like.not_available", ConfigError):
        liked_segment(rows_of("plain")[0], "0", {})


# The nearest rows.

IDS: dict[str, Any] = {
    "int64": lambda n: pa.array(n),
    "text": lambda n: pa.array([f"é{i:05}" if i % 3 else f"z{i:05}" for i in n.tolist()]),
    "dictionary": lambda n: pa.array([f"{i:05}" for i in n.tolist()]).dictionary_encode(),
    "view": lambda n: pa.array([f"{i:05}" for i in n.tolist()], pa.string_view()),
    "decimal": lambda n: pa.array(n).cast(pa.decimal128(25, 2)),
    "gaps": lambda n: pa.array([i if i % 4 else None for i in n.tolist()]),
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("n", [1, 10, 777, 5000])
def test_the_nearest_rows_do_not_depend_on_the_division(kind: str, n: int) -> None:
    rng = np.random.default_rng(n)
    size = 3000
    distance = rng.integers(0, 40, size) / 8
    distance[::500] = np.inf
    rows = pa.table({
        LIKE_DISTANCE: distance, "id": IDS[kind](rng.integers(0, 900, size)),
        "row": np.arange(size), "segment": rng.integers(0, 5, size),
    })  # fmt: skip
    ids = rows["id"].to_pylist()
    in_order = {value: i for i, value in enumerate(sorted({*ids} - {None}))} | {None: size}
    order = sorted(range(size), key=lambda i: (distance[i], in_order[ids[i]], i))
    expected = {name: [v[i] for i in order[:n]] for name, v in rows.to_pydict().items()}
    for cuts in ([], [1000, 2000], range(7, size, 130)):
        nearest = NearestRows(n, ["id", "row"])
        parts = [rows.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, size], strict=True)]
        for part in rng.permutation(len(parts)).tolist():
            nearest.add(parts[part])
        assert nearest.table().to_pydict() == expected


def test_equal_rows_do_not_fill_the_memory() -> None:
    nearest = NearestRows(10, ["row"])
    for i in range(50):
        nearest.add(pa.table({LIKE_DISTANCE: np.zeros(1000), "row": np.arange(1000) + 1000 * i}))
        assert sum(map(len, nearest._kept)) <= 1020
    assert nearest.table()["row"].to_pylist() == list(range(10))
