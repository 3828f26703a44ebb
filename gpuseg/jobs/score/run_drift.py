"""Measure how far the rows of a table differ from those of the fit of a model; nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg.drift_record import DriftThresholds
from gpuseg.errors import ConfigError, DataError, parameter_names
from gpuseg.jobs.context import OpenRun, open_sections
from gpuseg.jobs.job import job_names
from gpuseg.jobs.score.drift_of_scores import drift_of_scores
from gpuseg.jobs.score.plan import plan_score
from gpuseg.jobs.score.score_pass import (
    WORKER_MODULES,
    CountedRows,
    importer,
    load_model_of,
    plan_pass,
    warn_of_rows,
)
from gpuseg.jobs.score.sections import Command, check_sections, validated_sections
from gpuseg.models.loading import SavedOutput
from gpuseg.output_kind import OutputKind
from gpuseg.runtime.temporary_folder import temporary_folder
from gpuseg.scoring.score_shard import Scoring

if TYPE_CHECKING:
    from gpuseg.drift_record import Drift
    from gpuseg.progress import Progress

_UNUSED = ("input.id", "output", "like")
"""Keys and sections of a scoring run that are of no use here: no rows are written."""


@dataclass(frozen=True)
class DriftResult:
    """Drift of a table.

    Attributes
    ----------
    record : Drift
        All measures, and the alarms.
    segment_names : dict of int to str
        Names of the segments, where they are known.
    warnings : tuple of str
        Warnings of the run, as it printed them.
    """

    record: Drift
    segment_names: dict[int, str]
    warnings: tuple[str, ...]

    @property
    def is_beyond(self) -> bool:
        """Whether a measure is beyond its threshold, and beyond chance."""
        return bool(self.record.alarms)

    @cached_property
    def content(self) -> dict[str, Any]:
        """The record as values of JSON."""
        return self.record.to_json()

    def __repr__(self) -> str:
        return f"DriftResult(rows={self.record.rows_now}, alarms={len(self.record.alarms)})"


def drift(
    model: str | Path,
    input: str | Path | Sequence[str | Path],
    *,
    cluster: str | None = None,
    snapshot: str | date | None = None,
    built_features: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> DriftResult:
    """Measure how far the rows of a table differ from those of the fit of a saved model.

    The model scores the table in one pass. Nothing is written, and no ids are read.

    Parameters
    ----------
    model : str or Path
        The output folder of a run, or its ``_model``; a path or an fsspec URL.
    input, cluster, snapshot, built_features : see `score`
    overrides : sequence of str
        Further keys of the sections model, input, transactions, join, runtime and drift, such as
        ``["drift.feature_psi=0.3"]``. Thresholds are those of the job of the fit by default.
    progress : Progress, optional
        Display of the progress; none by default.

    Returns
    -------
    DriftResult

    Raises
    ------
    ConfigError, DataError, ResourceError
        When the command, the table or the machine is at fault, and for a model of an older
        version, which does not know the rows of its fit.

    Examples
    --------
    >>> import gpuseg
    >>> result = gpuseg.drift("out/segments", "customers_of_may/")  # doctest: +SKIP
    >>> [alarm.sentence for alarm in result.record.alarms]  # doctest: +SKIP
    """
    with temporary_folder() as folder:
        command = Command(
            model, input, f"{folder}/rows", "" if built_features else None, snapshot,
            built_features, cluster=cluster, overrides=tuple(overrides),
        )  # fmt: skip
        saved = load_model_of(command).saved
        refuse_without_reference(saved)
        _refuse_unused(overrides)
        values = command.values(saved.manifest)
        if "input" in values:
            values["input"]["id"] = None
        spec = validated_sections(values, saved.manifest)
        with parameter_names(job_names(spec)):
            check_sections(spec, saved.model, saved.manifest)
        make_plan = partial(plan_score, spec, saved.model, saved.storage, saved.manifest)
        with open_sections(
            spec, make_plan, OutputKind.SCORES, partial(importer, report=False), WORKER_MODULES,
            progress,
        ) as run:  # fmt: skip
            record = _measure(run, saved, spec.drift)
            warnings = tuple(run.reporter.warnings)
    return DriftResult(record, dict(saved.segment_names), warnings)


def refuse_without_reference(saved: SavedOutput) -> None:
    """Refuse a model that does not know the rows of its fit.

    Raises
    ------
    DataError
    """
    if saved.model.reference is None:
        raise DataError(
            "drift.no_reference", "the model does not know the rows of its fit",
            value=saved.url, parameter="model",
            rule="models have counts of them since gpuseg 0.1, except for those of plug-ins",
            hint="run its job again" if saved.model.keeps_reference
            else "give the class of the model a field `reference`",
        )  # fmt: skip


def _refuse_unused(overrides: Sequence[str]) -> None:
    """Refuse keys of what is written."""
    for text in overrides:
        key = text.partition("=")[0].strip()
        if any(key == unused or key.startswith(f"{unused}.") for unused in _UNUSED):
            raise ConfigError(
                "drift.unused_key", "nothing is written", value=key, parameter="overrides",
                rule="keys are of model, input, transactions, join, runtime and drift, "
                "without input.id",
                hint="leave it out",
            )  # fmt: skip


def _measure(run: OpenRun, saved: SavedOutput, thresholds: DriftThresholds) -> Drift:
    """Score the rows of the table, and return their drift."""
    table = plan_pass(run, saved)
    scoring = Scoring(saved.model, run.backend, None, False, False, table.memory.threads)

    def attempt() -> CountedRows:
        return table.score(run, scoring)

    scored = run.retry(attempt)
    warn_of_rows(run, scored.counts, scored.unseen_places)
    drift = drift_of_scores(saved, scored.counts, thresholds)
    assert drift is not None  # models without a reference are refused
    return drift
