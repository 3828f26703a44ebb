"""The audit: groups in the segments, and small counts that nobody can compute."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats.contingency import association
from support.errors import raises

import gpuseg
from gpuseg.errors import ConfigError, DataError
from gpuseg.profiling.audit.audit import audit_column
from gpuseg.profiling.audit.suppression import hidden_cells, upper_bound


def with_everyone(cells: Any) -> np.ndarray:
    table = np.array(cells, np.int64)
    return np.vstack([table, table.sum(axis=0)])


def test_nothing_is_hidden_where_all_counts_are_large() -> None:
    assert not hidden_cells(with_everyone([[10, 40], [30, 20]]), 10).any()


def test_one_small_count_takes_others_with_it() -> None:
    """Alone it could be computed from the size of its segment, and from everyone's count."""
    table = with_everyone([[4, 96], [50, 50], [60, 40]])
    hidden = hidden_cells(table, 10)
    assert hidden[0].all()
    assert hidden[:, 0].sum() >= 2 and hidden[:, 1].sum() >= 2
    assert upper_bound(table, hidden, 0, 0, 10) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_no_small_count_is_disclosed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(2, 7, 2)
    cells = rng.poisson(rng.choice([3.0, 15.0, 60.0], shape))
    cells[:, 0] += 25  # segments are larger than the threshold
    cells[:2] += 10  # and so are groups
    table = with_everyone(cells)
    hidden = hidden_cells(table, 10)
    assert hidden[table < 10].all()
    for row, column in np.argwhere(table < 10).tolist():
        required = min(20, table[row].sum(), table[-1, column])
        assert upper_bound(table, hidden, row, column, 10) >= required - 1e-6


def test_a_tiny_segment_does_not_hide_the_others() -> None:
    table = with_everyone([[4000, 3000], [2500, 1500], [900, 1200], [2, 3]])
    hidden = hidden_cells(table, 10)
    assert hidden[3].all() and hidden.sum() == 4
    large = np.random.default_rng(0).poisson(200, (60, 20))
    large[7] = 0
    large[7, :3] = [1, 3, 1]
    assert hidden_cells(with_everyone(large), 10).mean() < 0.1


def test_hiding_does_not_go_too_far() -> None:
    """Of a hundred random tables with few small counts most of what is large is shown."""
    rng = np.random.default_rng(0)
    shown = []
    for _ in range(30):
        cells = rng.poisson(60, (6, 5))
        cells[tuple(rng.integers(0, [6, 5]))] = 3
        table = with_everyone(cells)
        shown.append(1 - hidden_cells(table, 10).mean())
    assert np.mean(shown) > 0.8


def counted(cells: Any, names: Any) -> dict[tuple[int, str | None], int]:
    return {(i, name): int(cells[i][j]) for i in range(len(cells)) for j, name in enumerate(names)}


def test_ratios_and_cramers_v_are_those_of_the_table() -> None:
    cells = np.array([[300, 100, 50], [100, 300, 60]])
    result = audit_column(counted(cells, ["F", "M", None]), [0, 1], 10)
    assert result.groups == (
        "F",
        "M",
        "(missing)",
    )  # by name: an order by size would disclose which is larger
    assert result.everyone == (400, 400, 110)
    ratio, low, high = result.segments["0"].ratios[0]
    assert ratio == pytest.approx((300 / 450) / (400 / 910))
    assert low < ratio < high
    assert high / ratio == pytest.approx(math.exp(1.96 * math.sqrt(1 / 300 - 1 / 450)), rel=1e-4)
    assert result.cramers_v == pytest.approx(association(cells, "cramer"))
    assert not result.is_lower_bound and result.n_hidden == 0


