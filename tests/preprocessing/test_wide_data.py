"""Wide data: correlations, shares and jobs of many features."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.helpers import in_turn, read_parts

import gpuseg
from gpuseg.numerics.reproducible_sums import finer_magic, finer_magics, grid_magic, grid_magics
from gpuseg.preprocessing import correlations as module
from gpuseg.preprocessing.correlations import Correlations
from gpuseg.preprocessing.fit import MAX_COMPARED, MAX_NOTES
from gpuseg.preprocessing.screening import _mode_share, _outlier_share
from gpuseg.profiling.pca_map import _MAX_EXACT, _main_components
from gpuseg.profiling.selection import MAX_FEATURES


def correlated(n: int = 500, d: int = 40) -> np.ndarray:
    """Features of which some follow from others, more or less closely; two are constant."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    for f in range(1, d, 3):
        x[:, f] = x[:, f - 1] * (-1) ** f + rng.normal(size=n) * rng.uniform(0, 0.6)
    x[:, [5, 6]], x[:, 7], x[:, 8] = 3.0, 1e6 + x[:, 0], x[:, 0]
    return x.astype(np.float32)


@pytest.mark.parametrize(("threshold", "block"), in_turn([0.5, 0.95, 1.0], [128, 3], step=2))
def test_correlated_pairs_are_those_of_all_pairs(
    threshold: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    x = correlated()
    measured = Correlations(x, "numpy")
    features = [f for f in range(x.shape[1]) if f != 3]
    exact = {(i, j): measured.exact(i, j) for i in features for j in features if i < j}
    expected = [pair for pair, r in exact.items() if abs(r) >= threshold]
    assert list(measured.pairs(features, threshold)) == expected
    repeated: dict[int, int] = {}
    for i, j in expected:
        if i not in repeated:
            repeated.setdefault(j, i)
    assert measured.repeated(features, threshold) == repeated
    with np.errstate(invalid="ignore"):
        r = np.nan_to_num(np.corrcoef(x.astype(np.float64), rowvar=False))
    assert [exact[pair] for pair in exact] == pytest.approx([r[pair] for pair in exact], abs=1e-6)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_correlations_have_the_same_bits_on_all_backends(backend: str) -> None:
    x = correlated(100, 12)
    assert Correlations(x, backend).exact(0, 1) == Correlations(x, "numpy").exact(0, 1)


def test_correlations_of_no_rows_and_of_one() -> None:
    for x in (np.empty((0, 3), np.float32), np.ones((1, 3), np.float32)):
        assert Correlations(x, "numpy").repeated([0, 1, 2], 0.5) == {}
        assert Correlations(x, "numpy").exact(0, 1) == 0.0


def test_shares_of_values_by_column() -> None:
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, 4, (7, 300)).astype(np.float32) ** 6, axis=1)
    columns[0] = 2.0
    expected = [np.unique(values, return_counts=True)[1].max() / 300 for values in columns]
    assert _mode_share(columns).tolist() == expected
    low, high = np.quantile(columns.astype(np.float64), [0.25, 0.75], axis=1)
    far = 3 * (high - low)
    outside = (columns < (low - far)[:, None]) | (columns > (high + far)[:, None])
    assert _outlier_share(columns).tolist() == np.where(far > 0, outside.mean(axis=1), 0).tolist()
    assert _mode_share(np.ones((2, 1), np.float32)).tolist() == [1.0, 1.0]


def test_grids_of_arrays_are_those_of_numbers() -> None:
    largest = np.array([0.0, 1e-300, 1.0, 3.0, 4.0, 1e30, 5e-324])
    magics = grid_magics(7, largest)
    assert magics.tolist() == [grid_magic(7, value) for value in largest.tolist()]
    assert finer_magics(7, magics).tolist() == [finer_magic(7, m) for m in magics.tolist()]
    with pytest.raises(ValueError, match="finite"):
        grid_magics(10, np.array([1e308]))


def test_main_components_of_many_columns() -> None:
    rng = np.random.default_rng(0)
    d = _MAX_EXACT + 50
    x = rng.normal(size=(400, 2)) * [20, 9] @ rng.normal(size=(2, d)) + rng.normal(size=(400, d))
    x -= x.mean(axis=0)
    variance, directions, total = _main_components(x)
    values, vectors = np.linalg.eigh(x.T @ x)
    assert variance == pytest.approx(values[[-1, -2]], rel=1e-9)
    assert total == pytest.approx(values.sum())
    assert np.abs((directions * vectors[:, [-1, -2]]).sum(axis=0)) == pytest.approx(1.0)


def run(x: np.ndarray, folder: Path, **prepare: Any) -> gpuseg.RunResult:
    table = pa.table({"id": np.arange(len(x)), **{f"f{f}": x[:, f] for f in range(x.shape[1])}})
    pq.write_table(table, folder / "in.parquet")
    return gpuseg.run({
        "input": {"path": str(folder / "in.parquet"), "id": "id"},
        "prepare": prepare,
        "segment": {"n_clusters": 3},
        "output": {"path": str(folder / "out")},
    })  # fmt: skip


@pytest.mark.slow
def test_of_many_features_those_that_distinguish_segments_are_described(tmp_path: Path) -> None:
    rng, d = np.random.default_rng(0), MAX_COMPARED + 200
    x = rng.normal(size=(300, d)).astype(np.float32)
    telling = np.arange(3, d, d // 20)
    x[:, telling] += 5 * rng.integers(0, 3, 300)[:, None]
    record = run(x, tmp_path).record
    assert record.n_features == d
    assert (len(record.features), record.other_features) == (MAX_FEATURES, d - MAX_FEATURES)
    assert {f"f{f}" for f in telling} <= set(record.features)
    assert record.job["input"]["features"] == [f"f{f}" for f in range(d)]
    for segment in record.segments:
        assert set(segment.center) == set(segment.quantiles) == set(record.features)
    assert record.profile is not None
    assert record.profile.rules is not None
    assert record.profile.map is not None
    assert record.failures == ()
    assert len(record.preparation.redundant) == 1
    out = tmp_path / "out"
    assert (out / "_report.html").stat().st_size < 400_000
    assert (out / "_manifest.json").stat().st_size < 400_000
    examples = json.loads((out / "_examples.json").read_text())
    assert set(examples[0]["features"]) == set(record.features)
    model = gpuseg.load_model(str(out))
    assert np.array_equal(
        model.predict(pq.read_table(tmp_path / "in.parquet")),
        read_parts(out)["segment"].to_numpy(),
    )


def test_notes_on_correlated_features_are_few(tmp_path: Path) -> None:
    x = np.repeat(np.random.default_rng(0).normal(size=(60, 1)), 40, axis=1).astype(np.float32)
    assert len(run(x, tmp_path).record.preparation.redundant) == MAX_NOTES + 1
