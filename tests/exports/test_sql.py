"""The export as SQL: databases give the segments of the model, for every preparation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from support.errors import raises
from support.fitted_outputs import CASES, CHOSEN, ID, fitted, input_rows, new_rows
from support.helpers import THOROUGH, Array, call, in_turn, run
from support.sql_engines import DuckDB, Postgres, Spark, SqlEngine, SQLite

import gpuseg
from gpuseg import KMeansModel
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.types import Centers
from gpuseg.errors import ConfigError
from gpuseg.exports.center_model import CenterModel
from gpuseg.exports.sql.raw_columns import MAX_BRANCHES
from gpuseg.exports.sql.target import DIALECTS
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.runtime.executor import TaskContext

ROW = "number of the row"

HARD_NUMBERS = (
    *(None, np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, -1.0 + 2.0**-53, 1.0 - 2.0**-53),
    *(2.0**24 + 1, 2.0**24 + 3, -(2.0**25) - 6, 1e-40, -1e-44, 1e-300, 5e-324),
    *(3.4028235677973362e38, 3.4028235677973366e38, -3.5e38, 1e300, -1e300, 1e10, -1e10),
)
"""Values of numbers that databases treat in different ways, or that float32 does not hold."""

CLEARLY = 1e-9
"""Relative difference of the two nearest distances from which on segments must be the same."""

EXPORTED = [
    name
    for name, case in CASES.items()
    if (THOROUGH or name in [*CHOSEN, "pca_of_categories", "cosine_standardized", "one_segment"])
    and case.algorithm != "dbscan"
    and not {"embedding", "vector_with_gaps", "spark_vector"} & set(case.features)
]
"""The cases that SQL can express, of those that are tried."""

OF_MANY_ROWS = [
    *("mean", "median", "clip_log1p", "large_offsets_scaled", "frequency", "ordinal"),
    *("pca_of_categories", "cosine_standardized", "hierarchy"),
]

WAREHOUSES = ("bigquery", "snowflake", "databricks", "redshift", "tsql")

RETAIL = Path(__file__).parents[3] / "shared" / "data" / "retail_customers.parquet"

IN_PROCESS = {"duckdb": DuckDB(), "sqlite": SQLite()}


class Expected(NamedTuple):
    """What the model says of rows.

    Attributes
    ----------
    columns : dict of str to array (m,)
        Segments and levels of the rows that gpuseg takes.
    distance : float32 (m,)
    is_scored : bool (n,)
        Which rows these are.
    is_clear : bool (m,)
        Whether their two nearest distances differ.
    """

    columns: dict[str, Array]
    distance: Array
    is_scored: Array
    is_clear: Array


def expected(folder: Path, table: pa.Table) -> Expected:
    """Return what a model says of rows."""
    model = gpuseg.load_model(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unseen categories
        raw = model.pipeline.open(table)
        z = raw.transform(slice(0, len(table)), "numba", TaskContext())
    is_scored = np.ones(len(table), bool)
    is_scored[raw.bad_rows()] = False
    z = z[is_scored]
    scores = model.score_rows(z, "numba", TaskContext(), with_next=False)
    near = far = np.full(len(z), np.inf)
    for center in CenterModel.of(model, "sql").centers:
        distance = np.sqrt(np.square(z - center).sum(axis=1))
        near, far = np.minimum(near, distance), np.minimum(far, np.maximum(near, distance))
    is_clear = far - near > CLEARLY * near
    columns = {"segment": scores.segment, **scores.levels}
    return Expected(columns, scores.distance, is_scored, is_clear)


def check(engine: SqlEngine, folder: Path, table: pa.Table, form: str | None = None) -> None:
    """Compare the result of a database with a model."""
    wanted = expected(folder, table)
    table = table.append_column(ROW, pa.array(np.arange(len(table))))
    rows = sorted(engine.run(table, statement(folder, engine.dialect, form)))
    assert [row[0] for row in rows] == list(range(len(table)))
    segment, distance, *levels = np.array([row[1:] for row in rows], object).T
    for column in (segment, distance, *levels):
        assert not (column[~wanted.is_scored] != None).any()  # noqa: E711 - of each value
    for column, labels in zip((segment, *levels), wanted.columns.values(), strict=True):
        differs = column[wanted.is_scored] != labels
        if not wanted.is_clear.all():
            n_between = np.count_nonzero(~wanted.is_clear)
            print(f"{engine.dialect}: {n_between} rows between centers, {differs.sum()} differ")
        assert not (differs & wanted.is_clear).any()
    distance = distance[wanted.is_scored].astype(float)
    np.testing.assert_allclose(distance, wanted.distance, rtol=2.0**-22, atol=2.0**-60)
    n_other = np.count_nonzero(distance != wanted.distance)
    if n_other:
        print(f"{engine.dialect}: {n_other} of {len(distance)} distances have another last digit")
    assert n_other <= 1e-2 * len(distance)


def check_case(engine: SqlEngine, name: str, form: str) -> None:
    """Compare the results for the rows of a case, and for hard ones."""
    folder = fitted(name)
    check(engine, folder, suitable(engine, name, rows_of(name)), form)


@cache
def rows_of(name: str) -> pa.Table:
    """Return rows of a case: those of the job, new ones, and some with hard values."""
    columns = list(gpuseg.load_model(fitted(name)).pipeline.columns)
    known, new = (rows.select(columns) for rows in (input_rows(name), new_rows(name)))
    hard = []
    for place, column in enumerate(columns):
        field = new.schema.field(column)
        values = HARD_NUMBERS if pa.types.is_float64(field.type) else (None,)
        others = new.take([7] * len(values))
        hard.append(others.set_column(place, field, pa.array(values, field.type)))
    return pa.concat_tables([known, new, *hard])


def many_rows(name: str, n_rows: int) -> pa.Table:
    """Return rows whose values are drawn from those of a case, column by column."""
    rng = np.random.default_rng(3)
    columns = {}
    for column, values in zip(rows_of(name).column_names, rows_of(name).columns, strict=True):
        drawn = values.combine_chunks().take(pa.array(rng.integers(len(values), size=n_rows)))
        if pa.types.is_float64(drawn.type):
            noise = 1 + 0.01 * rng.normal(size=n_rows)
            drawn = pa.array(drawn.to_numpy(zero_copy_only=False) * noise, from_pandas=True)
        columns[column] = drawn
    return pa.table(columns)


def suitable(engine: SqlEngine, name: str, table: pa.Table) -> pa.Table:
    """Return a table as the guide says that a database needs it."""
    if engine.dialect == "postgres" and name == "types_of_numbers":  # booleans are no numbers
        place = table.column_names.index("is_member")
        return table.set_column(place, "is_member", table["is_member"].cast(pa.int8()))
    return table


def statement(folder: Path, dialect: str, form: str | None = None, **options: Any) -> str:
    options = {"id_column": ROW, **options}
    (text,) = gpuseg.export(folder, "sql", dialect=dialect, form=form, **options).values()
    return text.decode()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres.started() as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "way"), in_turn(EXPORTED, list(product(IN_PROCESS, ("columns", "table"))), step=4)
)
def test_databases_in_process(name: str, way: tuple[str, str]) -> None:
    dialect, form = way
    check_case(IN_PROCESS[dialect], name, form)


def test_more_centers_than_columns_at_once() -> None:
    check_case(DuckDB(), "many_segments", "columns")


def model_of(centers: Array) -> KMeansModel:
    """Return a model of numbers as they are."""
    names = tuple(f"f{i}" for i in range(centers.shape[1]))
    transform = FeatureTransform.identity(len(names))
    pipeline = FeaturePipeline(tuple(map(Encoder, names)), names, transform)
    return KMeansModel(pipeline, Centers(centers, np.zeros(len(names), np.float32)))


def test_long_sums_take_several_steps() -> None:
    """DuckDB plans 50 sums of 100 terms in one step for a minute."""
    rng = np.random.default_rng(0)
    model, x = model_of(rng.normal(size=(50, 100))), rng.normal(size=(40, 100))
    sql = gpuseg.export(model, "sql", id_column="id", dialect="sqlite")["segments.sql"].decode()
    assert '"gpuseg_distances_5" AS' in sql
    columns = {f"f{i}": x[:, i] for i in range(x.shape[1])}
    rows = SQLite().run(pa.table({"id": np.arange(len(x)), **columns}), sql)
    assert [row[1] for row in sorted(rows)] == model.predict(x).tolist()


@pytest.mark.parametrize(("k", "is_table"), [(200, False), (1001, True)])
def test_the_form_depends_on_the_number_of_centers(k: int, is_table: bool) -> None:
    model = model_of(np.arange(float(k))[:, None])
    sql = gpuseg.export(model, "sql", id_column="id")["segments.sql"].decode()
    assert ("CROSS JOIN" in sql) is is_table


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form"),
    in_turn(EXPORTED, ("columns", "table"), step=2),
)
def test_postgres(postgres: Postgres, name: str, form: str) -> None:
    check_case(postgres, name, form)


@pytest.mark.skipif(not THOROUGH, reason="Spark takes long to start; --thorough")
@pytest.mark.parametrize(
    ("name", "form"), in_turn(EXPORTED if THOROUGH else EXPORTED[:2], ("columns", "table"), step=2)
)
def test_spark(spark: Any, name: str, form: str) -> None:
    check_case(Spark(spark), name, form)


@pytest.mark.slow
@pytest.mark.timeout(1800 if THOROUGH else 120)
@pytest.mark.parametrize("name", OF_MANY_ROWS if THOROUGH else OF_MANY_ROWS[::3])
@pytest.mark.parametrize("dialect", ["duckdb", "sqlite", "postgres"] if THOROUGH else ["duckdb"])
def test_many_rows(dialect: str, name: str, request: pytest.FixtureRequest) -> None:
    engine = IN_PROCESS.get(dialect) or request.getfixturevalue("postgres")
    check(engine, fitted(name), many_rows(name, 1_000_000 if THOROUGH else 20_000))


@pytest.mark.slow
@pytest.mark.skipif(not RETAIL.exists(), reason="the data of the shop is not here")
@pytest.mark.parametrize("dialect", ["duckdb", "sqlite", "postgres"])
def test_customers_of_a_shop(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    table = pq.read_table(RETAIL)
    features = ["recency_days", "orders", "spend", "tenure_days", "products", "items"]
    run(
        RETAIL, tmp_path / "out", input={"id": table.column_names[0], "features": features},
        prepare={"transform": "yeo-johnson", "clip": [0.0, 0.99], "pca": 0.95},
        segment={"n_clusters": 6},
    )  # fmt: skip
    engine = IN_PROCESS.get(dialect) or request.getfixturevalue("postgres")
    check(engine, tmp_path / "out", table.select(features))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*nearly constant|.*near-constant")
def test_columns_with_many_categories(tmp_path: Path, postgres: Postgres) -> None:
    """Such columns are joined with their categories."""
    rng = np.random.default_rng(0)
    texts = [f"place {i}'s \"\\ größe" for i in range(2 * MAX_BRANCHES)]
    numbers = np.arange(-MAX_BRANCHES, MAX_BRANCHES)
    drawn = rng.integers(2 * MAX_BRANCHES, size=1000)
    columns = {
        "place": pa.array(np.array(texts)[drawn], mask=drawn % 17 == 0),
        "rank": pa.array(numbers[rng.integers(2 * MAX_BRANCHES, size=1000)]),
        "spend": rng.normal(size=1000),
    }
    table = pa.table({"customer": np.arange(1000), **columns})
    pq.write_table(table, tmp_path / "in.parquet")
    run(
        tmp_path / "in.parquet", tmp_path / "out", input={"features": ["spend"]},
        prepare={
            "categorical": {"place": "frequency", "rank": [str(i) for i in numbers[::-1]]},
            "missing": "median",
        },
    )  # fmt: skip
    new = pa.table({
        "place": pa.array([texts[5], None, "unseen", texts[7], texts[-1]]),
        "rank": pa.array([-3.0, 7.0, np.nan, 1e6, None], from_pandas=False),
        "spend": [0.1, 0.2, 0.3, 0.4, 0.5],
    })  # fmt: skip
    for engine in (*IN_PROCESS.values(), postgres):
        check(engine, tmp_path / "out", new)


def test_rows_with_the_same_id_are_all_there() -> None:
    table = pa.concat_tables([rows_of("plain").slice(0, 4)] * 2)
    table = table.append_column(ID, pa.array([1, 2, None, None, 1, 7, 7, None]))
    for form in ("columns", "table"):
        text = statement(fitted("plain"), "duckdb", form, id_column=ID)
        rows = DuckDB().run(table, text)
        assert sorted(str(row[0]) for row in rows) == sorted(map(str, table[ID].to_pylist()))
        labels = gpuseg.load_model(fitted("plain")).predict(table)
        assert sorted(row[1] for row in rows) == sorted(labels)


def test_result_has_the_id_and_the_levels() -> None:
    (tree,) = sqlglot.parse(gpuseg.export(fitted("hierarchy"), "sql")["segments.sql"].decode())
    assert tree is not None
    assert tree.named_selects == [ID, "segment", "distance", "segment_3", "segment_5", "segment_9"]


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_read_what_they_write(dialect: str) -> None:
    names = ["odd_names", "one_hot_with_other", "hierarchy"]
    names = names if dialect in WAREHOUSES else names[1:2]
    for name in EXPORTED if THOROUGH else names:
        form = "columns" if name == "odd_names" else "table"
        text = statement(fitted(name), dialect, form)
        (tree,) = sqlglot.parse(text, dialect=dialect)
        assert tree is not None
        again = sqlglot.parse_one(tree.sql(dialect), dialect=dialect)
        assert again == tree
        literals = {x.this for x in tree.find_all(sqlglot.exp.Literal, sqlglot.exp.National)}
        model = gpuseg.load_model(fitted(name))
        texts = [e for e in model.pipeline.encoders if e.value_type == "text"]
        categories = {category for encoder in texts for category in encoder.categories}
        assert categories <= literals


def test_names_follow_the_dialect() -> None:
    """Databases with upper-case names have a table's plain names so; odd names stay."""
    upper = statement(fitted("plain"), "snowflake", id_column=ID)
    assert '"customer"."RECENCY"' in upper
    assert '"row_id" AS "CUSTOMER"' in upper
    assert '"customer"."größe"' in statement(fitted("odd_names"), "oracle")
    assert "N'Köln'" in statement(fitted("frequency"), "tsql")
    assert "FROM shop.[my table]" in statement(fitted("plain"), "tsql", table="shop.[my table]")
    assert '"gpuseg__raw"' in statement(fitted("plain"), "duckdb", table="gpuseg_raw")


