"""The audit as the report shows it: shares of groups in each segment, beside everyone's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpuseg import formatting as fmt

HIDDEN = "hidden"


@dataclass(frozen=True)
class Cell:
    """A group in a segment: its share, and how that compares to everyone's, in words."""

    share: str
    compared: str


@dataclass(frozen=True)
class Audit:
    """One column: a row for each segment, a cell for each group."""

    column: str
    groups: list[str]
    everyone: list[str]
    rows: list[tuple[str, list[Cell]]]
    said: str


def audits(manifest: Mapping[str, Any]) -> list[Audit]:
    """Return the audit of each column; none where there was no audit."""
    sizes = {str(own["segment"]): own["size"] for own in manifest["segments"]}
    return [_audit(name, own, sizes) for name, own in manifest.get("audit", {}).items()]


def _audit(column: str, told: Mapping[str, Any], sizes: Mapping[str, int]) -> Audit:
    total = sum(sizes.values())
    rows = [
        (
            fmt.segment_name(int(segment)),
            [
                _cell(count, ratio, sizes[segment])
                for count, ratio in zip(own["counts"], own["ratios"], strict=True)
            ],
        )
        for segment, own in told["segments"].items()
    ]
    everyone = [HIDDEN if own is None else fmt.percent(own / total) for own in told["everyone"]]
    return Audit(column, list(told["groups"]), everyone, rows, _said(told))


def _cell(count: int | None, ratio: list[float] | None, size: int) -> Cell:
    if count is None:
        return Cell(HIDDEN, "")
    compared = ""
    if ratio is not None:
        middle, low, high = (f"{own:.2f}" for own in ratio)
        compared = f"{middle} × everyone’s ({low} to {high})"
    return Cell(fmt.percent(count / size), compared)


def _said(told: Mapping[str, Any]) -> str:
    v = told["cramers_v"]
    if v is None:
        return "Too much is hidden to say how far the segments differ."
    strength = "hardly" if v < 0.1 else "somewhat" if v < 0.3 else "strongly"
    least = "at least " if told["at_least"] else ""
    hidden = (
        f" {told['hidden']} counts are hidden: those below {told['threshold']}, and others from "
        "which they could be computed."
        if told["hidden"]
        else ""
    )
    return f"The segments differ {strength} (Cramér’s V is {least}{v:.2f}).{hidden}"
