"""Drawings of what the manifest says, as SVG: the map, the tree, the choice of a number.

Colours and fonts come from the classes that `STYLE` sets, so that they follow light and dark.
Everything that comes from the data is escaped.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from gpuseg.formatting import NOISE, number, percent, printable, segment_name

_CELL = 10
_MAP = (64, 40)
_LEAF = 24
_TREE_WIDTH, _TREE_LEFT = 760, 330
_N_COLOURS = 10
_LONGEST = 40

_LIGHT = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"),
    *("#56b4e9", "#8c564b", "#7f7f7f", "#6a3d9a", "#7aa83a"),
)
_DARK = (
    *("#3a9bd9", "#f0803c", "#2fc79b", "#e29cc3", "#f2b83b"),
    *("#7cc8f4", "#b98478", "#a5a5a5", "#a07bd0", "#a9d36a"),
)

STYLE = Markup(
    "\n".join(
        [
            ".figure { width: 100%; height: auto; max-width: 48rem; display: block; }",
            ".figure text { font: 13px system-ui, sans-serif; fill: var(--ink, #1b1f24); }",
            ".figure .soft { fill: var(--soft, #57606a); }",
            ".figure.tree { min-width: 34rem; }",
            ".figure .mark { font-size: 17px; font-weight: 700; paint-order: stroke;",
            "  stroke-width: 4px; stroke: var(--paper, #fff); stroke-linejoin: round; }",
            ".figure .line { fill: none; stroke: var(--ink, #1b1f24); stroke-width: 1.5; }",
            ".figure .rule { stroke: var(--line, #d5dae0); stroke-width: 1; }",
            ".figure .cut { stroke: var(--link, #0b5cad); stroke-dasharray: 4 4; }",
            ".figure .noise { fill: var(--soft, #57606a); }",
            *(f".figure .c{i} {{ fill: {colour}; }}" for i, colour in enumerate(_LIGHT)),
            "@media screen and (prefers-color-scheme: dark) {",
            *(f"  .figure .c{i} {{ fill: {colour}; }}" for i, colour in enumerate(_DARK)),
            "}",
        ]
    )
)


def segment_map(portrait: Mapping[str, Any]) -> Markup | None:
    """Draw the map: cells of customers in the colour of their segment, the more the stronger."""
    found = portrait.get("map")
    if not found:
        return None
    width, height = _MAP[0] * _CELL, _MAP[1] * _CELL
    most = max(cell[2] for cell in found["cells"])
    parts = [
        f'<rect class="{_colour(segment)}" x="{column * _CELL}" y="{height - (line + 1) * _CELL}" '
        f'width="{_CELL}" height="{_CELL}" opacity="{_strength(count, most):.2f}"/>'
        for column, line, count, segment in found["cells"]
    ]
    for name, (across, up) in found["centers"].items():
        shown = segment_name(int(name))
        parts.append(
            f'<text class="mark" x="{across * _CELL:.0f}" y="{height - up * _CELL:.0f}" '
            f'text-anchor="middle" dominant-baseline="middle">{escape(shown)}</text>'
        )
    return _svg(parts, width, height, "Map of the segments: where their customers lie")


def map_axes(portrait: Mapping[str, Any]) -> list[str]:
    """Say what goes along each axis of the map, and how much of the variance it keeps."""
    said = []
    for way, features, share in zip(
        ("to the right", "upwards"),
        portrait["map"]["axes"],
        portrait["map"]["share"],
        strict=True,
    ):
        named = [f"{'more' if own[0] == '+' else 'less'} {own[1:]}" for own in features]
        what = ", ".join(named) or "many features, each a little"
        said.append(f"{way}: {what} ({percent(share)} of the variance)")
    return said


def tree(result: Mapping[str, Any], segments: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Draw the merges above the segments, heights to the right, levels as dashed lines."""
    merges = result.get("merges")
    if not merges:
        return None
    k, highest = len(segments), max(merge[2] for merge in merges) or 1.0
    height = _LEAF * k + 30
    own = {segment["segment"]: segment for segment in segments}
    place = {i: (0.0, _LEAF * (i + 0.5)) for i in range(k)}
    parts = [_leaf(own[i], place[i][1]) for i in range(k)]

    def x(at: float) -> float:
        return _TREE_LEFT + at / highest * (_TREE_WIDTH - _TREE_LEFT - 10)

    for i, (a, b, at, _) in enumerate(merges):
        (low, first), (high, last) = place[int(a)], place[int(b)]
        way = f"M{x(low):.1f} {first:.1f}H{x(at):.1f}V{last:.1f}H{x(high):.1f}"
        parts.append(f'<path class="line" d="{way}"/>')
        place[k + i] = (at, (first + last) / 2)
    for level in result["levels"]:
        parts += _level(level, merges, k, height, x)
    return _svg(parts, _TREE_WIDTH, height, "Tree of the segments: which are alike", "tree")


