"""Whether a job can continue an older output: the same algorithm, features and preparation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gpuseg.errors import ConfigError, literal
from gpuseg.io.input_paths import is_same_place, overlaps
from gpuseg.io.storage import Storage
from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.refresh.older_output import OlderOutput
from gpuseg.jobs.score.sections import section_of_fit
from gpuseg.models.base import SegmentModel

_NOT_COMPARED = ("duplicates",)
"""Keys of `[prepare]` that say nothing of the features."""


def check_refresh(spec: JobSpec, older: OlderOutput, mode: str) -> None:
    """Refuse a job that cannot continue an output.

    Raises
    ------
    ConfigError
    """
    model = older.model
    _check_target(spec, older)
    if spec.segment.algorithm != model.name:
        raise ConfigError(
            "refresh.other_algorithm",
            f"the older output has segments of {model.name}",
            value=spec.segment.algorithm,
            rule="a refresh has the algorithm of the older output",
            hint=f"set algorithm = {model.name!r}, or start again with gpuseg run",
            parameter="segment_algorithm",
        )
    if mode != "score" and not model.keeps_identity:
        raise ConfigError(
            "refresh.no_place_for_numbers",
            f"models of {model.name} cannot keep the numbers of their segments",
            value=mode,
            rule="must be 'score' for a class of models without a field `identity`",
            hint="use `mode` = 'score', or start again with gpuseg run",
            parameter="refresh_mode",
        )
    _check_preparation(spec, older)
    _check_source(spec, older)
    _check_duplicates(spec, mode)
    if mode == "append" and spec.refresh.preparation == "fit":
        raise ConfigError(
            "refresh.append_fits_preparation",
            "rows that are appended are prepared as the older ones were",
            value="fit",
            rule="must be 'keep' if rows are appended",
            hint="leave `preparation` out",
            parameter="refresh_preparation",
        )
    if mode == "score" and (reason := spec.algorithm.why_other_segments(spec.segment, model)):
        raise ConfigError(
            "refresh.other_segments",
            reason,
            value=mode,
            rule="the older model has other segments than the job",
            hint="use `refresh_mode` = 'fresh' or 'auto'",
            parameter="refresh_mode",
        )
    if mode in ("warm", "append") and (reason := spec.algorithm.why_not_warm(spec.segment, model)):
        raise ConfigError(
            "refresh.no_warm_start",
            reason,
            rule="a refresh from the older centers has as many segments as there are centers"
            if mode == "warm"
            else "only new rows update the older centers",
            hint="use `refresh_mode` = 'fresh' or 'auto'" + ", and all rows" * (mode == "append"),
        )


def _check_target(spec: JobSpec, older: OlderOutput) -> None:
    """Refuse an output inside of the older one, or around it: it would be lost, or be no more."""
    output = spec.output
    target = Storage.from_url(output.path, output.storage_options, "output_path")
    before = older.files.saved.storage
    if overlaps(before, target) and not is_same_place(before, target):
        raise ConfigError(
            "refresh.output_overlaps",
            f"overlaps {literal(repr(older.shown_path))}, the older output",
            value=output.path,
            rule="a refresh writes in the place of the older output, or apart from it",
            hint="write to another folder",
            parameter="output_path",
        )


def _check_preparation(spec: JobSpec, older: OlderOutput) -> None:
    """Refuse another preparation than that of the older output: its segments would mean others."""
    before = section_of_fit(older.fit, "prepare")
    now: Mapping[str, Any] = spec.prepare.model_dump(mode="json")
    columns = older.model.pipeline.columns
    for key, value in now.items():
        if key in _NOT_COMPARED or key not in before:
            continue
        if _of_columns(before[key], columns) != _of_columns(value, columns):
            raise ConfigError(
                "refresh.other_preparation",
                f"the older output was prepared with {literal(f'{key} = {before[key]!r}')}",
                value=value,
                rule="a refresh prepares the features as the older output did",
                hint="use the same [prepare], or start again with gpuseg run",
                parameter=f"prepare_{key}",
            )
    unit = spec.algorithm.unit_rows(spec.segment)
    if unit != older.model.feature_transform.unit:
        raise ConfigError(
            "refresh.other_metric",
            "the older output has another metric",
            rule="a refresh measures distances as the older output did",
            hint="use the same `metric`, or start again with gpuseg run",
            parameter="metric",
        )


def _of_columns(value: Any, columns: Collection[str]) -> Any:
    """Return the value of a key; of a table, whose keys are columns, the part of some columns.

    A job may go on naming those that the first fit has dropped, and a refresh does not read.
    """
    if not isinstance(value, Mapping):
        return value
    return {name: each for name, each in value.items() if name in columns}


def _check_source(spec: JobSpec, older: OlderOutput) -> None:
    """Refuse other features than those of the older output, and ids in another form."""
    had_lines, has_lines = older.fit.transactions is not None, spec.transactions is not None
    if had_lines != has_lines:
        before, now = ("[transactions]", "[input]") if had_lines else ("[input]", "[transactions]")
        raise ConfigError(
            "refresh.other_source",
            f"the job has {now}, but the older output was made from {before}",
            rule="a refresh reads the same kind of data",
            hint=f"use {before}, or start again with gpuseg run",
        )
    given = spec.source.features
    if given is not None:
        check_features(list(dict.fromkeys([*given, *spec.prepare.categorical])), older.model)


def check_features(columns: list[str], model: SegmentModel) -> None:
    """Refuse columns that are not those of the model.

    Columns that the fit has dropped, such as near-constant ones, may be named.

    Raises
    ------
    ConfigError
    """
    known = {encoder.column for encoder in model.pipeline.encoders}
    needed = set(model.pipeline.columns)
    if not needed <= set(columns) or not set(columns) <= known:
        raise ConfigError(
            "refresh.other_features",
            "the older output has other features",
            value=columns,
            rule=f"must be {literal(', '.join(model.pipeline.columns))}",
            hint="leave `features` out to take those of the older output, or start again with "
            "gpuseg run",
            parameter="features",
        )


def _check_duplicates(spec: JobSpec, mode: str) -> None:
    """Refuse to score rows whose ids must be compared first: a scoring run reads rows once."""
    if mode == "score" and spec.prepare.duplicates != "keep":
        raise ConfigError(
            "refresh.duplicates_not_dropped",
            "rows are scored as they are read",
            value=spec.prepare.duplicates,
            rule="must be 'keep' if the older model scores the rows",
            hint="use `mode` = 'warm' or 'fresh', or leave `duplicates` out",
            parameter="prepare_duplicates",
        )
