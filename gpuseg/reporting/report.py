"""The report of a run: one self-contained HTML page, made from the manifest alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gpuseg import formatting as fmt
from gpuseg.reporting import svg as figures
from gpuseg.reporting.audit_view import audits
from gpuseg.reporting.view_models import segments_of

_ALGORITHMS = {
    "kmeans": "k-means",
    "dbscan": "DBSCAN",
    "hierarchical": "Ward's hierarchy of small segments, found by k-means",
}


def render_report(manifest: Mapping[str, Any]) -> str:
    """Render the report of a run as one HTML page that needs nothing from elsewhere.

    Parameters
    ----------
    manifest : mapping
        The manifest of the run; no row of the data is read.

    Returns
    -------
    str
        The page, with every name and path escaped.
    """
    segments = segments_of(manifest)
    template = _environment().get_template("report.html.j2")
    page = template.render(
        manifest=manifest,
        segments=segments,
        features=manifest["features"],
        size=sum(segment.size for segment in segments),
        found=sum(not segment.is_noise for segment in segments),
        noise=sum(segment.size for segment in segments if segment.is_noise),
        portrait=(portrait := manifest.get("portrait", {})),
        figures=figures.all_of(manifest),
        axes=figures.map_axes(portrait) if portrait.get("map") else [],
        figure_style=figures.STYLE,
        audits=audits(manifest),
        method=_method(manifest),
        stages=_stages(manifest["seconds"]),
        job=json.dumps(manifest["job"], indent=2, ensure_ascii=False, default=str),
    )
    return page.strip() + "\n"


def render_summary(manifest: Mapping[str, Any]) -> str:
    """Render the small version of the report that a notebook shows: who is in which segment."""
    template = _environment().get_template("summary.html.j2")
    segments = segments_of(manifest)
    return template.render(segments=segments, size=sum(segment.size for segment in segments))


@cache
def _environment() -> Environment:
    """Return what templates are rendered in; they are compiled once for all reports."""
    # Names and paths come from the data: everything is escaped, whatever a file is called.
    environment = Environment(
        loader=PackageLoader("gpuseg", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for helper in (fmt.number, fmt.percent, fmt.sigma, fmt.count, fmt.duration, fmt.moment):
        environment.filters[helper.__name__] = helper
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(name: str) -> Markup:
    """Let a long name break after its separators rather than anywhere."""
    return Markup(re.sub(r"([_./-])(?=.)", r"\1<wbr>", str(escape(name))))


def _preparation(manifest: Mapping[str, Any]) -> str:
    prepare, done = manifest["job"]["prepare"], manifest.get("preparation", {})
    said = [f"missing values: {prepare['missing']}"]
    if clip := prepare.get("clip"):
        said.append(f"clipped at the quantiles {clip[0]:g} and {clip[1]:g}")
    said.append(f"scale: {prepare['scale']}")
    said += [f"{own['column']}: {own['as']}" for own in done.get("encoded", [])]
    said += [f"{name} left out, {why}" for name, why in done.get("dropped", {}).items()]
    if pca := done.get("pca"):
        kept = fmt.percent(pca["variance_kept"])
        said.append(f"{pca['components']} principal components, which keep {kept} of the variance")
    return "; ".join(said)


def _method(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List how the segments were computed as terms and what is said of each."""
    result, executor, backend = manifest["result"], manifest["executor"], manifest["backend"]
    facts = [("Algorithm", _ALGORITHMS.get(result["algorithm"], str(result["algorithm"])))]
    if "n_iter" in result:
        facts.append(("Iterations", fmt.count(result["n_iter"])))
    if "converged" in result:
        facts.append(("Converged", "yes" if result["converged"] else _unconverged(result)))
    if "inertia" in result:
        facts.append(("Inertia", fmt.number(result["inertia"])))
    if "eps" in result:
        facts.append(
            (
                "Neighbours",
                f"{result['metric']} distance up to {result['eps']:.6g} in "
                f"scaled units; core rows have at least {result['min_samples']}",
            )
        )
        if result["eps_choices"]:
            facts.append(("Choice of eps", result["eps_why"]))
        kinds = [f"{fmt.count(result[kind])} {kind}" for kind in ("core", "border", "noise")]
        facts.append(("Rows by kind", ", ".join(kinds)))
    if "choice" in result:
        facts.append(("Choice of n_clusters", result["choice"]["reason"]))
    if manifest.get("sweep"):
        facts.append(("Sweep", _sweep(manifest)))
    weight = manifest["job"].get("input", {}).get("weight")
    workers = fmt.count(executor["n_workers"], "worker")
    threads = fmt.count(executor["threads_per_worker"], "thread")
    return [
        *facts,
        ("Weights", "every row counts once" if weight is None else f"the column {weight}"),
        ("Preparation", _preparation(manifest)),
        ("Backend", f"{backend['name']}: {backend['why']}"),
        *([("Reader", _reader(manifest["reader"]))] if "reader" in manifest else []),
        ("Devices", "; ".join(manifest["devices"])),
        ("Executor", f"{executor['cluster']}, {workers} of {threads}"),
        *(
            [("Rows", f"{executor['rows_are']}: {executor['why']}")]
            if "rows_are" in executor
            else []
        ),
        ("Versions", _versions(manifest)),
    ]


def _reader(reader: Mapping[str, Any]) -> str:
    """Say who decoded the rows, and which columns another did."""
    beside = [f"{name} by Arrow: {why}" for name, why in reader.get("by_arrow", {}).items()]
    return "; ".join([f"{reader['name']}: {reader['why']}", *beside])


def _sweep(manifest: Mapping[str, Any]) -> str:
    """Say what each number of segments came to, and which of them the report shows."""
    tried = [f"{own['n_clusters']}: {fmt.number(own['inertia'])}" for own in manifest["sweep"]]
    shown = manifest["result"]["n_clusters"]
    return f"inertia by number of segments: {', '.join(tried)}; shown here: {shown}"


def _unconverged(result: Mapping[str, Any]) -> str:
    where = f" after {fmt.count(result['n_iter'], 'iteration')}" if "n_iter" in result else ""
    return f"no: it was stopped{where}, and more iterations may move customers between segments"


def _versions(manifest: Mapping[str, Any]) -> str:
    pairs: Sequence[tuple[str, Any]] = [
        ("gpuseg", manifest["gpuseg"]),
        *manifest["versions"].items(),
    ]
    return ", ".join(f"{name} {version}" for name, version in pairs)


def _stages(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    """List the seconds per stage in their order, with the total, if known, at the end."""
    stages = [(name, spent) for name, spent in seconds.items() if name != "total"]
    return [*stages, ("total", seconds["total"])] if "total" in seconds else stages
