"""Build the manifest of rows that a model has scored."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuseg import __version__, manifest
from gpuseg.formatting import numbered_row
from gpuseg.io.output.assignments import Part
from gpuseg.io.output.base import SIDECAR_SUFFIX
from gpuseg.jobs.context import OpenRun
from gpuseg.jobs.environment import versions
from gpuseg.jobs.plan import TablePlan
from gpuseg.jobs.run_facts import devices_of, rounded_seconds
from gpuseg.jobs.score.sections import ScoreSpec
from gpuseg.jobs.text_inputs import described_row, summaries_of
from gpuseg.models.base import SegmentModel
from gpuseg.models.loading import SavedOutput
from gpuseg.printable import printable_text, shortened
from gpuseg.profiling.selection import select_scope
from gpuseg.redaction import redacted
from gpuseg.scoring.counts import ScoreCounts

if TYPE_CHECKING:
    from gpuseg.jobs.refresh.continuation import SegmentLife
    from gpuseg.jobs.stages.build_features import BuiltFeatures


@dataclass(frozen=True)
class ScoredTable:
    """What a scoring run has found and written.

    Attributes
    ----------
    counts : ScoreCounts
        Of all rows.
    unseen_places : dict of str to str
        Where the first unseen category of a column is.
    parts : sequence of Part
    row_storage : manifest.RowStorage
    lookalikes : manifest.LookalikeSummary or None
        If the parts have only the rows nearest to a segment.
    """

    counts: ScoreCounts
    unseen_places: Mapping[str, str]
    parts: Sequence[Part]
    row_storage: manifest.RowStorage
    lookalikes: manifest.LookalikeSummary | None = None


def build_scores_manifest(
    run: OpenRun,
    spec: ScoreSpec,
    step: TablePlan,
    saved: SavedOutput,
    scored: ScoredTable,
    built: BuiltFeatures | None,
    life: SegmentLife,
) -> manifest.ScoresManifest:
    """Return the manifest.

    Parameters
    ----------
    built : BuiltFeatures or None
        The features that were built from lines, if some were.
    life : SegmentLife
        What it says of the life of the segments.
    """
    executor, backend, counts = run.executor.describe(), run.plan.resolved.backend, scored.counts
    segments, others = _segments(saved, counts)
    dataset = step.dataset
    return manifest.ScoresManifest(
        gpuseg=__version__,
        run_id=run.run_id,
        started=f"{run.started:%Y-%m-%dT%H:%M:%SZ}",
        job=spec.redacted(),
        scored_with=manifest.ScoredModel(
            path=redacted(saved.url),
            run_id=saved.run_id,
            algorithm=saved.model.name,
            n_clusters=saved.model.n_clusters,
        ),
        input=manifest.ScoredInput(
            path=dataset.storage.shown_url,
            files=len(dataset.files),
            row_groups=dataset.row_groups,
            rows=counts.n_rows,
            rows_dropped=counts.n_dropped,
            fingerprint=dataset.fingerprint(),
            text_files=summaries_of(run.plan.text_inputs, "input"),
        ),
        transactions=None if built is None else built.record,
        lookalikes=scored.lookalikes,
        backend=manifest.BackendSummary(name=backend.name, reason=backend.reason),
        devices=devices_of(executor, backend.name),
        executor=manifest.ExecutorSummary(
            **{**executor, "machines": tuple(executor["machines"])},
            row_storage=scored.row_storage,
        ),
        versions={"python": platform.python_version(), **versions()},
        seconds=rounded_seconds(run.reporter.seconds),
        segments=segments,
        other_segments=others,
        missing=_in_order(counts.missing, saved.model.pipeline.columns),
        clipped=_in_order(counts.clipped, saved.model.features),
        unseen=tuple(
            manifest.UnseenCategories(
                column=column,
                rows=counts.unseen[column].n_rows,
                example=shortened(printable_text(str(counts.unseen[column].value))),
                place=scored.unseen_places[column],
            )
            for column in _in_order(counts.unseen, saved.model.pipeline.columns)
        ),
        parts=tuple(
            manifest.PartSummary(name=part.name, rows=part.rows, bytes=part.bytes)
            for part in scored.parts
        ),
        sidecars=_sidecars(saved.model, built),
        warnings=tuple(run.reporter.warnings),
        **vars(life),
    )


def described_place(run: OpenRun, place: tuple[str, int]) -> str:
    """Describe a row of the table by its file, a text file if it was one."""
    texts = run.plan.text_inputs
    return described_row(texts, *place) if texts else numbered_row(*place)


def _in_order(counts: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return counts in the order of the columns or features."""
    return {name: counts[name] for name in names if name in counts}


def _segments(
    saved: SavedOutput, counts: ScoreCounts
) -> tuple[tuple[manifest.ScoredSegment, ...], manifest.OtherSegments | None]:
    """Return the segments with rows and mean distance; of many, the largest and all others."""
    numbers, total = counts.segments.numbers, max(counts.n_rows, 1)
    order = 1 + np.argsort(numbers[1:])
    if _has_noise(saved, counts):
        order = np.append(order, 0)  # noise is last
    no_features = np.empty((len(order), 0))
    scope = select_scope(
        numbers[order].tolist(), counts.sizes[order], no_features, np.empty(0, bool)
    )
    means = counts.distances.means(counts.sizes)
    at_fit = {s.segment: s.share for s in saved.manifest.segments} if saved.manifest else {}
    return tuple(
        manifest.ScoredSegment(
            segment=segment,
            name=saved.segment_names.get(segment),
            rows=int(counts.sizes[position]),
            share=int(counts.sizes[position]) / total,
            fit_share=at_fit.get(segment),
            mean_distance=means[position],
        )
        for segment, position in zip(scope.segments, order[scope.rows].tolist(), strict=True)
    ), scope.others


def _has_noise(saved: SavedOutput, counts: ScoreCounts) -> bool:
    """Return whether there is noise, now or at the fit."""
    of_fit = saved.manifest.segments if saved.manifest else ()
    return bool(counts.sizes[0]) or any(segment.is_noise for segment in of_fit)


def _sidecars(model: SegmentModel, built: BuiltFeatures | None) -> tuple[manifest.Sidecar, ...]:
    """Return the Parquet files of the output that are not parts of it."""
    contents = {}
    if built is not None:
        contents[built.table.storage.url] = "features of the customers"
    if any(name.endswith(SIDECAR_SUFFIX) for name in model.file_names()):
        contents["_model"] = "rows of the model, in scaled units, with their segments"
    return tuple(
        manifest.Sidecar(path=f"{folder}/*{SIDECAR_SUFFIX}", contents=text)
        for folder, text in contents.items()
    )
