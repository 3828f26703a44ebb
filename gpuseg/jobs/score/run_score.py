"""Score a table with a saved model, from the paths to the published output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg.errors import parameter_names
from gpuseg.jobs.context import OpenRun, job_errors, open_sections
from gpuseg.jobs.duplicates import count_duplicate_ids, duplicates_warning
from gpuseg.jobs.id_warnings import warning_of_personal_ids
from gpuseg.jobs.job import job_names
from gpuseg.jobs.on_ranks import run_on_ranks
from gpuseg.jobs.plan import TablePlan
from gpuseg.jobs.refresh.continuation import SegmentLife
from gpuseg.jobs.refresh.continue_scored import continue_scored
from gpuseg.jobs.resume_key import MODEL
from gpuseg.jobs.run_sections import RunSections, output_storage
from gpuseg.jobs.score.drift_of_scores import drift_of_scores, drift_warning
from gpuseg.jobs.score.manifest_of_scores import (
    ScoredTable,
    build_scores_manifest,
)
from gpuseg.jobs.score.model_files import ModelFiles
from gpuseg.jobs.score.plan import (
    ScoreMemory,
    plan_score,
)
from gpuseg.jobs.score.score_pass import (
    WORKER_MODULES,
    TablePass,
    importer,
    load_model_of,
    plan_pass,
    warn_of_rows,
)
from gpuseg.jobs.score.sections import (
    Command,
    ScoreSpec,
    check_sections,
    validated_sections,
)
from gpuseg.jobs.score.write_lookalikes import write_lookalikes
from gpuseg.jobs.stages.stage_files import stage_and_publish
from gpuseg.jobs.stages.write import refuse_parts_not_shared
from gpuseg.manifest import FIT_MANIFEST, RowStorage, dump
from gpuseg.models.loading import SavedOutput
from gpuseg.output_kind import OutputKind
from gpuseg.redaction import redacted
from gpuseg.scoring.lookalikes import Lookalikes, liked_segment
from gpuseg.scoring.score_shard import Scoring

if TYPE_CHECKING:
    from gpuseg.jobs.refresh.continuation import Continuation
    from gpuseg.manifest import ScoresManifest
    from gpuseg.models.base import SegmentModel
    from gpuseg.progress import Progress


@dataclass(frozen=True)
class ScoreResult:
    """Result of scoring a table.

    Attributes
    ----------
    path : str
        The output folder.
    record : ScoresManifest
        The manifest as a typed object.
    model : SegmentModel
        The model that has scored the table.
    rank : int
        Rank of this process where ``runtime.cluster = "ranks"``; otherwise 0.
    """

    path: str
    record: ScoresManifest
    model: SegmentModel
    rank: int = 0

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest as a dict, as in ``_manifest.json``."""
        return self.record.to_json()

    def __repr__(self) -> str:
        return (
            f"ScoreResult(path={redacted(self.path)!r}, rows={self.record.input.rows}, "
            f"run_id={self.record.run_id!r})"
        )


