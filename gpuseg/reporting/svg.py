"""The figures of the report as SVG: the map, the tree, and the selection of a number of segments.

Colors and fonts come from the classes that `STYLE` defines, for light and dark screens. All text
from the data is escaped.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from markupsafe import Markup, escape

from gpuseg.formatting import number, percent, segment_name
from gpuseg.manifest import (
    MAP_COLUMNS,
    MAP_LINES,
    Manifest,
    MapCell,
    Merge,
    ProfileSummary,
    Segment,
    SegmentMap,
)
from gpuseg.printable import printable
from gpuseg.reporting.svg_element import svg_element

_CELL = 10
"""Side of a cell of the map, in pixels."""

_MAP_WIDTH, _MAP_HEIGHT = MAP_COLUMNS * _CELL, MAP_LINES * _CELL
"""Size of the map, in pixels."""

_LABEL_HEIGHT, _DIGIT_WIDTH, _OUTLINE = 20.0, 11.0, 6.0
"""Room of a number on the map, in pixels: its height, each character, and the outline."""

_LEAF = 24
"""Height of a line of the tree, in pixels."""

_TREE_WIDTH, _TREE_LEFT = 760, 330
"""Width of the tree, and where its lines begin, in pixels."""

_MAX_LABEL = 40
"""Maximum characters of a segment's name in the tree."""

_LIGHT = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00",
    "#56b4e9", "#8c564b", "#7f7f7f", "#6a3d9a", "#7aa83a",
    "#0000ff", "#b44bff", "#3c1e3c", "#000096", "#780f00",
    "#00e187", "#96d2b4", "#4bd2e1", "#0f2d1e", "#c378ff",
)  # fmt: skip
"""Colors of segments on light screens; segment i has color i modulo their number.

From the eleventh on, each color is the one that is farthest from those before it, also for readers
with protanopia or deuteranopia.
"""

_DARK = (
    "#3a9bd9", "#f0803c", "#2fc79b", "#e29cc3", "#f2b83b",
    "#7cc8f4", "#b98478", "#a5a5a5", "#a07bd0", "#a9d36a",
    "#4b00ff", "#692dc3", "#b4001e", "#a50078", "#963c5a",
    "#ffe100", "#5a87ff", "#00ffa5", "#00ffff", "#5a783c",
)  # fmt: skip

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
            ".figure .border { fill: none; stroke: var(--paper, #fff); stroke-width: 2; }",
            ".figure .cut { stroke: var(--link, #0b5cad); stroke-dasharray: 4 4; }",
            ".figure .noise { fill: var(--soft, #57606a); }",
            *(f".figure .c{i} {{ fill: {color}; }}" for i, color in enumerate(_LIGHT)),
            "@media screen and (prefers-color-scheme: dark) {",
            *(f"  .figure .c{i} {{ fill: {color}; }}" for i, color in enumerate(_DARK)),
            "}",
        ]
    )
)


class SilhouettePoint(Protocol):
    """The silhouette of one number of clusters, with its error."""

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""

    @property
    def silhouette(self) -> float:
        """Silhouette, from -1 to 1."""

    @property
    def silhouette_error(self) -> float:
        """Half width of its 95 % confidence interval."""


@dataclass(frozen=True)
class MapLabel:
    """The number of a segment on the map; `x` and `y` are its middle, in pixels."""

    text: str
    x: float
    y: float

    @property
    def width(self) -> float:
        """Width with the outline, in pixels."""
        return _OUTLINE + _DIGIT_WIDTH * len(self.text)

    def overlaps(self, other: "MapLabel") -> bool:
        """Return whether two numbers have less room than they need."""
        return (
            abs(self.x - other.x) < (self.width + other.width) / 2
            and abs(self.y - other.y) < _LABEL_HEIGHT
        )


