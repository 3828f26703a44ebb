"""Databases that run exported SQL in tests: DuckDB, SQLite, PostgreSQL and Spark.

Each loads an Arrow table as `customers`, and returns the rows of a statement.
"""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pytest
from pyarrow.csv import WriteOptions, write_csv
from sqlglot import exp

TABLE = "customers"

Rows = list[tuple[Any, ...]]

_ROWS_PER_BATCH = 10_000


class SqlEngine(Protocol):
    """A database.

    Attributes
    ----------
    dialect : str
        Its name in sqlglot.
    """

    dialect: str

    def run(self, table: pa.Table, statement: str) -> Rows:
        """Load a table, and return the rows of a statement."""
        ...


class DuckDB:
    dialect = "duckdb"

    def run(self, table: pa.Table, statement: str) -> Rows:
        duckdb = pytest.importorskip("duckdb")
        with duckdb.connect() as connection:
            connection.execute("SET threads = 1")
            connection.register(TABLE, table)
            rows: Rows = connection.execute(statement).fetchall()
        return rows


class SQLite:
    dialect = "sqlite"

    def run(self, table: pa.Table, statement: str) -> Rows:
        names = [_quoted(name, self.dialect) for name in table.column_names]
        marks = ", ".join("?" * len(names))
        with sqlite3.connect(":memory:") as connection:
            options = {name for (name,) in connection.execute("PRAGMA compile_options")}
            if "ENABLE_MATH_FUNCTIONS" not in options:
                pytest.skip("this SQLite has no LN, EXP and SQRT (SQLITE_ENABLE_MATH_FUNCTIONS)")
            connection.execute(f"CREATE TABLE {TABLE} ({', '.join(names)})")
            for batch in table.to_batches(max_chunksize=_ROWS_PER_BATCH):
                values = zip(*map(_values_of_sqlite, batch.columns), strict=True)
                connection.executemany(f"INSERT INTO {TABLE} VALUES ({marks})", values)
            return connection.execute(statement).fetchall()


class Postgres:
    """A server of a test, which listens on a socket in its folder only."""

    dialect = "postgres"

    def __init__(self, folder: Path, programs: Path, user: str | None) -> None:
        self._folder, self._programs, self._user = folder, programs, user

    def run(self, table: pa.Table, statement: str) -> Rows:
        columns = [
            f"{_quoted(field.name, self.dialect)} {_postgres_type(field.type)}"
            for field in table.schema
        ]
        source, target = self._folder / "in.csv", self._folder / "out.csv"
        write_csv(table, source, WriteOptions(include_header=False, quoting_style="all_valid"))
        script = (
            f"DROP TABLE IF EXISTS {TABLE};\n"
            f"CREATE TABLE {TABLE} ({', '.join(columns)});\n"
            f"\\copy {TABLE} FROM '{source}' (FORMAT csv)\n"
            f"CREATE TEMPORARY VIEW result AS {statement}\n"
            f"\\copy (SELECT * FROM result) TO '{target}' (FORMAT csv)\n"
        )
        self._psql(script)
        with target.open(newline="") as file:
            return [tuple(map(_of_csv, row)) for row in csv.reader(file)]

    def _psql(self, script: str) -> None:
        command = [
            *(str(self._programs / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"),
            *("-h", str(self._folder), "-U", "tester", "postgres"),
        ]
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=1800, check=False
        )
        assert done.returncode == 0, done.stderr

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Postgres]:
        """Start a server as an unprivileged user, and stop it at the end."""
        programs = _postgres_programs()
        if programs is None:
            pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
        user = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
        folder = Path(tempfile.mkdtemp(prefix="gpuseg-pg-", dir="/tmp"))  # sockets: short paths
        try:
            if user:
                shutil.chown(folder, user)
            data = str(folder / "data")
            control = [str(programs / "pg_ctl"), "-D", data, "-w", "-t", "60"]
            settings = f"-k {folder} -c listen_addresses= -c jit=off -c fsync=off"
            cls._call([str(programs / "initdb"), "-D", data, "-U", "tester", "--auth=trust",
                       "--encoding=UTF8", "--no-locale", "--no-sync"], user)  # fmt: skip
            cls._call([*control, "-o", settings, "-l", str(folder / "log"), "start"], user)
            try:
                yield cls(folder, programs, user)
            finally:
                cls._call([*control, "-m", "immediate", "stop"], user)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _call(command: Sequence[str], user: str | None) -> None:
        done = subprocess.run(
            command, user=user, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


class Spark:
    dialect = "spark"

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, table: pa.Table, statement: str) -> Rows:
        for place, field in enumerate(table.schema):
            if pa.types.is_uint64(field.type):  # Spark has no such type
                table = table.set_column(place, field.name, table[place].cast(pa.decimal128(20)))
        self._session.createDataFrame(table).createOrReplaceTempView(TABLE)
        return [tuple(row) for row in self._session.sql(statement.rstrip(";\n")).collect()]


def _postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; Debian has it beside the path."""
    program = shutil.which("initdb")
    folders = [Path(program).resolve().parent] if program else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "psql").exists()), None)


def _postgres_type(kind: pa.DataType) -> str:
    t = pa.types
    if t.is_uint64(kind) or t.is_decimal(kind):
        return "numeric"
    if t.is_integer(kind):
        return "bigint"
    if t.is_boolean(kind):
        return "boolean"
    if t.is_floating(kind):
        return "real" if t.is_float32(kind) else "double precision"
    return "text"


def _of_csv(text: str) -> int | float | str | None:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text or None


def _values_of_sqlite(column: pa.Array) -> list[Any]:
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    values: list[Any] = column.to_pylist()
    return values


def _quoted(name: str, dialect: str) -> str:
    return exp.to_identifier(name, quoted=True).sql(dialect)
