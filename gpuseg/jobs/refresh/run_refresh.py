"""Refresh an output: run a job again, so that segments that survive keep their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gpuseg.errors import ConfigError, parameter_names
from gpuseg.jobs.checkpoint import recorded_key
from gpuseg.jobs.context import open_run
from gpuseg.jobs.job import JobSpec, job_names
from gpuseg.jobs.job_file import load_job
from gpuseg.jobs.on_ranks import run_on_ranks
from gpuseg.jobs.refresh.checks import check_refresh
from gpuseg.jobs.refresh.continuation import REASON, Continuation, NotGoodEnough
from gpuseg.jobs.refresh.older_output import OlderOutput, load_older_output
from gpuseg.jobs.refresh.scored_sections import scored_sections
from gpuseg.jobs.run import RunResult, read_run, segment_job
from gpuseg.jobs.run_sections import output_storage
from gpuseg.jobs.score.run_score import ScoreResult, read_scores, score_sections
from gpuseg.lineage.migration import refuse_other_hashes
from gpuseg.manifest import ScoresManifest, read_any_manifest
from gpuseg.refresh_record import Mode

if TYPE_CHECKING:
    from gpuseg.progress import Progress

Requested = Literal["auto"] | Mode


def refresh(
    job: str | Path | Mapping[str, Any],
    older: str | Path,
    *,
    mode: Requested | None = None,
    append: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    fresh: bool = False,
) -> RunResult | ScoreResult:
    """Run a job again on newer data; segments that survive keep their numbers and names.

    The output has the segments of the newer rows, and in its manifest what became of the older
    segments (events, overlap of the definitions), how customers moved (migration), and how far the
    rows have drifted. ``_changes`` has each customer whose segment changed, who came or who left.

    Parameters
    ----------
    job : path of a TOML file, or a mapping of the same shape
        Reads newer rows with the features, the preparation and the algorithm of the older output.
        Its section `[refresh]` says how.
    older : str or Path
        The output folder of a run, a score or a refresh: a local path or an fsspec URL, which has
        the storage options of the new output.
    mode : {"auto", "score", "warm", "fresh"}, optional
        By default `refresh.mode` of the job. "score" keeps the older model and assigns the rows.
        "warm" iterates from the older centers on. "fresh" fits from new seeds. "auto" takes "score"
        while no measure of drift is beyond its threshold; otherwise it fits both ways, and takes
        the fresh fit if its inertia is lower by at least `refresh.min_improvement` and two halves
        of the rows agree on its segments as well.
    append : bool, default False
        Whether the rows are only new ones, which update the older centers: approximate, since each
        older row keeps the segment that it had. k-means only.
    overrides : such as ``["refresh.mode=warm"]``
    progress : display of the progress; none by default
    fresh : bool, default False
        Whether the run starts from the beginning even if it was interrupted.

    Returns
    -------
    RunResult or ScoreResult
        `ScoreResult` if the older model was kept.

    Raises
    ------
    ConfigError, DataError, ResourceError
        When the job, the older output, the data or the machine is at fault. Then nothing is
        published, and older outputs are unchanged.

    Examples
    --------
    >>> import gpuseg
    >>> gpuseg.refresh("job.toml", "out/2026-Q1")  # doctest: +SKIP
    """
    if append and mode is not None:
        raise ConfigError(
            "refresh.append_with_mode",
            "rows that are appended update the older centers, in no other mode",
            value=mode,
            parameter="mode",
            hint="leave one of the two out",
        )
    given = [] if mode is None else [f"refresh.mode={mode}"]
    spec = load_job(job, [*overrides, *given])
    with parameter_names({**job_names(spec), "older": "from"}):
        output = load_older_output(str(older), spec.output.storage_options)
        continuation = _continuation(spec, output, append)
        spec = _with_older_features(spec, output)
    return run_on_ranks(
        spec,
        partial(_refresh, spec, output, str(older), continuation, progress, fresh),
        partial(_read, spec, output),
    )


def _refresh(
    spec: JobSpec,
    output: OlderOutput,
    older: str,
    continuation: Continuation,
    progress: Progress | None,
    fresh: bool,
) -> RunResult | ScoreResult:
    """Score the rows with the older model, or segment them again."""
    if not fresh and continuation.mode == "auto":
        continuation = _interrupted_refit(spec, continuation)
    if continuation.mode in ("score", "auto"):
        try:
            return score_sections(
                scored_sections(spec, older, output), output.files, None, progress, continuation,
                fresh,
            )  # fmt: skip
        except NotGoodEnough as drifted:
            continuation, fresh = continuation.refit(drifted.reason), False
    with open_run(
        spec, progress, replaces=continuation.replaces, is_update=continuation.is_update,
        fresh=fresh, key=continuation.key(),
    ) as ctx:  # fmt: skip
        return segment_job(ctx, continuation)


def _read(spec: JobSpec, output: OlderOutput, rank: int) -> RunResult | ScoreResult:
    """Return the result from the published output, as another rank than 0 has it."""
    folder = output_storage(spec)
    if isinstance(read_any_manifest(folder), ScoresManifest):
        return read_scores(spec, output.model, rank)
    return read_run(spec, rank)


def _interrupted_refit(spec: JobSpec, continuation: Continuation) -> Continuation:
    """Return the continuation with a new fit, if an interrupted attempt had begun one."""
    key = recorded_key(output_storage(spec))
    reason = key.get(REASON)
    if reason is None:
        return continuation
    refit = continuation.refit(json.loads(reason))
    return refit if key.get("the mode") == json.dumps(refit.mode) else continuation


def _continuation(spec: JobSpec, output: OlderOutput, append: bool) -> Continuation:
    """Return how the job continues the output.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    refuse_other_hashes(output.manifest.job, spec.redacted())
    settings = spec.refresh
    requested: Literal["append"] | Requested = "append" if append else settings.mode
    check_refresh(spec, output, requested)
    mode: Literal["refit"] | Literal["append"] | Requested = requested
    reason = "as requested"
    if requested == "auto" and output.model.reference is None:
        mode = "refit"
        reason = "the older model does not have what drift is measured against"
    elif requested == "auto" and (
        other := spec.algorithm.why_other_segments(spec.segment, output.model)
    ):
        mode, reason = "refit", other
    elif requested == "auto" and spec.prepare.duplicates != "keep":
        mode = "refit"
        reason = "the older model scores rows as they are read, and ids must be compared first"
    continuation = Continuation(
        older=output,
        requested=requested,
        mode=mode,
        reason=reason,
        keeps_preparation=settings.preparation == "keep",
        thresholds=settings.thresholds,
        min_improvement=settings.min_improvement,
        decay=settings.decay,
        no_warm_start=spec.algorithm.why_not_warm(spec.segment, output.model),
        only_of_fits=tuple(_only_of_fits(spec)),
        warning=_warning_of_snapshot(spec, output),
    )
    return continuation.refit(reason) if mode == "refit" else continuation


