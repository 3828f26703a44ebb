"""The report of rows that a model has scored: one HTML page, made only from the manifest."""

import json
from typing import Any, NamedTuple

from gpuseg import formatting as fmt
from gpuseg.manifest import ScoredSegment, ScoresManifest
from gpuseg.reporting.changes_view import changes_view
from gpuseg.reporting.drift_view import N_OPEN
from gpuseg.reporting.svg import STYLE
from gpuseg.reporting.templates import environment


class ScoreFact(NamedTuple):
    """A line of the description list on how the rows were scored."""

    name: str
    value: str


def render_scores_report(manifest: ScoresManifest) -> str:
    """Render the report of a scoring run as one HTML page that loads no other file.

    Names and paths from the data are escaped. No row of the data is read.
    """
    largest = max((segment.rows for segment in manifest.segments), default=0)
    ordered = sorted(manifest.segments, key=lambda s: (s.segment < 0, -s.rows, s.segment))
    page = (
        environment()
        .get_template("scores.html.j2")
        .render(
            manifest=manifest,
            segments=[_view(segment, largest) for segment in ordered],
            has_fit=any(segment.fit_share is not None for segment in manifest.segments),
            changes=changes_view(manifest),
            n_open=N_OPEN,
            figure_style=STYLE,
            method=_method(manifest),
            job=json.dumps(manifest.job, indent=2, ensure_ascii=False, default=str),
        )
    )
    return page.strip() + "\n"


def _view(segment: ScoredSegment, largest: int) -> dict[str, Any]:
    """Return what the page shows of a segment."""
    number = "Noise" if segment.segment < 0 else f"Segment {fmt.segment_name(segment.segment)}"
    return {
        **dict(segment),
        "title": f"{number}: {segment.name}" if segment.name else number,
        "bar": 100 * segment.rows / largest if largest else 0,
    }


def _method(manifest: ScoresManifest) -> list[ScoreFact]:
    """Return how the rows were scored."""
    executor, backend, seconds = manifest.executor, manifest.backend, manifest.seconds
    workers = fmt.count(executor.n_workers, "worker")
    threads = fmt.count(executor.threads_per_worker, "thread")
    versions = {"gpuseg": manifest.gpuseg, **manifest.versions}
    facts = {
        "Algorithm": manifest.scored_with.algorithm,
        "Table": f"{fmt.count(manifest.input.files, 'file')}, "
        f"{fmt.count(manifest.input.row_groups, 'row group')}, {manifest.input.fingerprint}",
        "Backend": f"{backend.name}: {backend.reason}",
        "Devices": "; ".join(manifest.devices),
        "Executor": f"{executor.cluster}, {workers} with {threads}",
        "Rows": "" if executor.row_storage is None else executor.row_storage.reason,
        "Time": ", ".join(f"{name} {fmt.duration(spent)}" for name, spent in seconds.items()),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return [ScoreFact(name, value) for name, value in facts.items() if value]