def map_figure(segment_map: SegmentMap, segments: Sequence[Segment]) -> Markup:
    """Draw the map: each cell in the color of its segment, darker for more customers.

    Parameters
    ----------
    segment_map : SegmentMap
    segments : sequence of Segment
        In the order in which their numbers get room.
    """
    max_count = max(cell.customers for cell in segment_map.cells)
    parts = [
        f'<rect class="{_color_class(cell.segment)}" x="{cell.column * _CELL}" '
        f'y="{_MAP_HEIGHT - (cell.line + 1) * _CELL}" width="{_CELL}" height="{_CELL}" '
        f'opacity="{_opacity(cell.customers, max_count):.2f}"/>'
        for cell in segment_map.cells
    ]
    if borders := _borders(segment_map.cells):
        parts.append(f'<path class="border" d="{borders}"/>')
    parts += [
        f'<text class="mark" x="{label.x:.0f}" y="{label.y:.0f}" '
        f'text-anchor="middle" dominant-baseline="middle">{escape(label.text)}</text>'
        for label in map_labels(segment_map, segments)
    ]
    return svg_element(parts, _MAP_WIDTH, _MAP_HEIGHT, "Map of the segments and their customers")


def map_labels(segment_map: SegmentMap, segments: Sequence[Segment]) -> list[MapLabel]:
    """Return the numbers that have room on the map, inside it and apart from each other.

    A number without room is left out; the segments that come first get room first.
    """
    labels: list[MapLabel] = []
    for segment in segments:
        center = segment_map.centers.get(str(segment.segment))
        if center is None:
            continue
        label = MapLabel(segment_name(segment.segment), center[0] * _CELL, center[1] * _CELL)
        label = replace(
            label,
            x=_inside(label.x, label.width / 2, _MAP_WIDTH),
            y=_inside(_MAP_HEIGHT - label.y, _LABEL_HEIGHT / 2, _MAP_HEIGHT),
        )
        if not any(label.overlaps(other) for other in labels):
            labels.append(label)
    return labels


def _inside(middle: float, half: float, size: float) -> float:
    """Move the middle of a label so far that the label is between 0 and `size`."""
    return min(max(middle, half), size - half)


def _borders(cells: Sequence[MapCell]) -> str:
    """Return the path between adjacent cells of two segments that have the same color."""
    segments = {(cell.column, cell.line): cell.segment for cell in cells}
    path = []
    for (column, line), segment in segments.items():
        x, y = column * _CELL, _MAP_HEIGHT - line * _CELL
        if _looks_alike(segment, segments.get((column - 1, line), segment)):
            path.append(f"M{x} {y}v-{_CELL}")
        if _looks_alike(segment, segments.get((column, line - 1), segment)):
            path.append(f"M{x} {y}h{_CELL}")
    return "".join(path)


def _looks_alike(segment: int, other: int) -> bool:
    """Return whether these are two described segments of one color."""
    is_described = min(segment, other) >= 0
    return is_described and segment != other and _color_class(segment) == _color_class(other)


def map_axes(profile: ProfileSummary) -> list[str]:
    """Describe each axis of the map: its features, and the share of the variance along it."""
    if profile.map is None:
        return []
    ratios = profile.map.explained_variance_ratio
    texts = []
    for direction, features, ratio in zip(
        ("to the right", "upwards"), profile.map.axes, ratios, strict=True
    ):
        names = [f"{'more' if name[0] == '+' else 'less'} {name[1:]}" for name in features]
        meaning = ", ".join(names) or "a mixture of many features"
        texts.append(f"{direction}: {meaning} ({percent(ratio)} of the variance)")
    return texts


def tree_figure(
    merges: Sequence[Merge], levels: Sequence[int], segments: Sequence[Segment]
) -> Markup:
    """Draw the merges above the segments: heights to the right, levels as dashed lines."""
    k, max_height = len(segments), max(merge.height for merge in merges) or 1.0
    height = _LEAF * k + 30
    by_number = sorted(segments, key=lambda segment: segment.segment)
    position = {i: (0.0, _LEAF * (i + 0.5)) for i in range(k)}
    parts = [_leaf(segment, position[i][1]) for i, segment in enumerate(by_number)]

    def x(merge_height: float) -> float:
        return _TREE_LEFT + merge_height / max_height * (_TREE_WIDTH - _TREE_LEFT - 10)

    for i, merge in enumerate(merges):
        (first_height, first_y) = position[int(merge.first)]
        (second_height, second_y) = position[int(merge.second)]
        path = (
            f"M{x(first_height):.1f} {first_y:.1f}H{x(merge.height):.1f}"
            f"V{second_y:.1f}H{x(second_height):.1f}"
        )
        parts.append(f'<path class="line" d="{path}"/>')
        position[k + i] = (merge.height, (first_y + second_y) / 2)
    for level in levels:
        parts += _level(level, merges, k, height, x)
    label = "Tree of the segments: similar segments are joined first"
    return svg_element(parts, _TREE_WIDTH, height, label, "tree")


