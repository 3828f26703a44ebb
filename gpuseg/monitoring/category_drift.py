"""Drift of columns of categories, whatever features were made of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.drift_record import Bin, CategoryDrift
from gpuseg.formatting import number, percent, small_measure
from gpuseg.monitoring.alarms import Alarms
from gpuseg.monitoring.chance import is_more_than_unseen, shares_differ
from gpuseg.monitoring.measures import Counts, psi, psi_chance
from gpuseg.monitoring.number_drift import judge_missing, parts_differ, shares_of
from gpuseg.monitoring.reference import MISSING, DriftReference
from gpuseg.preprocessing.encoding.encoder import MISSING as MISSING_LABEL
from gpuseg.preprocessing.encoding.encoder import OTHER, Encoder
from gpuseg.printable import printable_text, shortened

UNSEEN, REST = "(unseen)", "(rest)"
"""Labels of categories that were not in the data of the fit, and of those that are no feature."""

_ALL_OTHERS = "(all others)"
_MAX_SHOWN = 20
"""Categories of a column that have a share of their own in the record."""


@dataclass(frozen=True)
class UnseenValues:
    """Rows with a category that was not in the data of the fit.

    Attributes
    ----------
    n_rows : int
    example : str
        The first such category.
    """

    n_rows: int
    example: str


@dataclass(frozen=True)
class _Categories:
    """The rows of a column by category: before and now, of the same labels."""

    labels: list[str]
    before: list[int]
    now: list[int]

    def of(self, label: str) -> tuple[int, int]:
        """Return the rows of a label, before and now; 0 without this label."""
        if label not in self.labels:
            return 0, 0
        i = self.labels.index(label)
        return self.before[i], self.now[i]


def category_drift(
    encoder: Encoder,
    reference: DriftReference,
    now: Counts,
    unseen: UnseenValues | None,
    alarms: Alarms,
) -> CategoryDrift:
    """Return the drift of a column, and judge it.

    Parameters
    ----------
    encoder : Encoder
        It has categories.
    now : int64 (d, 257)
        Rows by bin.
    unseen : UnseenValues or None
    """
    n_unseen = 0 if unseen is None else unseen.n_rows
    counted = _counted(encoder, reference, now, n_unseen)
    before_counts, now_counts = np.array(counted.before), np.array(counted.now)
    n, m = int(before_counts.sum()), int(now_counts.sum())
    value = float(psi(before_counts, now_counts))
    chance = float(psi_chance(before_counts, now_counts))
    name, shown = encoder.column, printable_text(encoder.column)
    share = min(n_unseen / max(m, 1), 1.0)
    once, twice = _rare(encoder, counted, n)
    missing = counted.of(MISSING_LABEL)
    is_beyond = [
        _judge_others(name, counted.of(OTHER), (n, m), alarms) if encoder.other else alarms.judge(
            "unseen_share", share,
            lambda: is_more_than_unseen(n, once, twice, m, n_unseen, alarms.level),
            lambda: f"{shown}: {percent(share)} of the rows have a category that was not in the "
            "data of the fit", name,
        ),
        alarms.judge(
            "feature_psi", value,
            lambda: shares_differ(before_counts, now_counts, alarms.level),
            lambda: f"the shares of the categories of {shown} have changed since the fit: PSI "
            f"{number(value)}, by chance {small_measure(chance)}", name,
        ),
        judge_missing(name, missing, (n, m), alarms),
    ]  # fmt: skip
    return CategoryDrift(
        column=name,
        psi=value,
        psi_chance=chance,
        categories=_shown(counted, n, m),
        missing_before=missing[0] / max(n, 1),
        missing_now=missing[1] / max(m, 1),
        unseen=n_unseen,
        unseen_share=share,
        example=None if unseen is None else shortened(printable_text(unseen.example)),
        is_beyond=any(is_beyond),
    )


def _judge_others(
    name: str, others: tuple[int, int], rows: tuple[int, int], alarms: Alarms
) -> bool:
    """Return whether more rows have one of the categories that are one feature, `OTHER`.

    They may be unseen: the encoder does not know all categories of the fit.
    """
    before, now = shares_of(others, rows)
    return all(rows) and alarms.judge(
        "unseen_share", now - before,
        lambda: parts_differ(others, rows, alarms.level),
        lambda: f"{printable_text(name)}: {percent(now)} of the rows have another category than "
        f"the frequent ones of the fit, there it was {percent(before)}", name,
    )  # fmt: skip


def _counted(
    encoder: Encoder, reference: DriftReference, now: Counts, n_unseen: int
) -> _Categories:
    """Return the rows by category; those of unseen ones are at the end."""
    if encoder.kind == "onehot":
        return _of_one_hot(encoder, reference, now, n_unseen)
    return _of_values(encoder, reference, now, n_unseen)


def _of_one_hot(
    encoder: Encoder, reference: DriftReference, now: Counts, n_unseen: int
) -> _Categories:
    """Count the ones of the features of a column, and rows that have none."""
    names = encoder.feature_names()
    position = {name: f for f, name in enumerate(reference.features)}
    taken = [(label, position[name]) for label, name in zip(_labels(encoder), names, strict=True)
             if name in position]  # fmt: skip
    labels, before, after = [], list[int](), list[int]()
    for label, f in taken:
        one = bin_of(1.0, reference.edges[f])
        labels.append(label)
        before.append(int(reference.counts[f, one:MISSING].sum()))
        after.append(int(now[f, one:MISSING].sum()))
    f = taken[0][1]
    gaps, gaps_now = int(reference.counts[f, MISSING]), int(now[f, MISSING])
    if not encoder.missing and (gaps or gaps_now):
        labels.append(MISSING_LABEL)
        before.append(gaps)
        after.append(gaps_now)
    rest = max(int(reference.counts[f].sum()) - sum(before), 0)
    rest_now = max(int(now[f].sum()) - sum(after), 0)
    n_unseen = min(n_unseen, rest_now)
    return _Categories(
        [*labels, REST, UNSEEN], [*before, rest, 0], [*after, rest_now - n_unseen, n_unseen]
    )


def _labels(encoder: Encoder) -> list[str]:
    return [*encoder.categories, *[OTHER] * encoder.other, *[MISSING_LABEL] * encoder.missing]


def _of_values(
    encoder: Encoder, reference: DriftReference, now: Counts, n_unseen: int
) -> _Categories:
    """Count the bins of a feature whose values stand for categories: shares or positions."""
    f = reference.features.index(encoder.column)
    is_share = encoder.kind == "frequency"
    values = encoder.shares if is_share else range(len(encoder.categories))
    names: Sequence[str] = encoder.categories
    if is_share and encoder.missing:
        names = [*names, MISSING_LABEL]
    bins = [bin_of(value, reference.edges[f]) for value in list(values)[: len(names)]]
    together = Counter(bins)
    labels: dict[int, str] = {}
    for name, number_of_bin in zip(names, bins, strict=True):
        n_others = together[number_of_bin] - 1
        labels.setdefault(number_of_bin, f"{name} and {n_others} more" if n_others else name)
    labels[MISSING] = MISSING_LABEL
    before, after = reference.counts[f].copy(), now[f].copy()
    unseen_bin = bin_of(0.0, reference.edges[f]) if is_share else MISSING
    n_unseen = min(n_unseen, int(after[unseen_bin]))
    after[unseen_bin] -= n_unseen
    for b in np.flatnonzero((before > 0) | (after > 0)).tolist():
        labels.setdefault(b, REST)
    counted: dict[str, list[int]] = {}
    for b, label in labels.items():
        rows = counted.setdefault(label, [0, 0])
        rows[0] += int(before[b])
        rows[1] += int(after[b])
    pairs = [*counted.values(), [0, n_unseen]]
    return _Categories([*counted, UNSEEN], [p[0] for p in pairs], [p[1] for p in pairs])


def bin_of(value: float, edges: NDArray[np.float32]) -> int:
    """Return the bin of a value of a feature."""
    return int(np.searchsorted(edges, np.float32(value), "left"))


def _rare(encoder: Encoder, counted: _Categories, n: int) -> tuple[int, int]:
    """Return how many categories had one row at the fit, and two rows."""
    rows = np.array(counted.before)
    if encoder.kind == "frequency":
        rows = np.rint(np.array(encoder.shares[: len(encoder.categories)]) * n)
    return int(np.count_nonzero(rows == 1)), int(np.count_nonzero(rows == 2))


def _shown(counted: _Categories, n: int, m: int) -> dict[str, Bin]:
    """Return the shares of the most frequent categories, and of the others together."""
    rows = zip(counted.labels, counted.before, counted.now, strict=True)
    shares = [(label, Bin(b / max(n, 1), a / max(m, 1))) for label, b, a in rows if b or a]
    shares.sort(key=lambda item: -max(item[1]))
    shown = {shortened(printable_text(label)): share for label, share in shares[:_MAX_SHOWN]}
    if others := shares[_MAX_SHOWN:]:
        before, now = (min(sum(share[i] for _, share in others), 1.0) for i in (0, 1))
        shown[_ALL_OTHERS] = Bin(before, now)
    return shown