def test_rare_groups_are_others_and_nothing_follows_for_hidden_ones() -> None:
    cells = [[500, 400, 3, 2, 8], [300, 450, 4, 1, 90]]
    result = audit_column(counted(cells, ["a", "b", "c", "d", "e"]), [0, 1], 10)
    assert result.groups == ("a", "b", "e", "(other)")  # c and d are ten together
    assert result.everyone[3] is None or result.everyone[3] == 10
    numbers = [n for segment in result.segments.values() for n in segment.counts if n is not None]
    assert min(numbers) >= 10
    assert result.is_lower_bound
    for segment in result.segments.values():
        for count, ratio in zip(segment.counts, segment.ratios, strict=True):
            assert (count is None) <= (ratio is None)


def test_cramers_v_of_what_is_shown_is_no_more_than_the_true_one() -> None:
    cells = [[15, 53, 198, 53], [22, 25, 913, 58], [58, 857, 73, 194], [68, 2, 941, 3]]
    result = audit_column(counted(cells, "abcd"), range(4), 10)
    assert result.is_lower_bound
    assert result.cramers_v <= association(np.array(cells), "cramer")
    rng = np.random.default_rng(0)
    for _ in range(50):
        table = rng.poisson(rng.gamma(1, 40, (4, 5))) + 1
        result = audit_column(counted(table, "abcde"), range(4), 10)
        if result.cramers_v is not None and "(other)" not in str(result.groups):
            assert result.cramers_v <= association(table, "cramer") + 1e-12


def test_values_called_missing_and_other_are_distinct() -> None:
    cells = [[90, 80, 70], [60, 50, 90]]
    result = audit_column(counted(cells, ["(missing)", None, "(other)"]), [0, 1], 10)
    assert sorted(result.groups) == ['"(missing)"', '"(other)"', "(missing)"]


def test_segments_smaller_than_the_threshold_are_hidden_whole() -> None:
    result = audit_column(counted([[400, 300], [2, 3]], ["a", "b"]), [0, 1], 10)
    assert result.segments["1"].counts == (None, None)
    assert result.segments["1"].ratios == (None, None)


def job(
    folder: Path, n: int = 2000, gaps: float = 0.003, **audited: Any
) -> tuple[dict[str, Any], pa.Table]:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, n)
    gender = np.where(rng.random(n) < np.array([0.2, 0.5, 0.8])[kind], "F", "M").astype(object)
    gender[rng.random(n) < gaps] = None
    table = pa.table({
        "id": np.arange(n),
        "a": rng.normal(kind * 5.0, 1),
        "b": np.where(rng.random(n) < 0.02, np.nan, rng.normal(kind, 1)),
        "gender": pa.array(gender.tolist(), pa.string()),
        "country": pa.array(rng.choice(["DE", "FR", "US", "NZ"], n, p=[0.6, 0.3, 0.097, 0.003])),
        "visits": pa.array(rng.integers(0, 10**6, n)),
    })  # fmt: skip
    pq.write_table(table, folder / "in.parquet", row_group_size=300)
    spec = {
        "input": {"path": str(folder / "in.parquet"), "id": "id"},
        "prepare": {"missing": "drop"},
        "segment": {"n_clusters": 3},
        "audit": {"columns": ["gender", "country", "visits"]},
        "output": {"path": str(folder / "out")},
    }
    return spec | audited, table


def test_columns_are_counted_and_not_clustered_by(tmp_path: Path) -> None:
    spec, table = job(tmp_path, audit=["gender", "country", "visits"])
    with pytest.raises(DataError, match="'visits' has more than 1,000 different values"):
        gpuseg.run(spec)
    section = {"columns": ["gender", "country"], "threshold": 3}
    spec, table = job(tmp_path, gaps=0.1, audit=section)
    spec["input"]["features"] = ["a", "b"]
    manifest = gpuseg.run(spec).manifest
    assert list(manifest["features"]) == ["a", "b"]
    written = pq.read_table(sorted((tmp_path / "out").glob("part-*"))).to_pandas()
    truth = written.merge(table.to_pandas(), on="id").groupby(["segment", "gender"]).size()
    audit = manifest["audit"]["gender"]
    compared = 0
    for segment, audited in audit["segments"].items():
        for group, count in zip(audit["groups"], audited["counts"], strict=True):
            if group in "FM":
                assert truth[int(segment), group] == count
                compared += 1
    assert compared == 6
    assert audit["cramers_v"] > 0.25
    assert manifest["job"]["audit"]["threshold"] == 3