def score(
    model: str | Path,
    input: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    id: str | None = None,
    cluster: str | None = None,
    snapshot: str | date | None = None,
    built_features: bool = False,
    like: str | int | None = None,
    top: int | None = None,
    exclude_members: bool = False,
    confidence: bool = False,
    overwrite: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    fresh: bool = False,
) -> ScoreResult:
    """Write the segment of each row of a table, as a saved model assigns it.

    The table is read in one pass, and no row stays in memory. What the job of the fit says of ids,
    text files and runtime holds here too, unless the caller says otherwise.

    Parameters
    ----------
    model : str or Path
        The output folder of a run, or its ``_model``; a path or an fsspec URL.
    input : str, Path or sequence of them
        A table as `[input]` of a job has it: Parquet, CSV, Excel, Delta or Iceberg. It has the
        columns of the fit, in any order, and may have more. If the job of the fit had transaction
        lines, these are such lines, of which features are built first.
    output : str or Path
        The folder to write to.
    snapshot : str or date, optional
        If the job of the fit had transaction lines: the moment of the features, by default the
        midnight after the last line.
    built_features : bool, default False
        If the job of the fit had transaction lines: whether the input has built features instead.
    id : str, optional
        The id column, by default that of the fit; "" writes no ids.
    cluster : str, optional
        By default that of the fit.
    like : str or int, optional
        A segment, by its number or name, or ``COLUMN=NUMBER`` for a coarser level of a hierarchy:
        the output has only the rows of the table nearest to it, with `like_distance` and `rank`.
    top : int, optional
        How many rows these are.
    exclude_members : bool, default False
        Whether rows that are in the segment are left out of them.
    confidence : bool, default False
        Whether the output has the confidence, too.
    overwrite : bool, default False
        Whether an older output of this kind is replaced.
    overrides : sequence of str
        Further keys of the sections model, input, runtime and output, such as
        ``["runtime.memory_limit=4GiB"]``.
    progress : Progress, optional
        Display of the progress; none by default.
    fresh : bool, default False
        Whether the run starts from the beginning even if it was interrupted.

    Returns
    -------
    ScoreResult

    Raises
    ------
    ConfigError, DataError, ResourceError
        When the command, the table or the machine is at fault. Then nothing is published, and an
        older output is unchanged.

    Examples
    --------
    >>> import gpuseg
    >>> gpuseg.score("out/segments", "new_customers.parquet", "out/scored")  # doctest: +SKIP
    """
    command = Command(
        model, input, output, id, snapshot, built_features, like, top, exclude_members, cluster,
        confidence, overwrite, tuple(overrides),
    )  # fmt: skip
    files = load_model_of(command)
    saved = files.saved
    values = command.values(saved.manifest)
    spec = validated_sections(values, saved.manifest)
    with parameter_names(job_names(spec)):
        check_sections(spec, saved.model, saved.manifest)
        lookalikes = _lookalikes(spec, saved)
    return run_on_ranks(
        spec,
        partial(score_sections, spec, files, lookalikes, progress, fresh=fresh),
        partial(read_scores, spec, saved.model),
        WORKER_MODULES,
    )


