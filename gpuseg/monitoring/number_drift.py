"""Drift of features that are numbers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpuseg.drift_record import Bin, FeatureDrift
from gpuseg.formatting import number, percent, small_measure
from gpuseg.monitoring.alarms import Alarms
from gpuseg.monitoring.chance import ranks_differ, shares_differ
from gpuseg.monitoring.measures import (
    Counts,
    Values,
    in_ranges,
    ks,
    ks_chance,
    psi,
    psi_chance,
    ranges_of,
    wasserstein,
    wasserstein_chance,
)
from gpuseg.monitoring.reference import MISSING, DriftReference
from gpuseg.printable import printable_text


class NumberDrift:
    """The measures of all features, as if each was a number.

    Parameters
    ----------
    reference : DriftReference
    now : int64 (d, 257)
        Rows by bin.
    origins : float64 (d,)
        What was subtracted from the values of the input.
    """

    def __init__(self, reference: DriftReference, now: Counts, origins: Values) -> None:
        self._reference, self._origins = reference, origins
        self._before, self._now = reference.counts[:, :MISSING], now[:, :MISSING]
        self._gaps = np.stack([reference.counts[:, MISSING], now[:, MISSING]], axis=1)
        self._rows = np.stack([reference.counts.sum(axis=1), now.sum(axis=1)], axis=1)
        self._ranges = ranges_of(self._before)
        self._in_ranges = ranges_with_gaps(reference.counts, now, self._ranges)
        self.psi, self._psi_chance = psi(*self._in_ranges), psi_chance(*self._in_ranges)
        positions = reference.positions
        self._ks = ks(self._before, self._now)
        self._ks_chance = ks_chance(self._before, self._now)
        self._wasserstein = wasserstein(self._before, self._now, positions)
        self._wasserstein_chance = wasserstein_chance(self._before, self._now, positions)

    def record(self, f: int, alarms: Alarms) -> FeatureDrift:
        """Return the drift of a feature, and judge it."""
        name, std = self._reference.features[f], float(self._reference.std[f])
        distance, chance = self._wasserstein[f] / (std or 1.0), self._wasserstein_chance[f]
        missing_before, missing_now = (self._gaps[f] / np.maximum(self._rows[f], 1)).tolist()
        edges, bins = self._shown_ranges(f)
        return FeatureDrift(
            feature=name,
            psi=self.psi[f],
            psi_chance=self._psi_chance[f],
            ks=self._ks[f],
            ks_chance=self._ks_chance[f],
            wasserstein=distance if std else None,
            wasserstein_chance=chance / std if std else None,
            missing_before=missing_before,
            missing_now=missing_now,
            edges=edges,
            bins=bins,
            is_beyond=self._is_beyond(f, distance if std else 0.0, alarms)
            | judge_missing(name, tuple(self._gaps[f]), tuple(self._rows[f]), alarms),
        )

    def _is_beyond(self, f: int, distance: float, alarms: Alarms) -> bool:
        name = self._reference.features[f]
        shown = printable_text(name)

        def differs() -> bool:
            ranges = (self._in_ranges[0][f], self._in_ranges[1][f])
            return shares_differ(*ranges, alarms.level / 2) or ranks_differ(
                self._before[f], self._now[f], alarms.level / 2
            )

        return alarms.judge(
            "feature_psi", float(self.psi[f]), differs,
            lambda: f"{shown} is distributed otherwise than at the fit: PSI {number(self.psi[f])}, "
            f"by chance {small_measure(self._psi_chance[f])}", name,
        ) or alarms.judge(
            "feature_wasserstein", float(distance), differs,
            lambda: f"{shown} has moved by {number(distance)} standard deviations since the fit "
            "(Wasserstein distance)", name,
        )  # fmt: skip

    def _shown_ranges(self, f: int) -> tuple[tuple[float, ...], tuple[Bin, ...]]:
        """Return the upper ends of the ranges of values, and their shares."""
        before, now = (counts[f, :-1] for counts in self._in_ranges)
        numbers = np.flatnonzero((before > 0) | (now > 0))
        lasts = np.searchsorted(self._ranges[f], numbers[:-1], "right") - 1
        origin = float(self._origins[f])
        edges = [float(str(edge)) + origin for edge in self._reference.edges[f, lasts]]
        p, q = (counts[numbers] / max(counts.sum(), 1) for counts in (before, now))
        return tuple(edges), tuple(map(Bin, p.tolist(), q.tolist()))


def ranges_with_gaps(before: Counts, now: Counts, ranges: Counts) -> tuple[Counts, Counts]:
    """Return rows by range, and as the last range those without a value, (..., n + 1).

    Parameters
    ----------
    before, now : int64 (..., 257)
    ranges : int64 (..., 256)
    """

    def merged(counts: Counts) -> NDArray[np.int64]:
        values = in_ranges(counts[..., :MISSING], ranges)
        return np.concatenate([values, counts[..., MISSING:]], axis=-1)

    return merged(before), merged(now)


def judge_missing(name: str, gaps: tuple[int, int], rows: tuple[int, int], alarms: Alarms) -> bool:
    """Return whether more or fewer rows have no value than at the fit, beyond the threshold."""
    shares = shares_of(gaps, rows)
    return all(rows) and alarms.judge(
        "missing_change", abs(shares[1] - shares[0]),
        lambda: parts_differ(gaps, rows, alarms.level),
        lambda: f"{percent(shares[1])} of the rows have no {printable_text(name)}, at the fit it "
        f"was {percent(shares[0])}", name,
    )  # fmt: skip


def judge_dropped(
    dropped: tuple[int, int], kept: tuple[int, int], alarms: Alarms
) -> tuple[float, float]:
    """Judge whether more rows are left out than at the fit; return the shares, before and now.

    Fewer are no alarm: the fit also left out rows without a feature that it then dropped.
    """
    rows = (dropped[0] + kept[0], dropped[1] + kept[1])
    shares = shares_of(dropped, rows)
    if all(rows):
        alarms.judge(
            "missing_change", shares[1] - shares[0],
            lambda: parts_differ(dropped, rows, alarms.level),
            lambda: f"{percent(shares[1])} of the rows were dropped for a missing feature, at the "
            f"fit it was {percent(shares[0])}",
        )  # fmt: skip
    return shares


def shares_of(parts: tuple[int, int], rows: tuple[int, int]) -> tuple[float, float]:
    """Return which share of the rows a part of them is, before and now."""
    return parts[0] / max(rows[0], 1), parts[1] / max(rows[1], 1)


def parts_differ(parts: tuple[int, int], rows: tuple[int, int], level: float) -> bool:
    """Return whether the share of a part of the rows has changed by more than chance."""
    before, now = (np.array([part, n - part]) for part, n in zip(parts, rows, strict=True))
    return shares_differ(before, now, level)


def largest(values: Sequence[float] | Values, n: int) -> list[int]:
    """Return the positions of the n largest values, in their order."""
    by_value = np.argsort(-np.asarray(values, np.float64), kind="stable")
    return sorted(by_value[:n].tolist())
