"""The report of a run: one self-contained HTML page, made from the manifest alone."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gpuseg.insight import format as fmt
from gpuseg.insight.table import ordered_segments, top_features

_TOP = 5
# Deviations worth a word, and those that do not round to zero.
_TELLING, _VISIBLE = 0.5, 0.05
# A deviation's colour: level i from the i-th bound on, in standard deviations.
_LEVELS = (0.25, 0.5, 1.0, 2.0)
# The bars end here, so that one outlier does not flatten all the others.
_BAR_SIGMAS = 3.0
_ALGORITHMS = {"kmeans": "k-means", "dbscan": "DBSCAN"}


@dataclass(frozen=True)
class Trait:
    """A segment in one feature: its value, everyone's, and how far apart they are (or NaN)."""

    feature: str
    value: float | None
    average: float | None
    deviation: float

    @property
    def level(self) -> str:
        """The CSS class of the deviation's colour: n4 (far below) to z to p4 (far above)."""
        # Rounded as it is printed, so that equal numbers have equal colours.
        size = round(abs(self.deviation), 1)
        step = 0 if math.isnan(size) else bisect_right(_LEVELS, size)
        return f"{'p' if self.deviation > 0 else 'n'}{step}" if step else "z"

    @property
    def extent(self) -> float:
        """The length of the deviation's bar, in percent of one side."""
        size = 0.0 if math.isnan(self.deviation) else abs(self.deviation)
        return min(size / _BAR_SIGMAS, 1.0) * 100


@dataclass(frozen=True)
class Segment:
    """A segment as the page shows it, its traits in the features' order and ranked."""

    name: str
    is_noise: bool
    size: int
    share: float
    bar: float
    label: str
    said: str
    traits: list[Trait]
    ranked: list[Trait]

    @property
    def title(self) -> str:
        """The segment's name in a heading."""
        if self.is_noise:
            return "Noise"
        return f"Segment {self.name}" + (f": {self.label}" if self.label else "")

    @property
    def anchor(self) -> str:
        """The id of the segment's section."""
        return f"segment-{self.name}"

    @property
    def apart(self) -> list[Trait]:
        """The features that set the segment apart most."""
        return self.ranked[:_TOP]

    @property
    def others(self) -> list[Trait]:
        """The remaining features, in their order."""
        apart = {trait.feature for trait in self.apart}
        return [trait for trait in self.traits if trait.feature not in apart]

    @property
    def telling(self) -> list[Trait]:
        """The features to name where there is room for few."""
        return [t for t in self.ranked[:3] if abs(t.deviation) >= _VISIBLE]

    @property
    def sentence(self) -> str:
        """What sets the segment apart, in words."""
        if self.said:
            return f"{self.said}."
        above = fmt.listing([t.feature for t in self.apart if t.deviation >= _TELLING])
        below = fmt.listing([t.feature for t in self.apart if t.deviation <= -_TELLING])
        if above and below:
            return f"Above the average in {above}; below it in {below}."
        if above or below:
            return f"{'Above' if above else 'Below'} the average in {above or below}."
        return "Close to the average in every feature."


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
    segments = _segments(manifest)
    template = _environment().get_template("report.html.j2")
    page = template.render(
        manifest=manifest,
        segments=segments,
        features=manifest["features"],
        size=sum(segment.size for segment in segments),
        found=sum(not segment.is_noise for segment in segments),
        noise=sum(segment.size for segment in segments if segment.is_noise),
        method=_method(manifest),
        stages=_stages(manifest["seconds"]),
        job=json.dumps(manifest["job"], indent=2, ensure_ascii=False, default=str),
    )
    return page.strip() + "\n"


def _environment() -> Environment:
    # Names and paths come from the data: everything is escaped, whatever a file is called.
    environment = Environment(
        loader=PackageLoader("gpuseg", "insight"),
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


def _segments(manifest: Mapping[str, Any]) -> list[Segment]:
    features = manifest["features"]
    ordered = ordered_segments(manifest)
    largest = max((segment["share"] for segment in ordered), default=0.0)
    return [_segment(segment, features, largest) for segment in ordered]


def _segment(
    segment: Mapping[str, Any], features: Mapping[str, Mapping[str, Any]], largest: float
) -> Segment:
    traits = {
        name: Trait(
            feature=name,
            value=segment["center"].get(name),
            average=about["mean"],
            deviation=_or_nan(segment["deviation"].get(name)),
        )
        for name, about in features.items()
    }
    return Segment(
        name=fmt.segment_name(segment["segment"]),
        is_noise=segment["segment"] == fmt.NOISE,
        size=segment["size"],
        share=segment["share"],
        bar=segment["share"] / largest * 100 if largest > 0 else 0.0,
        label=segment.get("name", ""),
        said=segment.get("sentence", ""),
        traits=list(traits.values()),
        ranked=[traits[name] for name in top_features(segment, list(features))],
    )


def _or_nan(x: float | None) -> float:
    return math.nan if x is None else x


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
        facts.append(("Choice of n_clusters", result["choice"]["why"]))
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
        ("Devices", "; ".join(manifest["devices"])),
        ("Executor", f"{executor['cluster']}, {workers} of {threads}"),
        *(
            [("Rows", f"{executor['rows_are']}: {executor['why']}")]
            if "rows_are" in executor
            else []
        ),
        ("Versions", _versions(manifest)),
    ]


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