def test_features_by_default_leave_audited_columns_out(tmp_path: Path) -> None:
    spec, _ = job(tmp_path, audit=["visits"])
    with pytest.raises(DataError, match="1,000 different values"):
        gpuseg.run(spec)
    spec["audit"] = {"columns": ["gender"]}
    assert list(gpuseg.run(spec).manifest["features"]) == ["a", "b", "visits"]


def test_no_small_count_is_in_any_file(tmp_path: Path) -> None:
    """All numbers of the audit, wherever they are written, are at least the threshold."""
    spec, table = job(tmp_path, audit=["gender", "country"])
    spec["input"]["features"] = ["a", "b"]
    gpuseg.run(spec)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    for column, audit in manifest["audit"].items():
        rows = [segment["counts"] for segment in audit["segments"].values()] + [audit["everyone"]]
        shown = [count for counts in rows for count in counts if count is not None]
        assert shown and min(shown) >= 10
        hidden = np.array([[count is None for count in counts] for counts in rows])
        truth = _truth(tmp_path, table, column, audit, manifest)
        for row, cell in np.argwhere(truth < 10):
            assert hidden[row, cell]
            assert upper_bound(truth, hidden, int(row), int(cell), 10) >= 10 - 1e-6
    rest = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".parquet")]
    assert len(rest) == 4
    for path in rest:
        if path.name != "_manifest.json":
            assert b"country" not in path.read_bytes()


def _truth(
    folder: Path, table: pa.Table, column: str, audit: dict[str, Any], manifest: dict[str, Any]
) -> np.ndarray:
    """The true counts, arranged as in the audit."""
    written = pq.read_table(sorted((folder / "out").glob("part-*"))).to_pandas()
    both = written.merge(table.to_pandas(), on="id")
    values = both[column].fillna("(missing)")
    values = values.where(values.isin(audit["groups"]), audit["groups"][-1])
    assert audit["groups"][-1].endswith("(other)")
    cells = [
        [int(((both["segment"] == s["segment"]) & (values == g)).sum()) for g in audit["groups"]]
        for s in manifest["segments"]
    ]
    return with_everyone(cells)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"audit": ["a"], "input": {"features": ["a", "b"]}}, "input.features"),
        ({"audit": ["id"]}, "input.id"),
        ({"audit": ["gender"], "prepare": {"categorical": {"gender": "onehot"}}}, "categorical"),
        ({"audit": {"columns": ["gender"], "threshold": 1}}, "audit.threshold"),
        ({"audit": {"colums": ["gender"]}}, "colums"),
        ({"audit": ["gender", "gender"]}, "must name each column once; repeated: gender"),
        ({"audit": {"threshold": 20}}, "there is nothing to audit"),
        ({"audit": "gender"}, "must be a list of columns, or a section"),
    ],
)
def test_wrong_audits(change: dict[str, Any], text: str, tmp_path: Path) -> None:
    spec, _ = job(tmp_path)
    spec = {
        key: {**spec[key], **change[key]} if key in ("input", "prepare") and key in change else keys
        for key, keys in {**spec, **{k: v for k, v in change.items() if k == "audit"}}.items()
    }
    with pytest.raises(ConfigError) as error:
        gpuseg.run(spec)
    assert text in str(error.value)


def test_column_that_is_not_there_and_one_that_is_no_group(tmp_path: Path) -> None:
    spec, _ = job(tmp_path, audit=["gendre"])
    with raises("audit_columns.missing_column", DataError, parameter="audit_columns"):
        gpuseg.run(spec)
    spec["audit"] = ["b"]
    spec["input"]["features"] = ["a"]
    with raises("audit.not_a_category", DataError, parameter="audit_columns"):
        gpuseg.run(spec)