def _level(level: int, merges: Sequence[Any], k: int, height: float, x: Any) -> list[str]:
    """Draw where the tree is cut into so many: between the last merge below and the next one."""
    if level in (1, k):
        return []
    below, above = merges[k - level - 1][2], merges[k - level][2]
    at = x((below + above) / 2)
    return [
        f'<line class="cut" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{height - 20}"/>',
        f'<text x="{at:.1f}" y="{height - 5}" text-anchor="middle">{level}</text>',
    ]


def _leaf(segment: Mapping[str, Any], y: float) -> str:
    text = f"{segment_name(segment['segment'])}  {percent(segment['share'])}"
    name = segment.get("name", "")
    name = printable(name)
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    return (
        f'<text x="0" y="{y:.1f}" dominant-baseline="middle">{escape(text)}'
        f' <tspan class="soft">{escape(short)}</tspan></text>'
    )


def choice_curve(table: Sequence[Mapping[str, Any]], chosen: int) -> Markup | None:
    """Draw the silhouette of each number of segments, with its interval; the one chosen is big."""
    if len(table) < 2:
        return None
    width, height, left, base = 640, 240, 46, 205
    top = float(max(own["silhouette"] + own["silhouette_error"] for own in table))
    low = float(min(0.0, *(own["silhouette"] - own["silhouette_error"] for own in table)))
    first, last = int(table[0]["n_clusters"]), int(table[-1]["n_clusters"])

    def x(k: float) -> float:
        return left + 15 + (k - first) / max(last - first, 1) * (width - left - 30)

    def y(value: float) -> float:
        return base - (value - low) / ((top - low) or 1.0) * (base - 15)

    parts = [f'<line class="rule" x1="{left}" x2="{width}" y1="{y(low):.1f}" y2="{y(low):.1f}"/>']
    for value in (low, (low + top) / 2, top):
        parts.append(
            f'<text class="soft" x="{left - 6}" y="{y(value):.1f}" text-anchor="end" '
            f'dominant-baseline="middle">{escape(number(value))}</text>'
        )
    points = " ".join(f"{x(o['n_clusters']):.1f},{y(o['silhouette']):.1f}" for o in table)
    parts.append(f'<polyline class="line" points="{points}"/>')
    for own in table:
        k, value, error = own["n_clusters"], own["silhouette"], own["silhouette_error"]
        colour, size = ("c1", 6) if k == chosen else ("c0", 4)
        parts += [
            f'<line class="line" x1="{x(k):.1f}" x2="{x(k):.1f}" '
            f'y1="{y(value - error):.1f}" y2="{y(value + error):.1f}"/>',
            f'<circle class="{colour}" cx="{x(k):.1f}" cy="{y(value):.1f}" r="{size}"/>',
            f'<text class="soft" x="{x(k):.1f}" y="{base + 20}" text-anchor="middle">{k}</text>',
        ]
    return _svg(parts, width, height, "Silhouette for each number of segments")


def all_of(manifest: Mapping[str, Any]) -> dict[str, Markup]:
    """Return the drawings that there are of a run: of "map", "tree" and "choice"."""
    result = manifest["result"]
    drawn = {
        "map": segment_map(manifest.get("portrait", {})),
        "tree": tree(result, manifest["segments"]),
        "choice": choice_curve(result.get("choice", {}).get("table", []), result["n_clusters"]),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def alone(figure: Markup) -> str:
    """Return a drawing as a file of its own."""
    head, _, rest = str(figure).partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{rest}\n'


def _svg(
    parts: Sequence[str], width: float, height: float, label: str, kind: str = "plain"
) -> Markup:
    body = "".join(parts)
    return Markup(
        f'<svg class="figure {kind}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )


def _colour(segment: int) -> str:
    return "noise" if segment == NOISE else f"c{segment % _N_COLOURS}"


def _strength(count: int, most: int) -> float:
    """Return how strong a colour is, by the logarithm: one customer in a cell is still seen."""
    return 0.25 + 0.75 * (math.log1p(count) / math.log1p(most))
