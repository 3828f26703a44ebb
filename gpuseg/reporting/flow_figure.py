"""The flow picture: where the customers of each segment have gone, as SVG and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from gpuseg import formatting as fmt
from gpuseg.manifest import NOT_DESCRIBED
from gpuseg.printable import printable
from gpuseg.reporting.flow_layout import Band, CustomerFlow, Ribbon, flow_layout
from gpuseg.reporting.svg_element import fitting, svg_element, text_width

_WIDTH, _MARGIN, _TOP = 880, 275, 24
"""Width of the picture, the room for labels at each side, and for the heads, in pixels."""

_NODE = 9
"""Width of a band's bar, in pixels."""

_STUB = 22
"""Length of what stands for flows that are not drawn, in pixels."""

_N_DESCRIBED = 6
"""Flows that the description of the picture names."""

_MAX_ROWS = 30
"""Flows in the table."""

DESCRIPTION_ID = "flow-description"


@dataclass(frozen=True)
class FlowRow:
    """A flow as the table has it; shares are of the segment before and of the segment now."""

    before: str
    now: str
    customers: int
    share_before: float | None
    share_now: float | None


@dataclass(frozen=True)
class FlowView:
    """The picture, and the same as a table.

    Attributes
    ----------
    figure : Markup
    rows : list of FlowRow
        The largest flows.
    n_rest, rest : int
        Number of the other flows, and their customers.
    n_merged, merged : int
        Number of the flows that are not drawn, and their customers.
    total : int
        All customers of the picture.
    unit : str
        "customer" or "row".
    """

    figure: Markup
    rows: list[FlowRow]
    n_rest: int
    rest: int
    n_merged: int
    merged: int
    total: int
    unit: str


def flow_view(
    flows: Sequence[CustomerFlow],
    names_before: Mapping[int, str],
    names_now: Mapping[int, str],
    unit: str,
) -> FlowView | None:
    """Draw the flows between the segments before and now, and list the largest ones.

    Parameters
    ----------
    flows : sequence of CustomerFlow
    names_before, names_now : mapping of int to str
        Names by number, where segments have some.
    unit : {"customer", "row"}
        What is counted.

    Returns
    -------
    FlowView or None
        None where nothing flows.
    """
    flows = sorted((f for f in flows if f.customers > 0), key=lambda f: -f.customers)
    if not flows:
        return None
    layout = flow_layout(flows)
    names = (names_before, names_now)
    label = f"Flow of {unit}s between the segments before and now"
    bands = (*((band, 0) for band in layout.left), *((band, 1) for band in layout.right))
    figure = svg_element(
        [
            *_heads(),
            *(_ribbon(ribbon, names, unit) for ribbon in layout.ribbons),
            *(_band(band, side, names[side], unit) for band, side in bands),
        ],
        _WIDTH,
        _TOP + layout.height + 4,
        label,
        "flow",
        (DESCRIPTION_ID, _description(flows, names, unit)),
    )
    totals: list[dict[int | None, int]] = [{}, {}]
    for flow in flows:
        for side in (0, 1):
            totals[side][flow[side]] = totals[side].get(flow[side], 0) + flow.customers
    return FlowView(
        figure=figure,
        rows=[_row(flow, totals, names) for flow in flows[:_MAX_ROWS]],
        n_rest=len(flows[_MAX_ROWS:]),
        rest=sum(flow.customers for flow in flows[_MAX_ROWS:]),
        n_merged=len(layout.merged),
        merged=sum(flow.customers for flow in layout.merged),
        total=sum(flow.customers for flow in flows),
        unit=unit,
    )


def _row(
    flow: CustomerFlow,
    totals: Sequence[Mapping[int | None, int]],
    names: Sequence[Mapping[int, str]],
) -> FlowRow:
    shares = [
        None if flow[side] is None else flow.customers / totals[side][flow[side]] for side in (0, 1)
    ]
    before, now = (_title(flow[side], side, names[side]) for side in (0, 1))
    return FlowRow(before, now, flow.customers, *shares)


def _title(segment: int | None, side: int, names: Mapping[int, str]) -> str:
    """Return what a band is, in full."""
    number, name = _number_and_name(segment, side, names)
    if segment is None or segment < 0:
        return name
    return f"{number} {name}".strip()


def _number_and_name(segment: int | None, side: int, names: Mapping[int, str]) -> tuple[str, str]:
    if segment is None:
        return "", "No longer there" if side else "New customers"
    if segment == NOT_DESCRIBED:
        return "", "Other segments"
    if segment < 0:
        return "", "Noise"
    return fmt.segment_name(segment), printable(names.get(segment, ""))


