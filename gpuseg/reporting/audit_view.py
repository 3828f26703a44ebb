"""The audit as the report shows it: shares of groups in each segment and among all customers."""

from collections.abc import Mapping
from dataclasses import dataclass

from gpuseg import formatting as fmt
from gpuseg.manifest import Audit, Manifest, Ratio

HIDDEN = "hidden"

_OTHERS = "others"
"""The row of all segments that have no row of their own."""

_WEAK, _STRONG = 0.1, 0.3
"""Cramér's V up to which groups and segments are hardly related, and somewhat related."""


@dataclass(frozen=True)
class Cell:
    """A group in a segment: its share, and the comparison with all customers in words."""

    share: str
    comparison: str


@dataclass(frozen=True)
class AuditView:
    """One audited column: a row for each segment, a cell for each group."""

    column: str
    groups: tuple[str, ...]
    everyone: list[str]
    rows: list[tuple[str, list[Cell]]]
    summary: str


def audit_views(manifest: Manifest) -> list[AuditView]:
    """Return the view of each audited column."""
    sizes = {str(segment.segment): segment.size for segment in manifest.segments}
    n_customers = manifest.n_customers
    return [_view(name, audit, sizes, n_customers) for name, audit in manifest.audit.items()]


def _view(column: str, audit: Audit, sizes: Mapping[str, int], n_customers: int) -> AuditView:
    audited = audit.segments | ({} if audit.others is None else {_OTHERS: audit.others})
    others = n_customers - sum(sizes[segment] for segment in audit.segments)
    sizes = {**sizes, _OTHERS: others}
    rows = [
        (
            _OTHERS if segment == _OTHERS else fmt.segment_name(int(segment)),
            [
                _cell(count, ratio, sizes[segment])
                for count, ratio in zip(counts.counts, counts.ratios, strict=True)
            ],
        )
        for segment, counts in audited.items()
    ]
    everyone = [HIDDEN if n is None else _share(n, n_customers) for n in audit.everyone]
    return AuditView(column, audit.groups, everyone, rows, _summary(audit))


def _cell(count: int | None, ratio: Ratio | None, size: int) -> Cell:
    if count is None:
        return Cell(HIDDEN, "")
    comparison = ""
    if ratio is not None:
        interval = fmt.span(f"{ratio.low:.2f}", f"{ratio.high:.2f}")
        comparison = f"{ratio.ratio:.2f} × everyone ({interval})"
    return Cell(_share(count, size), comparison)


def _share(count: int, total: int) -> str:
    return fmt.percent(count / total if total else None)


def _summary(audit: Audit) -> str:
    v = audit.cramers_v
    if v is None:
        return "Too many counts are hidden to say how much the segments differ."
    bound = "at least " if audit.is_lower_bound else ""
    hidden = (
        f" Hidden: {fmt.count(audit.n_hidden, 'count')}, those below {audit.threshold} and others "
        "that would disclose them."
        if audit.n_hidden
        else ""
    )
    return f"The segments {_verdict(v)} (Cramér’s V is {bound}{v:.2f}).{hidden}"


def _verdict(v: float) -> str:
    """Say how much segments differ that have this Cramér's V."""
    if v < _WEAK:
        return "hardly differ"
    return "differ somewhat" if v < _STRONG else "differ strongly"
