"""Where the bands of a flow picture are: segments before at the left, segments now at the right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuseg.manifest import NOT_DESCRIBED

MAX_SEGMENTS = 15
"""Segments of each side with a band of their own, the largest ones."""

LINE_HEIGHT = 18.0
"""Room of a label, in pixels: no band gets less, however few customers it has."""

_GAP = 3.0
"""Between two bands, in pixels."""

_BODY = 400.0
"""Height of all customers together, in pixels."""

_MAX_RIBBONS = 80
"""Flows that are drawn, the largest ones; and at least one of each band."""

_MIN_THICKNESS = 0.8
"""Thinner flows are merged, in pixels; the largest one of a band is drawn all the same."""


class CustomerFlow(NamedTuple):
    """Customers that were in `before` and are in `now`; None is not in that output."""

    before: int | None
    now: int | None
    customers: int

    @property
    def has_moved(self) -> bool:
        """Whether these customers are in another segment of both outputs."""
        return None not in self and self.before != self.now


@dataclass(frozen=True)
class Band:
    """A segment at one side: its room, and in the middle of it its customers to scale.

    Attributes
    ----------
    segment : int or None
        None are the customers that came, or left; -2 are all segments without a band.
    customers : int
    top, height : float
        The room, in pixels.
    thickness : float
        Of the customers, in pixels.
    merged : int
        Customers of flows that are not drawn.
    """

    segment: int | None
    customers: int
    top: float
    height: float
    thickness: float
    merged: int

    @property
    def middle(self) -> float:
        """The middle of the band, in pixels."""
        return self.top + self.height / 2

    @property
    def start(self) -> float:
        """Where its customers begin, in pixels."""
        return self.middle - self.thickness / 2


class Ribbon(NamedTuple):
    """A flow that is drawn: its upper ends at both sides, and its thickness, in pixels."""

    flow: CustomerFlow
    left: float
    right: float
    thickness: float


@dataclass(frozen=True)
class FlowLayout:
    """All bands and ribbons; `merged` flows are too thin to be drawn."""

    left: tuple[Band, ...]
    right: tuple[Band, ...]
    ribbons: tuple[Ribbon, ...]
    merged: tuple[CustomerFlow, ...]
    height: float


def flow_layout(flows: Sequence[CustomerFlow]) -> FlowLayout:
    """Place the bands, the largest first, so that few ribbons cross.

    Parameters
    ----------
    flows : sequence of CustomerFlow
        At least one, with customers.
    """
    flows = folded(flows)
    scale = _BODY / sum(flow.customers for flow in flows)
    drawn = _drawn(flows, scale)
    merged = tuple(flow for flow in flows if flow not in drawn)
    before, now = _totals(flows, 0), _totals(flows, 1)
    left = _bands(_by_size(before), before, _totals(merged, 0), scale)
    middles = {band.segment: band.middle for band in left}
    right = _bands(_by_place(flows, now, middles), now, _totals(merged, 1), scale)
    height = max(side[-1].top + side[-1].height for side in (left, right))
    return FlowLayout(left, right, _ribbons(drawn, left, right, scale), merged, height)


def folded(flows: Sequence[CustomerFlow]) -> tuple[CustomerFlow, ...]:
    """Put all segments that are not among the largest of a side together, as -2."""
    kept: set[int | None] = {None}
    for side in (0, 1):
        totals = _totals(flows, side)
        segments = [s for s in _by_size(totals) if s is not None and s >= 0]
        kept |= set(segments[:MAX_SEGMENTS]) | {s for s in totals if s is not None and s < 0}
    sums: dict[tuple[int | None, int | None], int] = defaultdict(int)
    for flow in flows:
        before = flow.before if flow.before in kept else NOT_DESCRIBED
        now = flow.now if flow.now in kept else NOT_DESCRIBED
        sums[before, now] += flow.customers
    return tuple(CustomerFlow(*ends, customers) for ends, customers in sums.items() if customers)


def _totals(flows: Sequence[CustomerFlow], side: int) -> dict[int | None, int]:
    """Return the customers of each segment of the left (0) or right (1) side."""
    totals: dict[int | None, int] = defaultdict(int)
    for flow in flows:
        totals[flow[side]] += flow.customers
    return dict(totals)


def _by_size(totals: Mapping[int | None, int]) -> list[int | None]:
    return sorted(totals, key=lambda s: (_is_last(s), -totals[s], s or 0))


def _is_last(segment: int | None) -> int:
    """Order the bands that are no segments after those that are."""
    if segment is None:
        return 3
    return -segment if segment < 0 else 0


def _by_place(
    flows: Sequence[CustomerFlow],
    totals: Mapping[int | None, int],
    middles: Mapping[int | None, float],
) -> list[int | None]:
    """Order the bands of the right side by the middle of where their customers come from."""
    places: dict[int | None, float] = defaultdict(float)
    for flow in flows:
        places[flow.now] += middles[flow.before] * flow.customers
    return sorted(totals, key=lambda s: (_is_last(s), places[s] / totals[s], s or 0))


def _bands(
    order: Sequence[int | None],
    totals: Mapping[int | None, int],
    merged: Mapping[int | None, int],
    scale: float,
) -> tuple[Band, ...]:
    bands, top = [], 0.0
    for segment in order:
        thickness = totals[segment] * scale
        height = max(thickness, LINE_HEIGHT)
        merged_here = merged.get(segment, 0)
        bands.append(Band(segment, totals[segment], top, height, thickness, merged_here))
        top += height + _GAP
    return tuple(bands)


def _drawn(flows: Sequence[CustomerFlow], scale: float) -> set[CustomerFlow]:
    """Return the largest flows, and the largest one of each band."""
    ordered = sorted(flows, key=lambda flow: -flow.customers)
    drawn = {flow for flow in ordered[:_MAX_RIBBONS] if flow.customers * scale >= _MIN_THICKNESS}
    for side in (0, 1):
        first: dict[int | None, CustomerFlow] = {}
        for flow in ordered:
            first.setdefault(flow[side], flow)
        drawn |= set(first.values())
    return drawn


def _ribbons(
    drawn: set[CustomerFlow], left: Sequence[Band], right: Sequence[Band], scale: float
) -> tuple[Ribbon, ...]:
    """Stack the flows of each band in the order of the bands at their other ends."""
    rank = [{band.segment: i for i, band in enumerate(side)} for side in (left, right)]
    ends = [{band.segment: band.start for band in side} for side in (left, right)]
    starts: list[dict[CustomerFlow, float]] = [{}, {}]
    for side in (0, 1):
        for flow in sorted(drawn, key=lambda flow: rank[1 - side][flow[1 - side]]):
            starts[side][flow] = ends[side][flow[side]]
            ends[side][flow[side]] += flow.customers * scale
    ordered = sorted(drawn, key=lambda flow: (-flow.customers, rank[0][flow[0]], rank[1][flow[1]]))
    return tuple(
        Ribbon(flow, starts[0][flow], starts[1][flow], max(flow.customers * scale, _MIN_THICKNESS))
        for flow in ordered
    )
