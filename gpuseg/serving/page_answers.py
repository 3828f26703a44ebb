"""The page of the server as answers of HTTP, with headers for browsers."""

from collections.abc import Mapping

from gpuseg.manifest import Manifest
from gpuseg.models.base import SegmentModel
from gpuseg.serving.http_messages import HttpAnswer
from gpuseg.serving.media_types import HTML
from gpuseg.serving.page import content_security_policy, render_locked_page, render_page


def html_page(model: SegmentModel, manifest: Manifest | None) -> HttpAnswer:
    """Return the page of a model."""
    return _html(render_page(model, manifest), 200, {})


def locked_page(headers: Mapping[str, str]) -> HttpAnswer:
    """Return the page that asks for the token, with the headers of the refusal."""
    return _html(render_locked_page(), 401, headers)


def _html(page: str, status: int, headers: Mapping[str, str]) -> HttpAnswer:
    policy = {
        "content-security-policy": content_security_policy(),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
        "vary": "authorization, accept",
    }
    # What a page cannot show, such as half of a character, has no place in it.
    body = page.encode(errors="replace")
    return HttpAnswer(body, status, f"{HTML}; charset=utf-8", {**headers, **policy})