def _only_of_fits(spec: JobSpec) -> Iterator[str]:
    """Yield the keys of a job that say nothing to the older model while it scores the rows."""
    if spec.audit.columns:
        yield "audit"
    if spec.output.plots:
        yield "output.plots"


def _warning_of_snapshot(spec: JobSpec, output: OlderOutput) -> str | None:
    """Return a warning where new lines would be ignored, as the snapshot has not moved."""
    lines, older = spec.transactions, output.manifest.transactions
    if lines is None or older is None or lines.snapshot is None:
        return None
    if (snapshot := lines.snapshot.isoformat()) != older.snapshot:
        return None
    return (
        "transactions.snapshot is that of the older output, "
        f"{snapshot.removesuffix('T00:00:00')}: later lines are ignored. For a newer state "
        "of the customers, set a later one"
    )


def _with_older_features(spec: JobSpec, output: OlderOutput) -> JobSpec:
    """Return the job with the columns of the older output as its features.

    Columns that the older fit has dropped are not read.
    """
    columns = list(output.model.pipeline.columns)
    section = "input" if spec.transactions is None else "transactions"
    source = spec.source.model_copy(update={"features": columns})
    encodings = spec.prepare.categorical
    categorical = {name: encodings[name] for name in columns if name in encodings}
    transform = spec.prepare.transform
    if isinstance(transform, dict):
        transform = {name: transform[name] for name in columns if name in transform}
    prepare = spec.prepare.model_copy(update={"categorical": categorical, "transform": transform})
    return spec.model_copy(update={section: source, "prepare": prepare})
