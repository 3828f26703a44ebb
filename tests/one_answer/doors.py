"""Ways of scoring rows with a saved model; each returns segments and distances in their order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.helpers import Array, cut, read_parts, write_files
from support.http_server import ARROW, as_stream, serving
from support.json_rows import as_json
from support.spark_session import spark_session

import gpuseg
from gpuseg.models.loading import load_output
from gpuseg.preprocessing.encoding.vectors import as_matrix
from gpuseg.scoring.score_lines import LineScorer
from gpuseg.scoring.score_rows import RowScorer
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel
from gpuseg.serving.protocols import arrow_stream, segments
from one_answer.spark_doors import by_map_in_arrow, by_spark_udf

_ROWS_OF_JSON, _ROWS_OF_ARROW = 1_000, 50_000
"""Rows of a request."""

_NUMBER = "number of the row"


class Answers(NamedTuple):
    """What a door says of rows.

    Attributes
    ----------
    segment : array of int (n,)
    distance : float32 (n,) or None
        None where the door has another type of distance.
    """

    segment: Array
    distance: Array | None


class Door(Protocol):
    """Scores rows with the model of an output; may write to a folder of its own."""

    def __call__(self, output: Path, rows: pa.Table, folder: Path) -> Answers: ...


def by_predict(output: Path, rows: pa.Table, folder: Path) -> Answers:
    return Answers(*gpuseg.load_model(output).predict(rows, return_distance=True))


def by_score(output: Path, rows: pa.Table, folder: Path) -> Answers:
    scores = gpuseg.load_model(output).score(rows)
    return Answers(scores.segment, scores.distance)


def by_pandas(output: Path, rows: pa.Table, folder: Path) -> Answers:
    import pandas as pd

    def kept_type(kind: pa.DataType) -> Any:
        """Keep the type of Spark's vectors: as objects of Python they would be any dicts."""
        return pd.ArrowDtype(kind) if pa.types.is_struct(kind) else None

    frame = gpuseg.load_model(output).predict_frame(rows.to_pandas(types_mapper=kept_type))
    return Answers(frame["segment"].to_numpy(), frame["distance"].to_numpy())


def by_polars(output: Path, rows: pa.Table, folder: Path) -> Answers:
    import polars as pl

    frame = gpuseg.load_model(output).predict_frame(pl.from_arrow(rows))
    return Answers(frame["segment"].to_numpy(), frame["distance"].to_numpy())


def by_files(
    output: Path,
    rows: pa.Table,
    folder: Path,
    cluster: str = "local",
    row_group_size: int = 53,
    memory: str = "",
) -> Answers:
    """Score files that are cut otherwise than those of the job, with columns in another order."""
    turned, third = rows.select(rows.column_names[::-1]), len(rows) // 3
    write_files(folder / "in", cut(turned, 1, third, 4), row_group_size=row_group_size)
    keys = [f"runtime.memory_limit={memory}"] * bool(memory)
    gpuseg.score(output, folder / "in", folder / "out", cluster=cluster, overrides=keys)
    parts = read_parts(folder / "out")
    return Answers(parts["segment"].to_numpy(), parts["distance"].to_numpy())


def by_lines(output: Path, rows: pa.Table, folder: Path) -> Answers:
    scorer = LineScorer(RowScorer(gpuseg.load_model(output)), {}, None)
    answers: list[Any] = []
    for part in _parts(rows, _ROWS_OF_JSON):
        lines = [json.dumps(row).encode() for row in as_json(part)]
        answers += map(json.loads, scorer.score(lines).splitlines())
    return _of_objects(answers)


def by_segments_protocol(output: Path, rows: pa.Table, folder: Path) -> Answers:
    """Read and write the bodies of ``/segments``, without a server."""
    model = LoadedModel(load_output(output))
    scored = model.score(segments.read(_body(rows), model, RequestLimits()), with_next=True)
    return _of_objects(json.loads(segments.write(scored, model)))


def by_arrow_protocol(output: Path, rows: pa.Table, folder: Path) -> Answers:
    """Read and write streams of Arrow, without a server."""
    model = LoadedModel(load_output(output))
    table = arrow_stream.read(as_stream(rows), model, RequestLimits())
    body = arrow_stream.write(model.score_table(table, with_next=True))
    return _of_table(pa.ipc.open_stream(body).read_all())


def by_http(output: Path, rows: pa.Table, folder: Path) -> Answers:
    with serving(output) as server:
        connection = server.connect()
        answers: list[Any] = []
        for part in _parts(rows, _ROWS_OF_JSON):
            answers += json.loads(_posted(connection, _body(part), "application/json"))
        connection.close()
    return _of_objects(answers)


def by_arrow_over_http(output: Path, rows: pa.Table, folder: Path) -> Answers:
    with serving(output) as server:
        connection = server.connect()
        tables = [
            pa.ipc.open_stream(_posted(connection, as_stream(part), ARROW)).read_all()
            for part in _parts(rows, _ROWS_OF_ARROW)
        ]
        connection.close()
    return _of_table(pa.concat_tables(tables))


def by_onnx(output: Path, rows: pa.Table, folder: Path) -> Answers:
    import onnxruntime

    (content,) = gpuseg.export(output, "onnx").values()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    inputs = json.loads(session.get_modelmeta().custom_metadata_map["inputs"])
    widths = {item.name: item.shape[1] for item in session.get_inputs()}
    answered: list[Array] = []
    for part in _parts(rows, _ROWS_OF_ARROW):
        feeds = {column["input"]: _fed(part, column, widths[column["input"]]) for column in inputs}
        answered.append(session.run(["segment"], feeds)[0].ravel())
    return Answers(np.concatenate(answered), None)


