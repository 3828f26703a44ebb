"""The page of the server: the segments, and a form that scores one customer.

The page loads no other file. Its script and its style have a hash each in the content security
policy, so that nothing that data could bring into the page runs.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from gpuseg.formatting import segment_name
from gpuseg.manifest import FeatureSummary, Manifest, Segment
from gpuseg.models.base import SegmentModel
from gpuseg.printable import printable, printable_text
from gpuseg.reporting.templates import environment
from gpuseg.reporting.view_models import SegmentView, segment_views
from gpuseg.serving.form_fields import FormField, form_fields

_MAX_OPEN_FIELDS = 40
"""Fields that are shown at once; the others are folded away."""

_MAX_LISTED = 1000
"""Segments that are listed where there is no manifest."""


@dataclass(frozen=True)
class SegmentLine:
    """A line of the table of segments.

    Attributes
    ----------
    number : int
    title, sentence : str
        The sentence is empty where there is no manifest.
    size : int or None
    share : float or None
        From 0 to 1.
    bar : float
        Length of the bar of its share, in percent.
    """

    number: int
    title: str
    sentence: str = ""
    size: int | None = None
    share: float | None = None
    bar: float = 0.0


def render_page(model: SegmentModel, manifest: Manifest | None) -> str:
    """Render the page of a model.

    Parameters
    ----------
    model : SegmentModel
    manifest : Manifest or None
        Has names, sizes, sentences and averages; without it the page has numbers only.
    """
    fields = form_fields(model, manifest)
    return _rendered(
        is_locked=False,
        manifest=manifest,
        algorithm=manifest.result.title if manifest else model.name,
        n_segments=manifest.n_segments if manifest else model.n_clusters,
        segments=_listed(model, manifest),
        n_unlisted=0 if manifest else max(model.n_clusters - _MAX_LISTED, 0),
        fields=list(enumerate(fields)),
        n_open=_MAX_OPEN_FIELDS,
        data=_script_data(fields, manifest),
    )


def render_locked_page() -> str:
    """Render the page for a caller without a token: it asks for one, and tells nothing else."""
    return _rendered(is_locked=True, data=_json_in_html({}))


def content_security_policy() -> str:
    """Return the value of the header `Content-Security-Policy` of both pages."""
    return (
        f"default-src 'none'; script-src {_hash_source(_script())}; "
        f"style-src {_hash_source(_style())}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _rendered(**values: Any) -> str:
    template = environment("serving").get_template("page.html.j2")
    page = template.render(script=Markup(_script()), style=Markup(_style()), **values)
    return page.strip() + "\n"


@cache
def _script() -> str:
    return files("gpuseg.serving").joinpath("page.js").read_text(encoding="utf-8")


@cache
def _style() -> str:
    return environment("serving").get_template("page.css").render()


def _hash_source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _viewed_segments(manifest: Manifest) -> list[tuple[Segment, SegmentView]]:
    """Return the segments, the largest first, each with what the report shows of it."""
    return list(zip(manifest.ordered_segments, segment_views(manifest), strict=True))


def _listed(model: SegmentModel, manifest: Manifest | None) -> list[SegmentLine]:
    if manifest is None:
        numbers = sorted(model.segment_ids.tolist())[:_MAX_LISTED]
        return [SegmentLine(n, f"Segment {segment_name(n)}") for n in numbers]
    return [
        SegmentLine(
            segment.segment, view.title, _sentence(segment, view.sentence), view.size, view.share,
            view.bar,
        )
        for segment, view in _viewed_segments(manifest)
    ]  # fmt: skip


def _sentence(segment: Segment, sentence: str) -> str:
    return f"Customers that belong to no segment. {sentence}" if segment.is_noise else sentence


def _script_data(fields: Sequence[FormField], manifest: Manifest | None) -> Markup:
    """Return what the script needs, as JSON that can stand in a page."""
    features = manifest.features if manifest else {}
    position = {name: i for i, name in enumerate(features)}
    return _json_in_html({
        "run": manifest.run_id if manifest else None,
        "columns": [_column(field, position) for field in fields],
        "features": [_feature(name, summary) for name, summary in features.items()],
        "segments": {
            str(segment.segment): {
                "title": printable(view.title),
                "center": [segment.center.get(name) for name in features],
                "deviation": [segment.deviation.get(name) for name in features],
            }
            for segment, view in (_viewed_segments(manifest) if manifest else ())
        },
    })  # fmt: skip


def _column(field: FormField, position: Mapping[str, int]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": field.column,
        "shownName": printable_text(field.column),  # as errors name it
        "kind": field.kind,
        "features": [position[name] for name in field.features],
    }
    if field.kind == "category":
        values["options"] = [
            {"json": option.json, "features": list(option.features)} for option in field.options
        ]
    else:
        values["sources"] = list(field.sources)
    return values


def _feature(name: str, summary: FeatureSummary) -> dict[str, Any]:
    return {
        "name": printable(name),
        "mean": summary.mean,
        "std": summary.std,
        "fill": summary.fill,
        "clip": list(summary.clip) if summary.clip else None,
        "transform": summary.transform,
        "power": summary.power,
        "category": None if summary.category is None else printable(summary.category),
        "isFrequency": summary.is_frequency,
        "categories": [printable(category) for category in summary.categories],
    }


def _json_in_html(values: Any) -> Markup:
    """Return JSON without the characters that could end a script element, or begin a comment."""
    text = json.dumps(values, ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
