"""Manifests of refreshed outputs, written by hand, for tests of pages, tables and histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = ("high spend", "long inactive", "few orders", "new and small", "loyal", "one-time buyers")


def overlap(n_segments: int, n_now: int | None = None) -> list[list[int]]:
    """Return cells in which every segment meets every other one, the same ones most often."""
    return [
        [before, now, 900 + 40 * before if before == now else (7 * before + 3 * now) % 29, 0]
        for before in range(n_segments)
        for now in range(n_now or n_segments)
    ]


def definition(
    cells: Sequence[Sequence[int]],
    events: Sequence[Mapping[str, Any]] = (),
    column: str = "segment",
) -> dict[str, Any]:
    changed = sum(cell[2] for cell in cells if cell[0] != cell[1])
    return {
        "column": column,
        "overlap": [cell for cell in cells if cell[2]],
        "changed": changed,
        "events": list(events),
    }


def event(kind: str, before: Sequence[int], now: Sequence[int], rows: int) -> dict[str, Any]:
    sentence = f"{kind}: {', '.join(map(str, before))} to {', '.join(map(str, now))}."
    return {
        "kind": kind, "before": list(before), "now": list(now), "rows": rows, "sentence": sentence
    }  # fmt: skip


def migration(cells: Sequence[Sequence[int]], came: int, left: int) -> dict[str, Any]:
    """Return a migration with the cells of an overlap; some came to each, and left each."""
    counted: list[list[int | None]] = [[before, now, rows] for before, now, rows, _ in cells]
    segments = sorted({cell[1] for cell in cells})
    counted += [[None, segment, came] for segment in segments if came]
    counted += [[segment, None, left] for segment in segments if left]
    return {
        "column": "segment",
        "cells": [cell for cell in counted if cell[2]],
        "stayed": sum(cell[2] for cell in cells if cell[0] == cell[1]),
        "moved": sum(cell[2] for cell in cells if cell[0] != cell[1]),
        "came": came * len(segments),
        "left": left * len(segments),
    }


def refresh(**changes: Any) -> dict[str, Any]:
    cells = overlap(4)
    events = [event("survived", [i], [i], 900) for i in range(3)]
    events += [event("split", [3], [3, 4], 500), event("emerged", [], [5], 20)]
    return {
        "from_path": "out/2026-07",
        "from_run_id": "20260801T060000-aaaaaa",
        "mode": "warm",
        "requested": "auto",
        "reason": "the mean squared distance rose by 12%",
        "preparation": "keep",
        "thresholds": {},
        "definitions": [definition(cells, events)],
        "migration": migration(cells, 50, 30),
        "previous_names": {"1": "few orders"},
        **changes,
    }


def feature_drift(name: str, psi: float, **changes: Any) -> dict[str, Any]:
    tilt = min(psi, 0.9) / 10
    now = [0.1 + tilt * (i - 4.5) / 4.5 for i in range(10)]
    return {
        "feature": name,
        "psi": psi,
        "psi_chance": 0.002,
        "ks": psi / 2,
        "ks_chance": 0.009,
        "wasserstein": psi * 2,
        "wasserstein_chance": 0.008,
        "missing_before": 0.01,
        "missing_now": 0.02,
        "edges": [float(10 * i) for i in range(1, 10)],
        "bins": [[0.1, share] for share in now],
        "is_beyond": psi > 0.25,
        **changes,
    }


def drift(n_segments: int = 4, n_features: int = 4, **changes: Any) -> dict[str, Any]:
    features = [feature_drift(f"feature_{i}", 0.04 * i) for i in range(n_features)]
    alarms = [
        {"measure": "feature_psi", "name": each["feature"], "value": each["psi"]}
        | {"threshold": 0.25, "sentence": f"{each['feature']} has another distribution"}
        for each in features
        if each["is_beyond"]
    ]
    segments = [
        {"segment": i, "share_before": 1 / n_segments, "share_now": 1 / n_segments}
        | {"mean_distance_before": 1.1, "mean_distance_now": 1.2 + i / 10}
        | {"far_before": 0.001, "far_now": 0.004, "feature": "feature_1", "psi": 0.1}
        | {"psi_chance": 0.01}
        for i in range(n_segments)
    ]
    return {
        "fit_run_id": "20260801T060000-aaaaaa",
        "rows_before": 10_000,
        "rows_now": 12_000,
        "thresholds": {},
        "features": features,
        "categories": [
            {"column": "plan", "psi": 0.31, "psi_chance": 0.001, "unseen": 130}
            | {"categories": {"basic": [0.7, 0.5], "plus": [0.2, 0.2], "others": [0.1, 0.3]}}
            | {"unseen_share": 0.011, "example": "family", "is_beyond": True}
        ],
        "segment_psi": 0.04,
        "segment_psi_chance": 0.0005,
        "mean_distance_before": 1.1,
        "mean_distance_now": 1.3,
        "inertia_before": 1.5,
        "inertia_now": 1.9,
        "far_before": 0.001,
        "far_now": 0.004,
        "segments": segments,
        "alarms": alarms,
        **changes,
    }


def history(n_runs: int = 5, n_segments: int = 4) -> list[dict[str, Any]]:
    """Return runs of which each continues the one before it; the last is that of `refresh`."""
    entries: list[dict[str, Any]] = []
    for i in range(n_runs):
        is_last = i == n_runs - 1
        sizes = {str(s): 1000 + 150 * ((s * 3 + i * 2) % 5) for s in range(n_segments)}
        entry = {
            "run_id": f"2026{8 if is_last else i:04d}T060000-{'aaaaaa' if is_last else i}",
            "started": f"20{20 + i}-08-01T06:00:00Z",
            "mode": "warm" if i else "run",
            "rows": sum(sizes.values()),
            "sizes": sizes,
            "names": {str(s): NAMES[s % len(NAMES)] for s in range(n_segments)},
            "inertia": 1.4 + i / 10,
        }
        if is_last:
            entry["run_id"] = "20260801T060000-aaaaaa"
        if i:
            entry |= {"from_run_id": entries[-1]["run_id"], "feature_psi": 0.03 * i}
            entry |= {"segment_psi": 0.01 * i, "changed": 0.02 * i, "moved": 0.03 * i}
        entries.append(entry)
    return entries