def _fed(rows: pa.Table, column: dict[str, Any], width: int) -> Array:
    """Return a column as the metadata of the file say that its input takes it."""
    values = rows[column["column"]].combine_chunks()
    missing = column["missing"]
    if column["values"] == "vectors":
        return as_matrix(values, (width,)).astype(np.float64)
    if column["values"] == "text":
        texts = [missing if value is None else value for value in values.to_pylist()]
        return np.array(texts, object)[:, None]
    if column["values"] == "numbers":
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False)[:, None]
    filled = values.cast(pa.int64()) if pa.types.is_boolean(values.type) else values
    return np.array([missing if v is None else v for v in filled.to_pylist()], np.int64)[:, None]


def by_mlflow(output: Path, rows: pa.Table, folder: Path) -> Answers:
    import mlflow.pyfunc

    import gpuseg.mlflow

    gpuseg.mlflow.save_model(str(output), str(folder / "mlflow"))
    model = mlflow.pyfunc.load_model(str(folder / "mlflow"))
    columns = gpuseg.load_model(output).pipeline.columns
    frame = model.predict(rows.select(columns).to_pandas())
    return Answers(frame["segment"].to_numpy(), frame["distance"].to_numpy())


def by_spark(output: Path, rows: pa.Table, folder: Path, *, udf: bool = False) -> Answers:
    import gpuseg.mlflow

    pq.write_table(_numbered(output, rows), folder / "rows.parquet", row_group_size=50_000)
    with spark_session(n_threads=2) as session:
        frame = session.read.parquet(str(folder / "rows.parquet"))
        if udf:
            gpuseg.mlflow.save_model(str(output), str(folder / "mlflow"))
            scored = by_spark_udf(folder / "mlflow", frame, _NUMBER)
        else:
            scored = by_map_in_arrow(output, frame, _NUMBER)
    return _of_table(scored.sort_by("id"))


def by_sql(output: Path, rows: pa.Table, folder: Path, dialect: str = "duckdb") -> Answers:
    from support.sql_engines import DuckDB, Postgres, SQLite

    table = _numbered(output, rows)
    (statement,) = gpuseg.export(output, "sql", dialect=dialect, id_column=_NUMBER).values()
    if dialect == "postgres":
        with Postgres.started() as engine:
            answered = engine.run(table, statement.decode())
    else:
        engines = {"duckdb": DuckDB(), "sqlite": SQLite()}
        answered = engines[dialect].run(table, statement.decode())
    segment = np.full(len(rows), np.iinfo(np.int32).min)
    segment[[int(row[0]) for row in answered]] = [int(row[1]) for row in answered]
    return Answers(segment, None)


IN_PROCESS: dict[str, Door] = {
    "predict": by_predict,
    "score": by_score,
    "pandas": by_pandas,
    "polars": by_polars,
    "files": by_files,
    "lines": by_lines,
    "segments protocol": by_segments_protocol,
    "arrow protocol": by_arrow_protocol,
}
"""Doors that start no process, for tests of many small cases."""

ALL: dict[str, Door] = {
    "load_model.predict": by_predict,
    "load_model.score": by_score,
    "predict_frame of pandas": by_pandas,
    "predict_frame of Polars": by_polars,
    "gpuseg score": partial(by_files, row_group_size=100_000),
    "gpuseg score, small row groups, 1 GiB": partial(by_files, row_group_size=7_001, memory="1GiB"),
    "gpuseg score, Dask workers": partial(by_files, cluster="dask", row_group_size=50_000),
    "gpuseg score --stdin": by_lines,
    "HTTP, JSON": by_http,
    "HTTP, Arrow": by_arrow_over_http,
    "MLflow pyfunc": by_mlflow,
    "Spark, mapInArrow": by_spark,
    "Spark, MLflow's spark_udf": partial(by_spark, udf=True),
    "ONNX": by_onnx,
    "SQL in DuckDB": partial(by_sql, dialect="duckdb"),
    "SQL in SQLite": partial(by_sql, dialect="sqlite"),
    "SQL in PostgreSQL": partial(by_sql, dialect="postgres"),
}


def _numbered(output: Path, rows: pa.Table) -> pa.Table:
    """Return the columns that the model reads, and the numbers of the rows."""
    table = rows.select([*gpuseg.load_model(output).pipeline.columns])
    return table.append_column(_NUMBER, pa.array(np.arange(len(rows))))


def _parts(rows: pa.Table, size: int) -> Iterator[pa.Table]:
    for start in range(0, len(rows), size):
        yield rows.slice(start, size)


def _body(rows: pa.Table) -> bytes:
    return json.dumps({"rows": as_json(rows)}).encode()


def _posted(connection: HTTPConnection, body: bytes, content_type: str) -> bytes:
    connection.request("POST", "/segments", body, {"content-type": content_type})
    response = connection.getresponse()
    content = response.read()
    assert response.status == 200, content[:1000]
    return content


def _of_objects(answers: Iterable[dict[str, Any]]) -> Answers:
    answered = list(answers)
    segment = np.array([answer["segment"] for answer in answered])
    return Answers(segment, np.array([answer["distance"] for answer in answered], np.float32))


def _of_table(table: pa.Table) -> Answers:
    return Answers(table["segment"].to_numpy(), table["distance"].to_numpy())
