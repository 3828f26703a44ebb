"""The report of a run: one self-contained HTML page, made only from the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from gpuseg import formatting as fmt
from gpuseg.manifest import AlgorithmResult, Manifest, Preparation, ReaderSummary
from gpuseg.reporting import svg
from gpuseg.reporting.audit_view import audit_views
from gpuseg.reporting.changes_view import changes_view
from gpuseg.reporting.drift_view import N_OPEN
from gpuseg.reporting.templates import environment
from gpuseg.reporting.view_models import segment_views

_FACT_DIGITS = 6
"""Significant digits of the facts of an algorithm."""

_MAX_LISTED = 100
"""Features that are listed one by one where they are left out."""

_MAX_JOB_FEATURES = 1000
"""Features of the job that the report names."""


class Fact(NamedTuple):
    """A line of the description list on how the segments were computed."""

    name: str
    value: str


def render_report(manifest: Manifest) -> str:
    """Render the report of a run as one HTML page that loads no other file.

    Names and paths from the data are escaped. No row of the data is read.
    """
    template = environment().get_template("report.html.j2")
    page = template.render(
        manifest=manifest,
        segments=segment_views(manifest),
        n_noise=sum(segment.size for segment in manifest.segments if segment.is_noise),
        others=manifest.other_segments,
        rules=manifest.profile.rules if manifest.profile else None,
        figures=svg.figures(manifest),
        axes=svg.map_axes(manifest.profile) if manifest.profile else [],
        frequencies=[name for name, feature in manifest.features.items() if feature.is_frequency],
        has_categories=any(feature.is_category for feature in manifest.features.values()),
        n_unlabeled=_n_unlabeled(manifest),
        figure_style=svg.STYLE,
        audits=audit_views(manifest),
        changes=changes_view(manifest),
        n_open=N_OPEN,
        method=_method(manifest),
        stages=_stages(manifest.seconds),
        job=json.dumps(_shown_job(manifest.job), indent=2, ensure_ascii=False, default=str),
    )
    return page.strip() + "\n"


def _n_unlabeled(manifest: Manifest) -> int:
    """Return how many described segments have no room for their number on the map."""
    segment_map = manifest.profile.map if manifest.profile else None
    if segment_map is None:
        return 0
    labels = svg.map_labels(segment_map, manifest.ordered_segments)
    return len(segment_map.centers) - len(labels)


def _shown_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job with the first features only, where there are many; the manifest has all."""
    return {name: _with_first_features(section) for name, section in job.items()}


def _with_first_features(section: Any) -> Any:
    features = section.get("features") if isinstance(section, Mapping) else None
    if not isinstance(features, list) or len(features) <= _MAX_JOB_FEATURES:
        return section
    n_more = len(features) - _MAX_JOB_FEATURES
    rest = f"… and {fmt.count(n_more, 'more feature')}, which the manifest names"
    return {**section, "features": [*features[:_MAX_JOB_FEATURES], rest]}


def render_summary(manifest: Manifest) -> str:
    """Render the table of segments that a notebook shows."""
    template = environment().get_template("summary.html.j2")
    return template.render(manifest=manifest, segments=segment_views(manifest))