def read_scores(spec: RunSections, model: SegmentModel, rank: int) -> ScoreResult:
    """Return the result from the published output, as another rank than 0 has it.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    from gpuseg.manifest import ScoresManifest, read_any_manifest

    folder = output_storage(spec)
    record = read_any_manifest(folder)
    if not isinstance(record, ScoresManifest):  # the older output, which is seen for a moment yet
        raise FileNotFoundError(folder.url)
    return ScoreResult(spec.output.path, record, model, rank)


def score_sections(
    spec: ScoreSpec,
    files: ModelFiles,
    lookalikes: Lookalikes | None = None,
    progress: Progress | None = None,
    continuation: Continuation | None = None,
    fresh: bool = False,
) -> ScoreResult:
    """Score a table, and publish the output.

    Parameters
    ----------
    spec : ScoreSpec
    files : ModelFiles
        The model, and the versions of its files.
    lookalikes : Lookalikes, optional
        Which rows are looked for; otherwise the output has all rows.
    continuation : Continuation, optional
        The older output that these segments continue.
    fresh : bool
        See `open_sections`.

    Raises
    ------
    ConfigError, DataError, ResourceError
    NotGoodEnough
        If the continuation refuses a model from which the rows have drifted.
    """
    saved = files.saved
    replaces = () if continuation is None else continuation.replaces
    make_plan = partial(
        plan_score, spec, saved.model, saved.storage, saved.manifest, replaces=replaces
    )
    with job_errors(spec):
        key = {MODEL: files.key()}
    if continuation is not None:
        key.update(continuation.key())
    with open_sections(
        spec, make_plan, OutputKind.SCORES, partial(importer, report=True), WORKER_MODULES,
        progress, replaces, fresh, key,
    ) as run:  # fmt: skip
        record = _score_table(run, spec, files, lookalikes, continuation)
    return ScoreResult(spec.output.path, record, saved.model)


def _score_table(
    run: OpenRun,
    spec: ScoreSpec,
    model_files: ModelFiles,
    lookalikes: Lookalikes | None,
    continuation: Continuation | None,
) -> ScoresManifest:
    """Score the rows of the table, and publish the output."""
    saved = model_files.saved
    table = plan_pass(run, saved, 0 if lookalikes is None else lookalikes.n)
    step = table.step
    if continuation is not None:
        continuation.check_ids(step.dataset)
    if personal := warning_of_personal_ids(spec, step.dataset):
        run.reporter.warn(personal)

    def attempt() -> ScoredTable:
        scored = _written(run, spec, saved, table, lookalikes)
        refuse_parts_not_shared(run.output.staging, scored.parts)
        if lookalikes is None:
            _check_ids(run, step, scored, table.memory)
        return scored

    scored = run.retry(attempt)
    warn_of_rows(run, scored.counts, scored.unseen_places)
    drift = drift_of_scores(saved, scored.counts, spec.drift)
    life, changes = SegmentLife(saved.model.identity.lineage, drift), list[str]()
    if continuation is not None:
        life, changes = continue_scored(run, continuation, step.dataset.id, scored.parts, drift)
    if drift is not None and drift.alarms:
        run.reporter.warn(drift_warning(drift))
    with run.reporter.stage("publish"):
        record = build_scores_manifest(run, spec, step, saved, scored, table.built, life)
        page, record = _report(run, record)
        files = {f"_model/{name}": content for name, content in model_files.contents()}
        files["_report.html"] = page.encode()
        if saved.manifest is not None:
            files[FIT_MANIFEST] = dump(saved.manifest)
        names = [*(part.name for part in scored.parts), *changes]
        stage_and_publish(
            run, files, record, [*names, *([] if table.built is None else table.built.part_names)]
        )
    return record


def _report(run: OpenRun, record: ScoresManifest) -> tuple[str, ScoresManifest]:
    """Return the report, and the manifest with a warning if it could not be made."""
    from gpuseg.reporting.scores_report import render_scores_report
    from gpuseg.reporting.templates import MISSING_REPORT

    page = run.reporter.describe(
        "report", lambda: render_scores_report(record), lambda: MISSING_REPORT
    )
    warnings, failures = tuple(run.reporter.warnings), tuple(run.reporter.failures)
    return page, record.model_copy(update={"warnings": warnings, "failures": failures})


def _lookalikes(spec: ScoreSpec, saved: SavedOutput) -> Lookalikes | None:
    """Return which rows are looked for; None if the output has all rows."""
    if spec.like is None:
        return None
    liked = liked_segment(saved.model, spec.like.segment, saved.segment_names)
    return Lookalikes(liked, spec.like.top, spec.like.exclude_members)


def _written(
    run: OpenRun,
    spec: ScoreSpec,
    saved: SavedOutput,
    table: TablePass,
    lookalikes: Lookalikes | None,
) -> ScoredTable:
    """Score the rows of the table, and write the parts.

    Raises
    ------
    DataError
        For rows that cannot be scored.
    """
    scoring = Scoring(
        saved.model, run.backend, run.output.staging, spec.output.confidence,
        table.memory.id_turns == 1, table.memory.threads, lookalikes,
    )  # fmt: skip
    scored = table.score(run, scoring)
    storage = RowStorage(mode="streamed", reason=table.memory.reason)
    if lookalikes is not None:
        written, summary = write_lookalikes(run, saved, lookalikes, spec.id, scored.of_shards)
        return ScoredTable(scored.counts, scored.unseen_places, written, storage, summary)
    parts = [part for result in scored.of_shards for part in result.parts]
    return ScoredTable(scored.counts, scored.unseen_places, parts, storage)


def _check_ids(run: OpenRun, step: TablePlan, scored: ScoredTable, memory: ScoreMemory) -> None:
    """Warn of ids that several rows have."""
    if step.dataset.id is None:
        return
    if not memory.id_turns:
        run.reporter.log("ids were not compared with each other, for want of memory")
        return
    with run.reporter.stage("check ids"):
        n_duplicates = count_duplicate_ids(run.executor, scored.parts, memory.id_turns)
    if n_duplicates:
        run.reporter.warn(duplicates_warning(step.dataset.id, n_duplicates))
