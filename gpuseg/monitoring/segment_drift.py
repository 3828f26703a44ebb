"""Drift of the segments: their shares, distances, and features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpuseg.drift_record import SegmentDrift
from gpuseg.formatting import number, percent, small_measure
from gpuseg.monitoring.alarms import Alarms
from gpuseg.monitoring.chance import mean_exceeds, shares_differ
from gpuseg.monitoring.measures import Counts, Values, psi, psi_chance, ranges_of
from gpuseg.monitoring.number_drift import ranges_with_gaps
from gpuseg.monitoring.reference import MISSING, DriftReference
from gpuseg.monitoring.segment_sums import SegmentSums
from gpuseg.record import NOISE

_MAX_SEGMENTS = 256
"""Segments in the record: the largest ones."""

_OPTIMISM = 2
"""How many times k / n the distances of new rows may exceed those of the n rows that the k centers
were fitted to, where nothing has changed: a center is nearer to its rows than to others."""


@dataclass(frozen=True)
class Overall:
    """Means over all rows, before and now; None where there are none."""

    distance: tuple[float | None, float | None]
    square: tuple[float | None, float | None]
    far: tuple[float | None, float | None]


def overall_drift(reference: DriftReference, sums: SegmentSums) -> Overall:
    """Return the means of distances, of their squares, and of rows that are far."""
    n = int(reference.sizes.sum())
    has_rows = reference.sizes > 0

    def before(means: Values) -> float | None:
        total = float(np.where(has_rows, means * reference.sizes, 0.0).sum())
        return total / n if n and np.isfinite(total) else None

    return Overall(
        (before(reference.mean_distance), sums.distances.mean(sums.sizes)),
        (before(reference.mean_square), sums.squares.mean(sums.sizes)),
        (_far(reference, reference.far, reference.sizes), _far(reference, sums.far, sums.sizes)),
    )


def _far(reference: DriftReference, far: Counts, sizes: Counts) -> float | None:
    """Return the share of rows that are far; None where no distance is far."""
    rows = int(sizes.sum())
    return int(far.sum()) / rows if rows and np.isfinite(reference.far_distance).any() else None


def judge_segments(
    reference: DriftReference, sums: SegmentSums, overall: Overall, alarms: Alarms
) -> tuple[float, float]:
    """Judge the shares of the segments and the distances; return the PSI, and that of chance."""
    value, chance = float(psi(reference.sizes, sums.sizes)), psi_chance(reference.sizes, sums.sizes)
    alarms.judge(
        "segment_psi", value, lambda: shares_differ(reference.sizes, sums.sizes, alarms.level),
        lambda: f"the segments have other shares than at the fit: PSI {number(value)}, by chance "
        f"{small_measure(float(chance))}",
    )  # fmt: skip
    square, square_now = overall.square
    if square and square_now is not None:
        increase = square_now / square - 1
        alarms.judge(
            "inertia_increase", increase,
            lambda: _is_farther(reference, sums, overall, alarms.level),
            lambda: "rows are farther from their segments than at the fit: the mean squared "
            f"distance is higher by {percent(increase)}",
        )  # fmt: skip
    return value, float(chance)


def _is_farther(
    reference: DriftReference, sums: SegmentSums, overall: Overall, level: float
) -> bool:
    """Return whether the mean distance has risen by more than chance.

    The mean of the squares has a variance that is not known. It can depend on few rows.
    """
    n, m, k = int(reference.sizes.sum()), int(sums.sizes.sum()), len(reference.sizes) - 1
    (distance, distance_now), (square, square_now) = overall.distance, overall.square
    if distance is None or distance_now is None or square is None or square_now is None:
        return False
    factor = 1 + _OPTIMISM * k / n
    return mean_exceeds((n, distance, square), (m, distance_now, square_now), factor, level)


def segment_drift(
    reference: DriftReference, sums: SegmentSums, groups_now: Counts
) -> tuple[SegmentDrift, ...]:
    """Return the drift of each segment, of many those of the largest ones; noise is last.

    Parameters
    ----------
    groups_now : int64 (g + 1, d, 257)
        Rows by group of the reference, feature and bin.
    """
    n, m = int(reference.sizes.sum()), int(sums.sizes.sum())
    means = sums.distances.means(sums.sizes)
    group = {segment: g for g, segment in enumerate(reference.groups.tolist())}
    shown = []
    for i in _shown_segments(reference.segments.tolist(), reference.sizes, sums.sizes):
        segment, size, size_now = (
            int(values[i]) for values in (reference.segments, reference.sizes, sums.sizes)
        )
        feature = None
        if segment in group and size_now:
            g = group[segment]
            feature = _largest_drift(reference, reference.group_counts[g], groups_now[g])
        name, value, chance = feature or (None, None, None)
        shown.append(
            SegmentDrift(
                segment=segment,
                share_before=size / max(n, 1),
                share_now=size_now / max(m, 1),
                mean_distance_before=float(reference.mean_distance[i]),
                mean_distance_now=means[i],
                far_before=_far_of(reference, i, reference.far, size),
                far_now=_far_of(reference, i, sums.far, size_now),
                feature=name,
                psi=value,
                psi_chance=chance,
            )
        )
    return tuple(shown)


def _far_of(reference: DriftReference, i: int, far: Counts, rows: int) -> float | None:
    return int(far[i]) / rows if rows and np.isfinite(reference.far_distance[i]) else None


def _shown_segments(segments: Sequence[int], sizes: Counts, sizes_now: Counts) -> list[int]:
    """Return the positions of the segments that are shown: by number, noise last."""
    largest = np.argsort(-np.maximum(sizes, sizes_now), kind="stable")[:_MAX_SEGMENTS]
    shown = [i for i in largest.tolist() if segments[i] != NOISE or sizes[i] or sizes_now[i]]
    return sorted(shown, key=lambda i: (segments[i] == NOISE, segments[i]))


def _largest_drift(
    reference: DriftReference, before: Counts, now: Counts
) -> tuple[str, float, float] | None:
    """Return the feature of a segment with the largest PSI above chance, if there is one."""
    counts = ranges_with_gaps(before, now, ranges_of(before[:, :MISSING]))
    values, chances = psi(*counts), psi_chance(*counts)
    f = int(np.argmax(values - chances))
    if values[f] <= chances[f]:
        return None
    return reference.features[f], float(values[f]), float(chances[f])