def _method(manifest: Manifest) -> list[Fact]:
    """Return how the segments were computed."""
    executor, backend = manifest.executor, manifest.backend
    workers = fmt.count(executor.n_workers, "worker")
    threads = fmt.count(executor.threads_per_worker, "thread")
    weight = manifest.input.weight
    facts = [
        Fact("Algorithm", manifest.result.title),
        *_iteration_facts(manifest.result),
        *_algorithm_facts(manifest.result.facts),
    ]
    if manifest.result.selection is not None:
        facts.append(Fact("Number of segments", manifest.result.selection.reason))
    if manifest.sweep:
        facts.append(Fact("Sweep", _sweep(manifest)))
    facts += [
        Fact("Weights", "every row counts once" if weight is None else f"the column {weight}"),
        Fact("Preparation", _preparation(manifest.preparation)),
        Fact("Backend", f"{backend.name}: {backend.reason}"),
    ]
    if manifest.reader is not None:
        facts.append(Fact("Reader", _reader(manifest.reader)))
    facts += [
        Fact("Devices", "; ".join(manifest.devices)),
        Fact("Executor", f"{executor.cluster}, {workers} with {threads}"),
    ]
    if (storage := executor.row_storage) is not None:
        facts.append(Fact("Rows", f"{storage.mode}: {storage.reason}"))
    versions = {"gpuseg": manifest.gpuseg, **manifest.versions}
    facts.append(Fact("Versions", ", ".join(f"{name} {v}" for name, v in versions.items())))
    return facts


def _iteration_facts(result: AlgorithmResult) -> list[Fact]:
    facts = []
    if result.n_iter is not None:
        facts.append(Fact("Iterations", fmt.count(result.n_iter)))
    if result.converged is not None:
        facts.append(Fact("Converged", "yes" if result.converged else _not_converged(result)))
    return facts


def _not_converged(result: AlgorithmResult) -> str:
    after = f" after {fmt.count(result.n_iter, 'iteration')}" if result.n_iter is not None else ""
    return f"no: stopped{after}; more iterations may move customers between segments"


def _algorithm_facts(facts: Mapping[str, Any]) -> list[Fact]:
    """Return the facts that only this algorithm reports, by name and value.

    Lists and tables are left to the manifest.
    """
    texts = {name: _fact_value(value) for name, value in facts.items()}
    return [Fact(_label(name), text) for name, text in texts.items() if text is not None]


def _label(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _fact_value(value: Any) -> str | None:
    """Return a single value as text, or None for null, lists and tables."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return fmt.count(value)
    if isinstance(value, float):
        return fmt.number(value, _FACT_DIGITS)
    return value if isinstance(value, str) else None


def _sweep(manifest: Manifest) -> str:
    """Return the inertia of each number of segments, and which of them the report shows."""
    inertias = [f"{row.n_clusters}: {fmt.number(row.inertia)}" for row in manifest.sweep]
    return (
        f"inertia by number of segments: {', '.join(inertias)}; "
        f"shown here: {manifest.result.n_clusters}"
    )


def _preparation(preparation: Preparation) -> str:
    texts = [f"missing values: {preparation.missing}"]
    if (clip := preparation.clip_quantiles) is not None:
        texts.append(f"clipped at the quantiles {clip.low:g} and {clip.high:g}")
    texts.append(f"scale: {preparation.scale}")
    texts += [
        f"{column.column}: vectors of {fmt.count(len(column.features), 'number')}"
        if column.encoding == "vector"
        else f"{column.column}: {column.encoding}"
        for column in preparation.encoded
    ]
    dropped = list(preparation.dropped.items())
    texts += [f"{name} left out: {reason}" for name, reason in dropped[:_MAX_LISTED]]
    if len(dropped) > _MAX_LISTED:
        texts.append(f"{fmt.count(len(dropped) - _MAX_LISTED, 'more feature')} left out")
    if (pca := preparation.pca) is not None:
        kept = fmt.percent(pca.variance_kept)
        texts.append(
            f"{fmt.count(pca.n_components, 'principal component')} with {kept} of the variance"
        )
    return "; ".join(texts)


def _reader(reader: ReaderSummary) -> str:
    """Return which library decoded the rows, and which columns Arrow decoded instead."""
    by_arrow = [f"{name} by Arrow: {reason}" for name, reason in reader.by_arrow.items()]
    return "; ".join([f"{reader.name}: {reader.reason}", *by_arrow])


def _stages(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return the seconds of each stage in their order, with the total, if known, at the end."""
    stages = [(name, spent) for name, spent in seconds.items() if name != "total"]
    return [*stages, ("total", seconds["total"])] if "total" in seconds else stages
