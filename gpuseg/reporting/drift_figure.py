"""Small distributions: the shares of ranges or categories at the fit, and now."""

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from gpuseg.drift_record import Bin
from gpuseg.formatting import number, percent
from gpuseg.printable import printable
from gpuseg.reporting.svg_element import svg_element

_WIDTH, _HEIGHT = 150, 34

_MAX_BARS = 30
"""Ranges that are drawn."""


def distribution_figure(names: Sequence[str], bins: Sequence[Bin]) -> Markup:
    """Draw a wide bar for each share at the fit, and a narrow one for the share now.

    Parameters
    ----------
    names : sequence of str
        Of the ranges or categories, in the order of `bins`.
    bins : sequence of Bin
    """
    shown = bins[:_MAX_BARS]
    highest = max((max(each) for each in shown), default=0.0) or 1.0
    slot = _WIDTH / max(len(shown), 1)
    parts = []
    for i, each in enumerate(shown):
        for kind, share, width in (("before", each.before, 0.88), ("now", each.now, 0.4)):
            height = share / highest * (_HEIGHT - 2)
            x = slot * (i + (1 - width) / 2)
            parts.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{_HEIGHT - 1 - height:.1f}" '
                f'width="{slot * width:.1f}" height="{height:.1f}"/>'
            )
    parts.append(f'<path class="rule" d="M0 {_HEIGHT - 0.5}h{_WIDTH}"/>')
    words = largest_change(names, bins)
    return svg_element([f"<title>{escape(words)}</title>", *parts], _WIDTH, _HEIGHT, words, "bins")


def largest_change(names: Sequence[str], bins: Sequence[Bin]) -> str:
    """Return the range or category whose share has changed most, in words."""
    if not bins:
        return "no values"
    i = max(range(len(bins)), key=lambda i: abs(bins[i].now - bins[i].before))
    before, now = percent(bins[i].before), percent(bins[i].now)
    if before == now:
        return f"{printable(names[i])}: {now}, as before"
    return f"{printable(names[i])}: {before}, now {now}"


def range_names(edges: Sequence[float]) -> list[str]:
    """Return the ranges between the upper ends of all but the last in words."""
    texts = [number(edge) for edge in edges]
    if not texts:
        return ["all values"]
    inner = [f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"up to {texts[0]}", *inner, f"above {texts[-1]}"]
