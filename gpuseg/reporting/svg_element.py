"""The element of a figure, and text in it: what all figures of the reports share."""

from collections.abc import Sequence
from unicodedata import east_asian_width

from markupsafe import Markup, escape

from gpuseg.printable import printable

_NARROW, _WIDE = frozenset("fijlrtI.,:;'|!()[] 1"), frozenset("mwMW@%—…ABCDGHKNOQRUVXYZ&")

_CHARACTER, _NARROW_CHARACTER, _WIDE_CHARACTER, _FULL_CHARACTER = 8.3, 5.2, 13.0, 13.5
"""Upper bounds of the widths of characters at 13 pixels, in pixels."""


def svg_element(
    parts: Sequence[str],
    width: float,
    height: float,
    label: str,
    kind: str = "plain",
    description: tuple[str, str] | None = None,
) -> Markup:
    """Return a figure with its text alternative.

    Parameters
    ----------
    parts : sequence of str
        Elements of SVG, in which all text from the data is escaped.
    width, height : float
        In pixels.
    label : str
        What the figure is, in a few words.
    kind : str, default "plain"
        A class of the element.
    description : tuple of str, optional
        What the figure shows, in sentences, after an identifier that the page has once.
    """
    label, described, body = printable(label), "", "".join(parts)
    if description is not None:
        identifier, text = (escape(printable(each)) for each in description)
        described = f' aria-describedby="{identifier}"'
        body = f'<title>{escape(label)}</title><desc id="{identifier}">{text}</desc>{body}'
    return Markup(
        f'<svg class="figure {kind}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(label)}"{described}>{body}</svg>'
    )


def text_width(text: str) -> float:
    """Return about how wide a text is in the font of figures, rather more than less, in pixels."""
    return sum(map(_character_width, text))


def fitting(text: str, width: float) -> str:
    """Return the text, or as much of its beginning as fits into `width` pixels, and an ellipsis."""
    if text_width(text) <= width:
        return text
    room = width - text_width("…")
    kept = ""
    for character in text:
        room -= _character_width(character)
        if room < 0:
            break
        kept += character
    return f"{kept.rstrip()}…"


def _character_width(character: str) -> float:
    if character in _NARROW:
        return _NARROW_CHARACTER
    if character in _WIDE:
        return _WIDE_CHARACTER
    return _FULL_CHARACTER if east_asian_width(character) in "WF" else _CHARACTER
