"""The statement: one SELECT over a table, that returns the id, the segment and the distance."""

from typing import Any

from gpuseg.errors import ConfigError
from gpuseg.exports.center_model import CenterModel
from gpuseg.exports.export_format import ExportedFiles, ExportFormat, ExportOptions, Layout
from gpuseg.exports.feature_sources import feature_sources
from gpuseg.exports.sql.expressions import column
from gpuseg.exports.sql.nearest_center import (
    is_small,
    nearest_by_columns,
    nearest_by_rows,
    round_distance,
)
from gpuseg.exports.sql.preparation import prepare_rows
from gpuseg.exports.sql.prepared_lookup import prepare_lookup
from gpuseg.exports.sql.raw_columns import ROW_ID, read_table
from gpuseg.exports.sql.steps import Steps
from gpuseg.exports.sql.target import DEFAULT_DIALECT, DEFAULT_TABLE, TargetTable
from gpuseg.manifest import Manifest
from gpuseg.models.described_model import DescribedModel
from gpuseg.output_columns import DISTANCE, SEGMENT

COLUMNS, TABLE = "columns", "table"
"""The forms of a statement; see `nearest_center`."""


def sql_files(source: DescribedModel, options: ExportOptions) -> ExportedFiles:
    """Return the statement as one file; see `select_segments`."""
    return {"segments.sql": select_segments(source, options).encode()}


def select_segments(source: DescribedModel, options: ExportOptions) -> str:
    """Return the statement for a saved output.

    Raises
    ------
    ConfigError
        For an algorithm without centers, vectors, and options that do not suit the model.
    """
    model = CenterModel.of(source.model, "sql")
    target = TargetTable.of(
        DEFAULT_DIALECT if options.dialect is None else options.dialect,
        DEFAULT_TABLE if options.table is None else options.table,
    )
    results = [SEGMENT, DISTANCE, *model.levels]
    id_column = _id_column(source.manifest, options.id_column, results)
    by_columns = _is_by_columns(model, options.form)

    sources = feature_sources(model.pipeline)
    transform = model.pipeline.feature_transform
    lookups = {
        f: prepare_lookup(item.lookup, transform, f)
        for f, item in enumerate(sources)
        if item.lookup is not None
    }
    steps = Steps(target)
    read_table(steps, id_column, sources, lookups, numbers_copies=not by_columns)
    names = prepare_rows(steps, sources, transform, lookups)
    (nearest_by_columns if by_columns else nearest_by_rows)(steps, names, model)
    round_distance(steps)
    statement = steps.finish(
        {id_column: column(ROW_ID), **{name: column(name) for name in results}}
    )
    return target.write(statement)


def _is_by_columns(model: CenterModel, form: str | None) -> bool:
    if form is None:
        return is_small(model.centers)
    if form not in (COLUMNS, TABLE):
        raise ConfigError(
            "export.unknown_form", value=form, rule=f"must be {COLUMNS} or {TABLE}",
            parameter="form",
        )  # fmt: skip
    return form == COLUMNS


def _id_column(manifest: Manifest | None, given: str | None, results: list[str]) -> str:
    """Return the id column that the user names, or that of the job.

    Raises
    ------
    ConfigError
        When there is none, or when it has the name of another column of the result.
    """
    name = given
    if name is None and manifest is not None:
        name = _id_of_job(manifest.job)
    if name is None:
        raise ConfigError(
            "export.no_id", "the job has no id column" if manifest else "there is no manifest",
            rule="the statement returns the id of each row",
            hint="name the column of the table with `id_column`", parameter="id_column",
        )  # fmt: skip
    if not name.strip():
        raise ConfigError(
            "export.blank_id", value=name, rule="must be the name of a column",
            hint="leave it out for the id column of the job", parameter="id_column",
        )  # fmt: skip
    if name.lower() in results:
        raise ConfigError(
            "export.id_is_result", value=name,
            rule=f"must differ from the columns of the result: {', '.join(results)}",
            hint="rename the column of the table, for instance in a view", parameter="id_column",
        )  # fmt: skip
    return name


def _id_of_job(job: dict[str, Any]) -> str | None:
    """Return the id column of a job; that of features is the customer of the transactions."""
    section = job.get("input") or {}
    name = section.get("id")
    if name is None:
        name = (job.get("transactions") or {}).get("customer")
    return name if isinstance(name, str) else None


FORMAT = ExportFormat(
    "sql", Layout.TEXT, sql_files, frozenset({"dialect", "table", "id_column", "form"})
)
