"""A saved model scores a table in one pass: the answers of the job, counts, and errors."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support import helpers
from support.change_at import ChangeAt
from support.errors import raises
from support.fitted_outputs import CASES, fitted, kept_rows, new_rows
from support.helpers import call, customers, cut, leftovers, listing, read_parts, run, write_files

import gpuseg
from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.jobs.regenerate_report import regenerate_report
from gpuseg.jobs.score import plan
from gpuseg.manifest import FIT_MANIFEST, ScoresManifest
from gpuseg.models import base
from gpuseg.models.loading import load_output
from gpuseg.reporting.scores_table import scores_table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FEW = (
    "hashed_ids", "no_id", "types_of_numbers", "drop", "large_offsets_scaled", "ordinal",
    "dropped_features", "first_of_duplicates", "vectors_with_gaps", "hierarchy",
    "dbscan_of_all", "all_steps",
)  # fmt: skip
"""Cases that together have every kind of column, of preparation and of algorithm."""


def reordered(table: pa.Table) -> pa.Table:
    """Return the columns in another order, with one that no model knows."""
    names = list(reversed(table.column_names))
    return table.select(names).append_column("unknown", pa.array([None] * len(table), pa.string()))


def score(model: Path, table: pa.Table, folder: Path, **options: Any) -> gpuseg.ScoreResult:
    """Score a table that is cut into files and small row groups."""
    n = max(len(table) // 3, 1)
    source = write_files(folder / "in", cut(table, n, n // 2 or 1), row_group_size=64)
    return gpuseg.score(model, source, folder / "out", **options)


def assert_like_the_job(case: str, scored: pa.Table) -> None:
    """Compare all columns of a scored table with those of the job, and their types."""
    labels = read_parts(fitted(case))
    assert scored.schema.equals(labels.schema)
    for name in labels.column_names:
        assert scored[name].to_pylist() == labels[name].to_pylist(), name


@pytest.mark.parametrize("case", CASES if helpers.THOROUGH else FEW)
def test_output_is_that_of_the_job(case: str, tmp_path: Path) -> None:
    with_confidence = bool(CASES[case].output.get("confidence"))
    result = score(fitted(case), reordered(kept_rows(case)), tmp_path, confidence=with_confidence)
    scored = read_parts(tmp_path / "out")
    assert_like_the_job(case, scored)
    record = result.record
    assert record.input.rows == len(scored) and record.input.rows_dropped == 0
    assert sum(s.rows for s in record.segments) + (
        record.other_segments.customers if record.other_segments else 0
    ) == len(scored)
    fit = load_output(fitted(case)).manifest
    assert record.scored_with.run_id == fit.run_id
    if fit.input.weight is None and case != "first_of_duplicates":
        shares = {segment.segment: segment.share for segment in fit.segments}
        assert {s.segment: s.share for s in record.segments} == shares
    assert ScoresManifest.from_json(json.loads(json.dumps(result.manifest))) == record


@pytest.mark.slow
@pytest.mark.parametrize("case", ["drop", "hierarchy", "dbscan_of_all"])
def test_workers_write_the_same(case: str, tmp_path: Path, two_workers: dict[str, Any]) -> None:
    table, runtime = kept_rows(case), [f"runtime.cluster={two_workers['cluster']}"]
    results = [
        score(fitted(case), table, tmp_path / "local", overrides=["runtime.threads_per_worker=1"]),
        score(fitted(case), table, tmp_path / "dask", overrides=runtime),
    ]
    one, other = (read_parts(Path(result.path)) for result in results)
    assert one.equals(other)
    assert results[0].record.segments == results[1].record.segments
    assert results[1].record.executor.n_workers == 2


def test_steps_of_dbscan_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = "dbscan_of_many_core_rows"
    monkeypatch.setattr(base, "BLOCK_ROWS", 1)
    model = gpuseg.load_model(fitted(case))
    assert 2 * model.rows_together(1) < len(kept_rows(case))
    score(fitted(case), kept_rows(case), tmp_path, overrides=["runtime.threads_per_worker=1"])
    assert_like_the_job(case, read_parts(tmp_path / "out"))


def test_new_rows_are_counted(tmp_path: Path) -> None:
    case = "all_steps"
    table, model = new_rows(case), gpuseg.load_model(fitted(case))
    record = score(fitted(case), table, tmp_path).record
    expected, scored = model.score(table), read_parts(tmp_path / "out")
    assert scored["segment"].to_pylist() == expected.segment.tolist()
    assert scored["distance"].to_pylist() == expected.distance.tolist()
    gaps = {name: table[name].null_count for name in model.pipeline.columns}
    assert record.missing == {name: n for name, n in gaps.items() if n}
    transform = model.feature_transform
    at = model.features.index("spend")
    low, high = transform.bounds()[:, at].tolist()
    spend = table["spend"].to_numpy().astype(np.float32)
    assert record.clipped["spend"] == ((spend < low) | (spend > high)).sum()
    known = {e.column: e.categories for e in model.pipeline.encoders if e.kind == "frequency"}
    (unseen,) = [item for item in record.unseen if item.column == "country"]
    is_new = [value not in known["country"] for value in table["country"].to_pylist()]
    assert (unseen.rows, unseen.example) == (sum(is_new), "ZZ")
    file, row = divmod(is_new.index(True), len(table) // 3)
    assert f"row {row} of in-{file:03d}.parquet" in unseen.place
    for segment in record.segments:
        distances = expected.distance[expected.segment == segment.segment].tolist()
        mean = float(sum(map(Fraction, distances)) / len(distances)) if distances else None
        assert segment.mean_distance == mean


def test_rows_with_gaps_are_dropped_as_at_the_fit(tmp_path: Path) -> None:
    table = kept_rows("drop")
    holes = np.arange(len(table)) % 7 == 3
    age = pa.array(table["age"].to_numpy(), mask=holes)
    table = table.set_column(table.column_names.index("age"), "age", age)
    record = score(fitted("drop"), table, tmp_path).record
    assert (record.input.rows_dropped, record.missing) == (holes.sum(), {"age": holes.sum()})
    labels = read_parts(fitted("drop")).filter(pa.array(~holes))
    assert read_parts(tmp_path / "out").to_pydict() == labels.to_pydict()
    assert len(record.warnings) == 1


def with_value(name: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    """Return a change of one value of a column."""

    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        values[row] = value
        return table.set_column(table.column_names.index(name), name, pa.array(values))

    return change


def as_text(name: str) -> Callable[[pa.Table], pa.Table]:
    """Return a change of the type of a column."""
    return lambda table: table.set_column(
        table.column_names.index(name), name, table[name].cast(pa.string())
    )


WRONG_TABLES: dict[str, tuple[str, Callable[[pa.Table], pa.Table], str, list[str]]] = {
    "column missing": (
        "plain", lambda t: t.drop_columns(["spend"]), "column.missing",
        ["'spend'", "in-000.parquet", "add the column, or rename one: the table also has"],
    ),
    "column has another name": (
        "plain", lambda t: t.rename_columns({"spend": "Spend"}), "column.missing",
        ["if 'Spend' has these values, rename it to 'spend'"],
    ),
    "id missing": (
        "plain", lambda t: t.drop_columns(["customer"]), "id.missing_column", ["'customer'"],
    ),
    "number is text": ("plain", as_text("spend"), "column.changed_type", ["'spend'", "string"]),
    "category is number": (
        "categories_only", lambda t: t.set_column(0, "country", [list(range(len(t)))])
        if t.column_names[0] == "country"
        else t.drop_columns(["country"]).append_column("country", [list(range(len(t)))]),
        "column.changed_type", ["'country'", "text"],
    ),
    "no value": (
        "plain", with_value("spend", 130, None), "rows.not_scored",
        ["1 row", "'spend'", "no value", "row 30 of in-001.parquet"],
    ),
    "not a number": (
        "plain", with_value("spend", 5, math.nan), "rows.not_scored", ["'spend'", "nan"],
    ),
    "infinite, though clipped": (
        "clip_log1p", with_value("spend", 299, math.inf), "rows.not_scored",
        ["'spend'", "inf", "row 149 of in-002.parquet", "must be finite"],
    ),
    "beyond float32": (
        "plain", with_value("spend", 0, 1e300), "rows.not_scored", ["'spend'", "1e+300"],
    ),
    "out of domain": (
        "zero", with_value("spend", 10, -2.5), "rows.not_scored",
        ["'spend'", "-2.5", "log1p", "row 10 of in-000.parquet"],
    ),
    "vector of another length": (
        "vectors", lambda t: t.drop_columns(["embedding"]).append_column(
            "embedding", pa.array([[1.0]] * len(t), pa.list_(pa.float64()))
        ), "vector.wrong_shape", ["'embedding'", "row 0"],
    ),
    "category is no whole number": (
        "one_hot_of_all", lambda t: t.set_column(
            t.column_names.index("store"), "store", [[7.0] * 250 + [None, 2.5] + [7.0] * 48]
        ), "column.changed_type", ["'store'", "2.5", "row 101 of in-002", "whole numbers"],
    ),
    "category is infinite": (
        "one_hot_of_all", lambda t: t.set_column(
            t.column_names.index("store"), "store", [[7.0] * 250 + [None, math.inf] + [7.0] * 48]
        ), "column.changed_type", ["'store'", "the value inf", "row 101 of in-002"],
    ),
    "no rows": ("plain", lambda t: t.slice(0, 0), "input.no_rows", []),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_tables_that_do_not_suit(name: str, tmp_path: Path) -> None:
    case, change, code, words = WRONG_TABLES[name]
    with raises(code, DataError) as caught:
        score(fitted(case), change(kept_rows(case)), tmp_path)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)
    assert not (tmp_path / "out").exists() and leftovers(tmp_path) == []


def test_all_wrong_rows_are_counted(tmp_path: Path) -> None:
    table = kept_rows("plain")
    spend = np.where(np.arange(len(table)) % 50 == 49, np.nan, table["spend"].to_numpy())
    table = table.set_column(table.column_names.index("spend"), "spend", [spend])
    with raises("rows.not_scored", DataError) as caught:
        score(fitted("plain"), table, tmp_path)
    assert "6 rows" in str(caught.value) and "row 49 of in-000" in str(caught.value)


def test_ids_of_several_rows(tmp_path: Path) -> None:
    model = fitted("text_ids")
    table = kept_rows("text_ids")
    table = pa.concat_tables([table, table.slice(0, 3)])
    record = score(model, table, tmp_path, id="text_id").record
    (warning,) = record.warnings
    assert "3 rows" in warning
    without = gpuseg.score(model, tmp_path / "in", tmp_path / "no_ids", id="")
    assert read_parts(tmp_path / "no_ids").column_names == ["segment", "distance"]
    assert without.record.warnings == ()


def test_an_output_of_scores(tmp_path: Path) -> None:
    model = fitted("plain")
    table = kept_rows("plain")
    first = score(model, table, tmp_path)
    out = tmp_path / "out"
    assert (
        gpuseg.load_model(out).predict(table).tolist()
        == gpuseg.load_model(model).predict(table).tolist()
    )
    assert load_output(out).run_id == first.record.scored_with.run_id
    again = gpuseg.score(out, tmp_path / "in", tmp_path / "again")
    assert again.record.scored_with.run_id == first.record.scored_with.run_id
    assert again.record.segments == first.record.segments
    with raises("output.exists", ConfigError):
        gpuseg.score(model, tmp_path / "in", out)
    second = gpuseg.score(model, tmp_path / "in", out, overwrite=True)
    assert second.record.run_id != first.record.run_id
    with raises("output.other_kind", ConfigError):
        gpuseg.score(out, tmp_path / "in", run_of_customers(tmp_path), overwrite=True)
    with raises("output.other_kind", ConfigError):
        run(tmp_path / "customers", out, output={"overwrite": True})
    for inside in (out, out / "inside", out.parent):
        with raises("output.overlaps_input", ConfigError):
            gpuseg.score(out, tmp_path / "again", inside, overwrite=True)
    bare = tmp_path / "bare"
    (out / "_model").rename(bare)
    assert gpuseg.score(bare, tmp_path / "in", tmp_path / "c").record.scored_with.run_id is None
    assert not (tmp_path / "c" / FIT_MANIFEST).exists()


def run_of_customers(folder: Path) -> Path:
    """Return the output of a job on other customers."""
    write_files(folder / "customers", [customers()])
    run(folder / "customers", folder / "fit")
    return folder / "fit"


@pytest.mark.parametrize(("options", "code", "kind"), [
    ({"confidence": True}, "confidence.not_available", ConfigError),
    ({"id": "segment"}, "id.reserved_name", ConfigError),
    ({"overrides": ["runtime.reader=cudf"]}, "reader.scores_on_host", ConfigError),
    ({"overrides": ["runtime.memory_limit=300MiB"]}, "memory_limit.too_low", ResourceError),
    ({"overrides": ["segment.n_clusters=3"]}, "score.unknown_key", ConfigError),
    ({"overrides": ["input.features=['spend']"]}, "score.unknown_key", ConfigError),
    ({"overrides": ["output"]}, "override.malformed", ConfigError),
    ({"cluster": "cloud"}, "score.invalid_value", ConfigError),
])  # fmt: skip
def test_commands_that_do_not_suit(
    options: dict[str, Any], code: str, kind: type[ConfigError], tmp_path: Path
) -> None:
    with raises(code, kind):
        score(fitted("dbscan_of_all"), kept_rows("dbscan_of_all"), tmp_path, **options)
    assert not (tmp_path / "out").exists()


def test_what_is_in_memory_is_no_path(tmp_path: Path) -> None:
    table, out = kept_rows("plain"), tmp_path / "out"
    in_memory: list[Any] = [table, table.to_pandas(), table.to_pylist()]
    for rows in in_memory:
        with raises("score.not_a_path", ConfigError, parameter="input") as caught:
            gpuseg.score(fitted("plain"), rows, out)
        assert "predict_frame" in str(caught.value)
    model: Any = gpuseg.load_model(fitted("plain"))
    with raises("score.not_a_path", ConfigError, parameter="model"):
        gpuseg.score(model, tmp_path / "in.parquet", out)


def test_counts_for_drift_are_in_the_plan_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_PARTS_COUNTED", 10**9)
    with raises("memory_limit.too_low", ResourceError, parameter="memory_limit"):
        score(fitted("plain"), kept_rows("plain"), tmp_path)


def test_memory_limits_the_threads(tmp_path: Path) -> None:
    overrides = ["runtime.memory_limit=480MiB", "runtime.threads_per_worker=64"]
    record = score(fitted("plain"), kept_rows("plain"), tmp_path, overrides=overrides).record
    assert record.executor.row_storage.mode == "streamed"
    assert "memory_limit = 480 MiB" in record.executor.row_storage.reason
    assert_like_the_job("plain", read_parts(tmp_path / "out").append_column(
        "confidence", read_parts(fitted("plain"))["confidence"]
    ))  # fmt: skip


def test_text_files_are_read_as_at_the_fit(tmp_path: Path) -> None:
    table = pa.table({
        "id": pa.array([f"{i:03d}" for i in range(60)]),
        "zone": ["7", "8", "A"] * 20,
        "spend": np.arange(60) % 9 / 4,
    })  # fmt: skip
    (tmp_path / "fit.csv").write_text(_semicolons(table))
    gpuseg.run({
        "input": {
            "path": str(tmp_path / "fit.csv"), "id": "id", "features": ["spend"],
            "decimal": ",", "delimiter": ";",
        },
        "prepare": {"categorical": {"zone": "onehot"}},
        "segment": {"n_clusters": 3},
        "output": {"path": str(tmp_path / "fit")},
    })  # fmt: skip
    has_digit = pa.array([zone != "A" for zone in table["zone"].to_pylist()])
    digits = table.filter(has_digit)
    (tmp_path / "new.csv").write_text(_semicolons(digits))
    pq.write_table(digits, tmp_path / "new.parquet")
    for name in ("new.csv", "new.parquet"):
        out = tmp_path / f"out-{name}"
        gpuseg.score(tmp_path / "fit", tmp_path / name, out)
        expected = read_parts(tmp_path / "fit").filter(has_digit)
        assert read_parts(out).equals(expected)
    (tmp_path / "short.csv").write_text("id;zone\n001;7\n")
    with raises("column.missing", DataError):
        gpuseg.score(tmp_path / "fit", tmp_path / "short.csv", tmp_path / "out-short")
    (tmp_path / "bad.csv").write_text(_semicolons(digits).replace("0,25", "many", 1))
    with raises("input.not_a_number", DataError):
        gpuseg.score(tmp_path / "fit", tmp_path / "bad.csv", tmp_path / "out-bad")


def _semicolons(table: pa.Table) -> str:
    """Return a table as text with semicolons and decimal commas."""
    rows = [";".join(table.column_names)]
    for row in table.to_pylist():
        rows.append(";".join(str(value).replace(".", ",") for value in row.values()))
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("stage", ["score", "publish"])
def test_files_that_change(stage: str, tmp_path: Path) -> None:
    table = kept_rows("plain")
    source = write_files(tmp_path / "in", cut(table, 100))

    def rewrite(path: Path, content: bytes) -> Callable[[], object]:
        return lambda: path.write_bytes(content)

    other = source / "in-001.parquet"
    pq.write_table(table.slice(0, 50), tmp_path / "other.parquet")
    change = rewrite(other, (tmp_path / "other.parquet").read_bytes())
    with raises("input.changed", DataError):
        gpuseg.score(fitted("plain"), source, tmp_path / "a", progress=ChangeAt(stage, change))
    model = run_of_customers(tmp_path)
    name = model / "_model" / "model.json"
    change = rewrite(name, name.read_bytes() + b" ")
    before = listing(tmp_path / "customers")
    with raises("model.changed", DataError):
        gpuseg.score(
            model, tmp_path / "customers", tmp_path / "b", progress=ChangeAt(stage, change)
        )
    assert listing(tmp_path / "customers") == before
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    assert leftovers(tmp_path) == []


def test_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_files(tmp_path / "in", [kept_rows("plain")])
    out = tmp_path / "out"
    done = call(capfd, "score", fitted("plain"), source, out, "--confidence", "--id", "customer")
    assert done.code == 0 and f"segments   {out}" in done.out
    assert_like_the_job("plain", read_parts(out))
    done = call(capfd, "score", fitted("plain"), source, out, "--overwrite", "--json", "--set",
                "runtime.threads_per_worker=1")  # fmt: skip
    assert json.loads(done.out)["input"]["rows"] == 300
    assert call(capfd, "score", fitted("plain"), source, out).code == 2
    assert call(capfd, "score", tmp_path / "none", source, tmp_path / "x").code == 3


def test_report(tmp_path: Path) -> None:
    name = "<b>&"
    table = new_rows("all_steps")
    table = table.set_column(
        table.column_names.index("country"), "country", [[name, *["ZZ"] * (len(table) - 1)]]
    )
    record = score(fitted("all_steps"), table, tmp_path).record
    page = (tmp_path / "out" / "_report.html").read_text()
    assert name not in page and html.escape(name) in page
    for segment in record.segments:
        assert f"Segment {segment.segment}" in page
    assert regenerate_report(str(tmp_path / "out")) == str(tmp_path / "out" / "_report.html")
    assert (tmp_path / "out" / "_report.html").read_text() == page


def test_object_stores(tmp_path: Path, memory: Any) -> None:
    table = kept_rows("plain")
    source = write_files(tmp_path / "in", [table])
    memory.put(str(fitted("plain")), "/gpuseg-test/fit", recursive=True)
    memory.put(str(source), "/gpuseg-test/in", recursive=True)
    out = "memory://gpuseg-test/out"
    gpuseg.score("memory://gpuseg-test/fit", "memory://gpuseg-test/in", out, confidence=True)
    (part,) = memory.glob("/gpuseg-test/out/part-*.parquet")
    memory.get(part, str(tmp_path / "part.parquet"))
    assert_like_the_job("plain", pq.read_table(tmp_path / "part.parquet"))
    assert memory.exists(f"/gpuseg-test/out/{FIT_MANIFEST}")
    again = gpuseg.score(
        "memory://gpuseg-test/fit/_model", source, out, overwrite=True, id="customer"
    )
    assert again.record.scored_with.run_id == load_output(fitted("plain")).run_id
    memory.rm("/gpuseg-test/fit/_manifest.json")
    gpuseg.score("memory://gpuseg-test/fit", source, out, overwrite=True, id="customer")
    assert not memory.exists(f"/gpuseg-test/out/{FIT_MANIFEST}")
    assert gpuseg.load_model(out).n_clusters == 4


def test_tables_of_other_formats(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    table = kept_rows("hierarchy_of_all_rows").sort_by("customer")
    deltalake.write_deltalake(tmp_path / "delta", table, partition_by=["country"])
    pq.write_to_dataset(table, tmp_path / "hive", partition_cols=["country"])
    expected = read_parts(fitted("hierarchy_of_all_rows")).sort_by("customer")
    for name in ("delta", "hive"):
        out = tmp_path / f"out-{name}"
        gpuseg.score(fitted("hierarchy_of_all_rows"), tmp_path / name, out)
        assert read_parts(out).sort_by("customer").equals(expected)


def test_a_partition_without_values(tmp_path: Path) -> None:
    case, tables = "boolean_categories", []
    table = kept_rows(case)
    gaps = table.drop_columns("is_known").append_column("is_known", pa.nulls(len(table)))
    folder = tmp_path / "hive" / "is_known=__HIVE_DEFAULT_PARTITION__"
    write_files(folder, [table.drop_columns("is_known")])
    write_files(tmp_path / "nulls", [gaps])
    for name in ("hive", "nulls"):
        gpuseg.score(fitted(case), tmp_path / name, tmp_path / f"{name}_out")
        tables.append(read_parts(tmp_path / f"{name}_out"))
    assert len(tables[0]) == len(table) and tables[0].equals(tables[1])


def test_the_table_of_no_rows_has_other_segments(tmp_path: Path) -> None:
    record = score(fitted("plain"), kept_rows("plain"), tmp_path).record
    no_rows = record.input.model_copy(update={"rows": 0})
    none = record.model_copy(update={"input": no_rows, "segments": record.segments * 20})
    assert scores_table(none).row_count == 51


def test_partitions_of_digits_stay_text(tmp_path: Path) -> None:
    table = pa.table({
        "customer": np.arange(60), "zone": ["7", "8", "A"] * 20, "spend": np.arange(60) % 9 / 4
    })  # fmt: skip
    pq.write_table(table, tmp_path / "fit.parquet")
    run(
        tmp_path / "fit.parquet", tmp_path / "fit", input={"features": ["spend"]},
        prepare={"categorical": {"zone": "onehot"}},
    )  # fmt: skip
    digits = pa.array([zone != "A" for zone in table["zone"].to_pylist()])
    pq.write_to_dataset(table.filter(digits), tmp_path / "in", partition_cols=["zone"])
    gpuseg.score(tmp_path / "fit", tmp_path / "in", tmp_path / "out")
    expected = read_parts(tmp_path / "fit").filter(digits)
    assert read_parts(tmp_path / "out").sort_by("customer").equals(expected)