def test_oracle_reads_literal_rows_from_dual() -> None:
    """Oracle has no VALUES before version 23, and no AS before the name of a table."""
    tree = sqlglot.parse_one(statement(fitted("plain"), "oracle", "table"), dialect="oracle")
    assert tree.find(sqlglot.exp.Values) is None
    n_centers = len(CenterModel.of(gpuseg.load_model(fitted("plain")), "sql").centers)
    assert [t.name for t in tree.find_all(sqlglot.exp.Table)].count("DUAL") == n_centers


@pytest.mark.parametrize(
    ("code", "name", "options"),
    [
        ("export.algorithm_without_centers", "dbscan", {}),
        ("export.vectors", "vectors", {}),
        ("export.vectors", "vectors_with_gaps", {}),
        ("export.unknown_dialect", "plain", {"dialect": "excel"}),
        ("export.not_a_table", "plain", {"table": "customers; DROP TABLE customers"}),
        ("export.not_a_table", "plain", {"table": "customers AS c"}),
        ("export.not_a_table", "plain", {"table": "(SELECT 1)"}),
        ("export.not_a_table", "plain", {"table": ""}),
        ("export.unknown_form", "plain", {"form": "rows"}),
        ("export.no_id", "no_id", {}),
        ("export.blank_id", "plain", {"id_column": ""}),
        ("export.blank_id", "plain", {"id_column": " "}),
        ("export.id_is_result", "plain", {"id_column": "Segment"}),
    ],
)
def test_what_sql_cannot_express_is_refused(code: str, name: str, options: dict[str, str]) -> None:
    with raises(code, ConfigError):
        gpuseg.export(fitted(name), "sql", **options)


@pytest.mark.parametrize(
    ("dialect", "meant"), [("postgresql", "postgres"), ("sqlserver", "tsql"), ("MSSQL", "tsql")]
)
def test_names_of_databases_lead_to_their_dialect(dialect: str, meant: str) -> None:
    with raises("export.unknown_dialect", ConfigError) as caught:
        gpuseg.export(fitted("plain"), "sql", dialect=dialect)
    assert str(caught.value).endswith(f"did you mean '{meant}'?")


def test_the_command_prints_a_statement(capfd: pytest.CaptureFixture[str]) -> None:
    done = call(capfd, "export", fitted("plain"), "--to", "sql", "--dialect", "sqlite")
    assert done.code == 0
    table = rows_of("plain").append_column(ID, pa.array(np.arange(len(rows_of("plain")))))
    assert len(SQLite().run(table, done.out)) == len(table)
    wrong = call(capfd, "export", fitted("plain"), "--to", "sql", "--dialect", "excel")
    assert (wrong.code, wrong.out) == (2, "")
    assert "--dialect = 'excel'" in wrong.err