def _level(
    level: int, merges: Sequence[Merge], k: int, height: float, x: Callable[[float], float]
) -> list[str]:
    """Draw the cut into `level` segments: between the last merge below it and the next one."""
    if level in (1, k):
        return []
    below, above = merges[k - level - 1].height, merges[k - level].height
    cut = x((below + above) / 2)
    return [
        f'<line class="cut" x1="{cut:.1f}" x2="{cut:.1f}" y1="0" y2="{height - 20}"/>',
        f'<text x="{cut:.1f}" y="{height - 5}" text-anchor="middle">{level}</text>',
    ]


def _leaf(segment: Segment, y: float) -> str:
    text = f"{segment_name(segment.segment)}  {percent(segment.share)}"
    name = printable(segment.name or "")
    short = name if len(name) <= _MAX_LABEL else f"{name[: _MAX_LABEL - 1]}…"
    return (
        f'<text x="0" y="{y:.1f}" dominant-baseline="middle">{escape(text)}'
        f' <tspan class="soft">{escape(short)}</tspan></text>'
    )


def selection_figure(points: Sequence[SilhouettePoint], n_clusters: int) -> Markup | None:
    """Draw the silhouette of each number of segments with its interval; mark `n_clusters`.

    None for fewer than two numbers.
    """
    if len(points) < 2:
        return None
    width, height, left, base = 640, 240, 46, 205
    top = float(max(point.silhouette + point.silhouette_error for point in points))
    low = float(min(0.0, *(point.silhouette - point.silhouette_error for point in points)))
    first, last = int(points[0].n_clusters), int(points[-1].n_clusters)

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
    line = " ".join(f"{x(point.n_clusters):.1f},{y(point.silhouette):.1f}" for point in points)
    parts.append(f'<polyline class="line" points="{line}"/>')
    for point in points:
        k, value, error = point.n_clusters, point.silhouette, point.silhouette_error
        color, radius = ("c1", 6) if k == n_clusters else ("c0", 4)
        parts += [
            f'<line class="line" x1="{x(k):.1f}" x2="{x(k):.1f}" '
            f'y1="{y(value - error):.1f}" y2="{y(value + error):.1f}"/>',
            f'<circle class="{color}" cx="{x(k):.1f}" cy="{y(value):.1f}" r="{radius}"/>',
            f'<text class="soft" x="{x(k):.1f}" y="{base + 20}" text-anchor="middle">{k}</text>',
        ]
    return svg_element(parts, width, height, "Silhouette for each number of segments")


def figures(manifest: Manifest) -> dict[str, Markup]:
    """Return the figures that the manifest has data for: of "map", "tree" and "selection".

    A tree is drawn only where all its segments are described.
    """
    result, profile = manifest.result, manifest.profile
    drawn: dict[str, Markup | None] = {}
    if profile is not None and profile.map is not None:
        drawn["map"] = map_figure(profile.map, manifest.ordered_segments)
    if result.merges and manifest.other_segments is None:
        drawn["tree"] = tree_figure(result.merges, result.levels or (), manifest.segments)
    if result.selection is not None:
        drawn["selection"] = selection_figure(result.selection.table, result.n_clusters)
    return {name: figure for name, figure in drawn.items() if figure is not None}


def standalone(figure: Markup) -> str:
    """Return a figure as the content of an SVG file."""
    head, _, rest = str(figure).partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{rest}\n'


def _color_class(segment: int) -> str:
    return "noise" if segment < 0 else f"c{segment % len(_LIGHT)}"


def _opacity(count: int, max_count: int) -> float:
    """Return the opacity of a cell, logarithmic so that a single customer is visible."""
    return 0.25 + 0.75 * (math.log1p(count) / math.log1p(max_count))
