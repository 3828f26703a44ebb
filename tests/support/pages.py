"""A manifest of a run for tests of pages and tables, and what they ask of a page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "wbr", "br", "img", "hr", "input"}


def make_manifest(
    n_segments: int = 4, names: tuple[str, ...] = ("spend", "orders", "recency", "basket")
) -> dict[str, Any]:
    features = {
        name: {"mean": 10.0 * (i + 1), "std": 2.0, "min": 0.0, "max": 99.0, "missing": 0}
        | {"fill": None, "transform": "none", "shift": 1.0, "scale": 2.0}
        for i, name in enumerate(names)
    }
    segments = []
    for s in range(n_segments):
        deviation = {name: ((s * 7 + i * 5) % 11 - 5) / 2 for i, name in enumerate(names)}
        center = {name: features[name]["mean"] + 2 * deviation[name] for name in names}
        size = 1000 * (s + 1)
        share = 2 * (s + 1) / (n_segments * (n_segments + 1))
        segments.append(
            {"segment": s, "size": size, "share": share}
            | {"center": center, "deviation": deviation, "rule": None}
        )
    rows = sum(segment["size"] for segment in segments)
    return {
        "format": 2,
        "gpuseg": "0.1.0",
        "run_id": "20261121T201500-1a2b3c",
        "started": "2026-11-21T20:15:00Z",
        "job": {
            "input": {"path": "/data/customers", "id": "id", "features": [*names], "weight": None},
            "prepare": {"missing": "error", "transform": "none", "scale": "standard"},
            "segment": {"algorithm": "kmeans", "n_clusters": n_segments},
            "runtime": {},
            "output": {},
        },
        "input": {"path": "/data/customers", "files": 2, "row_groups": 4, "rows": rows}
        | {
            "rows_dropped": 0,
            "weight": None,
            "fingerprint": {"files": "sha256:12ab", "content": "sha256:34cd"},
        },
        "backend": {"name": "numba", "reason": "no GPU was found"},
        "devices": ["cpu: test, 2 threads"],
        "executor": {"cluster": "dask", "n_workers": 2, "threads_per_worker": 1}
        | {"recovered_shards": 0, "machines": ["test"]},
        "versions": {"python": "3.11.7", "numpy": "2.3.4"},
        "result": {
            "algorithm": "kmeans",
            "title": "k-means",
            "n_clusters": n_segments,
            "n_iter": 17,
        }
        | {"converged": True, "inertia": 123.4},
        "sweep": [],
        "seconds": {"plan": 0.1, "read": 1.2, "total": 1.3},
        "features": features,
        "preparation": {"missing": "error", "clip_quantiles": None, "scale": "standard"}
        | {"encoded": [], "dropped": {}, "redundant": [], "pca": None},
        "segments": segments,
        "parts": [{"name": "part-00000.parquet", "rows": rows, "bytes": 10}],
        "warnings": [],
    }


def make_scores_manifest(n_segments: int = 3) -> dict[str, Any]:
    """A manifest of rows that a model of so many segments has scored."""
    fit = make_manifest(n_segments)
    rows = fit["input"]["rows"]
    return {
        **{key: fit[key] for key in ("format", "gpuseg", "backend", "devices", "executor")},
        **{key: fit[key] for key in ("versions", "seconds", "parts", "warnings")},
        "run_id": "20261122T060000-4d5e6f",
        "started": "2026-11-22T06:00:00Z",
        "job": {"input": {"path": "/data/new"}},
        "scored_with": {"path": "out/segments", "run_id": fit["run_id"], "algorithm": "kmeans"}
        | {"n_clusters": n_segments},
        "input": {"path": "/data/new", "files": 1, "row_groups": 1, "rows": rows}
        | {"rows_dropped": 0, "fingerprint": "sha256:56ef"},
        "segments": [
            {"segment": each["segment"], "rows": each["size"], "share": each["share"]}
            | {"fit_share": each["share"], "mean_distance": 1.5}
            for each in fit["segments"]
        ],
        "missing": {},
        "clipped": {},
        "unseen": [],
    }


class Page(HTMLParser):
    """Collects what the tests ask of a page, and fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def attributes(self, *names: str) -> list[str]:
        return [attrs[n] or "" for _, attrs in self.tags for n in names if n in attrs]
