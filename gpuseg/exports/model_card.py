"""The model card: what a segmentation is for, how it was made, and what its limits are.

It is made from the model and the manifest, never from rows, and is meant to be handed on: it has no
path, no id and no example of a customer, and does not describe segments of few customers.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gpuseg import formatting as fmt
from gpuseg.exports.export_format import ExportedFiles, ExportFormat, ExportOptions, Layout
from gpuseg.manifest import Manifest, Preparation, Segment, SelectionRow
from gpuseg.models.described_model import DescribedModel
from gpuseg.printable import printable, shortened
from gpuseg.redaction import redacted
from gpuseg.reporting.audit_view import audit_views

CARD_NAME = "model_card.md"

_MIN_DESCRIBED = 10
"""Customers of the smallest segment that is described: the average of few tells of each."""

_MAX_FEATURES, _MAX_SEGMENTS, _MAX_LINES = 100, 100, 50
"""Most features, segments, and lines on the preparation."""

_MAX_TEXT = 500
"""Most characters of a text from the data."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$!&])")
"""Characters that Markdown or HTML obeys."""

_LIST_MARK = re.compile(r"^([-+]|\d+(?=[.)]))(?=[.)]?\s)")
"""What would make a list of a text."""


class ListedSegment(NamedTuple):
    """A segment as the card lists it."""

    number: str
    name: str
    size: str
    share: str
    sentence: str


def model_card(source: DescribedModel) -> str:
    """Return the card of an output as Markdown, with a head in YAML."""
    model, manifest = source.model, source.manifest
    values: dict[str, Any] = {
        "model": model,
        "manifest": manifest,
        "n_segments": model.n_clusters,
        "title": f"{fmt.count(model.n_clusters, 'segment')} ({_title(source)})",
        "features": model.features,
        "columns": model.pipeline.columns,
        "quality": None if manifest is None else _quality(manifest),
    }
    if manifest is not None:
        features = list(manifest.features.items())[:_MAX_FEATURES]
        segments = manifest.ordered_segments[:_MAX_SEGMENTS]
        n_listed = sum(not segment.is_noise for segment in segments)
        values |= {
            "transactions": manifest.transactions,
            "shown_features": features,
            "n_more_features": manifest.n_features - len(features),
            "preparation": _preparation(manifest.preparation),
            "selection": manifest.result.selection,
            "segments": [_listed(segment) for segment in segments],
            "n_other_segments": manifest.n_segments - n_listed,
            "facts": _facts(manifest),
            "audits": audit_views(manifest),
            "versions": [f"{name} {v}" for name, v in _versions(manifest).items()],
        }
    return _environment().get_template("model_card.md.j2").render(values).strip() + "\n"


def _card_files(source: DescribedModel, options: ExportOptions) -> ExportedFiles:
    return {CARD_NAME: model_card(source).encode()}


def _title(source: DescribedModel) -> str:
    return source.model.name if source.manifest is None else source.manifest.result.title


def _versions(manifest: Manifest) -> dict[str, str]:
    return {"gpuseg": manifest.gpuseg, **manifest.versions}


def _listed(segment: Segment) -> ListedSegment:
    number = fmt.segment_name(segment.segment)
    if segment.size < _MIN_DESCRIBED:
        return ListedSegment(number, fmt.NOTHING, f"fewer than {_MIN_DESCRIBED}", fmt.NOTHING, "")
    return ListedSegment(
        number,
        segment.name or fmt.NOTHING,
        fmt.count(segment.size),
        fmt.percent(segment.share),
        segment.sentence or "",
    )


def _preparation(preparation: Preparation) -> list[str]:
    """Return what was done to all features, and what was left out."""
    lines = [f"missing values: {preparation.missing}", f"scale: {preparation.scale}"]
    if (clip := preparation.clip_quantiles) is not None:
        lines.append(f"clipped at the quantiles {clip.low:g} and {clip.high:g}")
    if (pca := preparation.pca) is not None:
        components = fmt.count(pca.n_components, "principal component")
        lines.append(f"{components} with {fmt.percent(pca.variance_kept)} of the variance")
    details = [
        f"{column.column}: {column.encoding}, {fmt.count(len(column.features), 'feature')}"
        for column in preparation.encoded
    ]
    details += [f"{name} left out: {reason}" for name, reason in preparation.dropped.items()]
    details += preparation.redundant
    lines += details[:_MAX_LINES]
    if len(details) > _MAX_LINES:
        lines.append(f"and {fmt.count(len(details) - _MAX_LINES, 'more line')} in the manifest")
    return lines


def _quality(manifest: Manifest) -> SelectionRow | None:
    """Return the quality of the segmentation, if it was measured as k was selected."""
    selection = manifest.result.selection
    rows = () if selection is None else selection.table
    return next((row for row in rows if row.n_clusters == manifest.result.n_clusters), None)


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Return names and values of what is known of the quality, and what the algorithm reports."""
    result, facts = manifest.result, []
    if (row := _quality(manifest)) is not None:
        error = fmt.number(row.silhouette_error)
        facts += [
            ("silhouette", f"{fmt.number(row.silhouette)} ± {error}, from −1 to 1"),
            ("ambiguous customers", fmt.percent(row.ambiguous_share)),
            ("stability (adjusted Rand index of halves)", fmt.number(row.stability)),
        ]
    if result.converged is not None:
        facts.append(("converged", "yes" if result.converged else "no"))
    if manifest.profile is not None and (rules := manifest.profile.rules) is not None:
        error = fmt.percent(rules.fidelity_error)
        text = f"give {fmt.percent(rules.fidelity)} ± {error} of the customers their segment"
        facts.append(("rules in words", text))
    for name, value in result.facts.items():
        if isinstance(value, int | float | str):
            text = str(value) if isinstance(value, bool | str) else fmt.number(value, 6)
            facts.append((name.replace("_", " "), text))
    return facts


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gpuseg", "exports"),
        autoescape=False,  # Markdown: `_escaped` does it
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_escaped,
    )
    for helper in (fmt.number, fmt.average, fmt.percent, fmt.count, fmt.moment):
        environment.filters[helper.__name__] = helper
    environment.filters["join"] = _joined
    environment.filters["tag"] = _tag
    return environment


def _escaped(value: Any) -> Any:
    """Escape what Markdown obeys in a text; texts of the template itself are not passed here."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    text = printable(shortened(redacted(value), _MAX_TEXT))
    return Markup(_LIST_MARK.sub(r"\\\1", _SPECIAL.sub(r"\\\1", text)))


def _joined(values: Iterable[Any], separator: str) -> Markup:
    """Join the first values, each of them escaped."""
    items: Sequence[Any] = list(values)
    texts = [str(_escaped(str(item))) for item in items[:_MAX_FEATURES]]
    if len(items) > _MAX_FEATURES:
        texts.append(f"and {fmt.count(len(items) - _MAX_FEATURES)} more")
    return Markup(separator.join(texts))


def _tag(name: str) -> Markup:
    """Return the name of an algorithm as a tag of YAML."""
    return Markup(re.sub(r"[^A-Za-z0-9-]+", "-", name))


FORMAT = ExportFormat("card", Layout.TEXT, _card_files, has_card=False)