def _description(
    flows: Sequence[CustomerFlow], names: Sequence[Mapping[int, str]], unit: str
) -> str:
    """Say what the picture shows: its sides and the largest flows."""
    stayed = sum(flow.customers for flow in flows if flow.before == flow.now)
    total = sum(flow.customers for flow in flows)
    others = [flow for flow in flows if flow.before != flow.now][:_N_DESCRIBED]
    sentences = [
        "Segments before are at the left, segments now at the right; the thickness of a band is "
        f"its number of {unit}s.",
        f"{fmt.count(stayed)} of {fmt.count(total, unit)} stayed in their segment.",
    ]
    if others:
        listed = [_in_words(flow, names, unit) for flow in others]
        sentences.append(f"The largest other flows: {'; '.join(listed)}.")
    return " ".join(sentences)


def _in_words(flow: CustomerFlow, names: Sequence[Mapping[int, str]], unit: str) -> str:
    before, now = (_title(flow[side], side, names[side]) for side in (0, 1))
    return f"{before} → {now}: {fmt.count(flow.customers, unit)}"


def _heads() -> list[str]:
    return [
        f'<text class="soft" x="{_MARGIN - 8}" y="13" text-anchor="end">Before</text>',
        f'<text class="soft" x="{_WIDTH - _MARGIN + 8}" y="13">Now</text>',
    ]


def _ribbon(ribbon: Ribbon, names: Sequence[Mapping[int, str]], unit: str) -> str:
    x0, x1 = _MARGIN + _NODE, _WIDTH - _MARGIN - _NODE
    middle = (x0 + x1) / 2
    a, b, t = _TOP + ribbon.left, _TOP + ribbon.right, ribbon.thickness
    path = (
        f"M{x0} {a:.1f}C{middle:g} {a:.1f} {middle:g} {b:.1f} {x1} {b:.1f}v{t:.1f}"
        f"C{middle:g} {b + t:.1f} {middle:g} {a + t:.1f} {x0} {a + t:.1f}z"
    )
    title = _in_words(ribbon.flow, names, unit)
    return f'<path class="{_kind(ribbon.flow)}" d="{path}"><title>{escape(title)}</title></path>'


def _kind(flow: CustomerFlow) -> str:
    if flow.before is None or flow.now is None:
        return "outside"
    if flow.before == flow.now == NOT_DESCRIBED:
        return "small"
    return "moved" if flow.has_moved else "stayed"


def _band(band: Band, side: int, names: Mapping[int, str], unit: str) -> str:
    """Draw a bar, the stub of what is merged at its lower end, and the label beside it."""
    bar_x = _WIDTH - _MARGIN - _NODE if side else _MARGIN
    start, thickness = _TOP + band.start, max(band.thickness, 1.5)
    title = escape(f"{_title(band.segment, side, names)}: {fmt.count(band.customers, unit)}")
    parts = [
        f'<rect class="node" x="{bar_x}" y="{start:.1f}" width="{_NODE}" '
        f'height="{thickness:.1f}"><title>{title}</title></rect>'
    ]
    if band.merged:
        stub = band.thickness * band.merged / band.customers
        stub_x = bar_x - _STUB if side else bar_x + _NODE
        words = escape(f"small flows together: {fmt.count(band.merged, unit)}")
        parts.append(
            f'<rect class="small" x="{stub_x}" y="{start + band.thickness - stub:.1f}" '
            f'width="{_STUB}" height="{stub:.1f}"><title>{words}</title></rect>'
        )
    return "".join([*parts, _label(band, side, names)])


def _label(band: Band, side: int, names: Mapping[int, str]) -> str:
    """Write number, name and customers, the name shortened so that all fit beside the bar."""
    number, name = _number_and_name(band.segment, side, names)
    customers = fmt.count(band.customers)
    room = _MARGIN - 12 - text_width(f"{number}  {customers}")
    x, anchor = (_WIDTH - _MARGIN + 8, "start") if side else (_MARGIN - 8, "end")
    return (
        f'<text x="{x}" y="{_TOP + band.middle:.1f}" text-anchor="{anchor}" '
        f'dominant-baseline="central"><tspan class="number">{escape(number)}</tspan> '
        f'{escape(fitting(name, room))} <tspan class="soft">{escape(customers)}</tspan></text>'
    )
